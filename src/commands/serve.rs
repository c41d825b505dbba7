//! `epitome serve`

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use epitome_endpoint::key::Key;
use epitome_endpoint::logging::{self, Level};
use epitome_endpoint::settings::{
    AccessSettings, AnswerShape, BatchTransformSettings, Check, ContractSettings,
    MultiModelSettings, SchedulingSettings, ServerSettings, Settings, Task,
};
use epitome_endpoint::{Format, Server, Source};
use epitome_hub::Store;

use super::seconds::Seconds;
use crate::failure::Usage;
use crate::model_choice;
use crate::model_folder::ModelFolder;

/// Longest deadline: the hour that asynchronous inference allows.
const MAX_DEADLINE: Duration = Duration::from_secs(3600);
/// Environment variable of the deadline, in seconds.
pub(super) const DEADLINE: &str = "EPITOME_DEADLINE";
/// Seconds by which the container answers before a batch transform job gives up.
pub(super) const DEADLINE_MARGIN: u32 = 10;
/// The deadline in a batch transform job: SageMaker waits for 600 seconds.
const JOB_DEADLINE: Duration = Duration::from_secs(600 - DEADLINE_MARGIN as u64);
/// Longest queue of a batch transform job, in rows: as many short records as its largest requests
/// hold. Such a job does not repeat a refused request.
const JOB_QUEUE_ROWS: NonZeroUsize = NonZeroUsize::new(1 << 22).unwrap();
/// Folder where SageMaker puts the model.
const SAGEMAKER_MODEL: &str = "/opt/ml/model";
/// Environment variable with the key itself, in place of a file.
const API_KEY: &str = "EPITOME_API_KEY";

/// Serve summaries over HTTP, with the contract of a SageMaker container and a page to try it on
///
/// Every flag is also an environment variable; an empty one counts as not set.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name of a model in the store, or a folder or archive; a checkpoint is exported to a
    /// temporary folder first. With --multi-model, the folder of the models. Without it:
    /// /opt/ml/model in a container, else the model that is chosen in the store
    #[arg(short, long, value_name = "MODEL", env = "EPITOME_MODEL")]
    model: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", env = "EPITOME_HOST", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on, 0 for any free one
    #[arg(long, env = "SAGEMAKER_BIND_TO_PORT", default_value_t = 8080)]
    port: u16,
    /// Run the server in a child process, and start it again if the system kills it
    #[arg(long, env = "EPITOME_SUPERVISE", value_parser = BoolishValueParser::new())]
    supervise: bool,
    /// When to compare the digests of a bundle's files with its manifest; a wrong digest makes
    /// /ping answer 503
    #[arg(long, value_name = "WHEN", env = "EPITOME_CHECK", default_value = "background")]
    check: CheckWhen,
    #[command(flatten)]
    access: AccessFlags,
    #[command(flatten)]
    contract: ContractFlags,
    #[command(flatten)]
    scheduling: SchedulingFlags,
    #[command(flatten)]
    sagemaker: SageMakerFlags,
    #[command(flatten)]
    log: LogFlags,
}

#[derive(Args)]
#[command(next_help_heading = "Access")]
struct AccessFlags {
    /// File with a key that requests must carry as Authorization: Bearer KEY; the variable
    /// EPITOME_API_KEY may hold the key itself
    #[arg(long, value_name = "FILE", env = "EPITOME_API_KEY_FILE")]
    api_key: Option<PathBuf>,
    /// Origin of other web pages that may send requests, such as https://app.example; * for all
    #[arg(long, value_name = "ORIGIN", env = "EPITOME_ALLOW_ORIGIN", value_delimiter = ',')]
    allow_origin: Vec<String>,
    /// Trust all requests, because they are authenticated before they come here, as in SageMaker
    #[arg(
        long,
        env = "EPITOME_AUTHENTICATED_UPSTREAM",
        value_parser = BoolishValueParser::new()
    )]
    authenticated_upstream: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Requests and answers")]
struct ContractFlags {
    /// Task of the model: summarization answers in `summary_text`, every other task in
    /// `generated_text`
    #[arg(long, env = "HF_TASK", default_value = "text2text-generation")]
    task: String,
    /// Whether the answer to one text is a list of one object, or the object alone
    #[arg(long, value_name = "SHAPE", env = "EPITOME_ANSWER", default_value = "list")]
    answer: Answer,
    /// Format of answers to requests that accept any format; */* means the format of the request
    #[arg(
        long,
        value_name = "TYPE",
        env = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",
        default_value = "*/*"
    )]
    default_accept: String,
    /// Largest body of a request; without it 25, and 100 in a batch transform job
    #[arg(long, value_name = "MB", env = "SAGEMAKER_MAX_PAYLOAD_IN_MB")]
    max_payload: Option<usize>,
    /// Memory of all requests together; without it, 1/256 of what this process may use, and at
    /// least the largest body
    #[arg(long, value_name = "MB", env = "EPITOME_MAX_IN_FLIGHT")]
    max_in_flight: Option<usize>,
}

#[derive(Args)]
#[command(next_help_heading = "Work")]
struct SchedulingFlags {
    /// Copies of the model that work side by side; without it, 1 with --threads or --multi-model,
    /// else as many as suit the model's size
    #[arg(long, value_name = "N", env = "SAGEMAKER_MODEL_SERVER_WORKERS")]
    workers: Option<NonZeroUsize>,
    /// Threads of each copy; without it, the copies share all that this process may use
    #[arg(long, value_name = "N", env = "EPITOME_THREADS")]
    threads: Option<NonZeroUsize>,
    /// Let waiting threads spin, which keeps their processors busy
    #[arg(long, env = "EPITOME_SPIN", value_parser = BoolishValueParser::new())]
    spin: bool,
    /// Requests that may wait; more are refused with 429
    #[arg(
        long,
        value_name = "N",
        env = "EPITOME_QUEUE",
        default_value_t = SchedulingSettings::default().queue
    )]
    queue: usize,
    /// Rows (documents times beams) that may wait; a request with more is refused with 413.
    /// Without it 65536, and 4194304 in a batch transform job
    #[arg(long, value_name = "N", env = "EPITOME_QUEUE_ROWS")]
    queue_rows: Option<NonZeroUsize>,
    /// Most rows (documents times beams) that are decoded together; their caches take at most the
    /// memory of sixteen rows of the greatest length
    #[arg(
        long,
        value_name = "N",
        env = "EPITOME_BATCH_ROWS",
        default_value_t = SchedulingSettings::default().rows
    )]
    batch_rows: NonZeroUsize,
    /// Longest time to an answer; without it 55, and 590 in a batch transform job. SageMaker waits
    /// for 60 seconds, and 600 in such a job
    #[arg(long, value_name = "SECONDS", env = DEADLINE)]
    deadline: Option<Seconds>,
    /// Longest time to the end of a streamed answer; SageMaker waits for 480 seconds
    #[arg(
        long,
        value_name = "SECONDS",
        env = "EPITOME_STREAM_DEADLINE",
        default_value_t = Seconds(SchedulingSettings::default().stream_deadline)
    )]
    stream_deadline: Seconds,
}

#[derive(Args)]
#[command(next_help_heading = "SageMaker")]
struct SageMakerFlags {
    /// Serve a batch transform job
    #[arg(long, env = "SAGEMAKER_BATCH", value_parser = BoolishValueParser::new())]
    batch_transform: bool,
    /// Requests that a batch transform job should send at a time
    #[arg(
        long,
        value_name = "N",
        env = "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
        default_value_t = BatchTransformSettings::default().max_concurrent_transforms
    )]
    max_concurrent_transforms: usize,
    /// Batch strategy of the job: MULTI_RECORD or SINGLE_RECORD
    #[arg(
        long,
        value_name = "STRATEGY",
        env = "SAGEMAKER_BATCH_STRATEGY",
        default_value = "MULTI_RECORD"
    )]
    batch_strategy: String,
    /// Answer to a bad record of a batch transform job: a line with its error, or a failed request,
    /// which fails the job
    #[arg(long, value_name = "WHAT", env = "EPITOME_BATCH_ERRORS", default_value = "answer")]
    batch_errors: BatchErrors,
    /// Serve many models, loaded and unloaded through /models
    #[arg(long, env = "SAGEMAKER_MULTI_MODEL", value_parser = BoolishValueParser::new())]
    multi_model: bool,
    /// Memory of --multi-model's models; without it, three quarters of what this process may use
    #[arg(long, value_name = "MB", env = "EPITOME_MODEL_MEMORY")]
    model_memory: Option<u64>,
}

#[derive(Args)]
#[command(next_help_heading = "Log")]
struct LogFlags {
    /// Log level: error, warn, info, debug or trace; or 10 to 50, as SageMaker counts
    #[arg(
        long,
        value_name = "LEVEL",
        env = "SAGEMAKER_CONTAINER_LOG_LEVEL",
        default_value = "info"
    )]
    log_level: LogLevel,
    /// Log documents and summaries too
    #[arg(long, env = "EPITOME_LOG_TEXT", value_parser = BoolishValueParser::new())]
    log_text: bool,
}

/// When to compare the digests of files.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CheckWhen {
    /// Not at all
    Never,
    /// While the model works, slowly
    Background,
    /// Before the model works
    First,
}

/// The shape of an answer to one text.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Answer {
    /// A list, like the stock container
    List,
    /// An object, like the inference script of SageMaker's tutorial
    Object,
}

/// The handling of a bad record.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum BatchErrors {
    /// Answer the record with its error
    Answer,
    /// Fail the record's request
    Fail,
}

#[derive(Clone, Copy, Debug)]
struct LogLevel(Level);

impl FromStr for LogLevel {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let level = match text.parse::<u32>() {
            // Levels of Python's logging.
            Ok(..=10) => Level::DEBUG,
            Ok(11..=20) => Level::INFO,
            Ok(21..=30) => Level::WARN,
            Ok(_) => Level::ERROR,
            Err(_) => text.parse().map_err(|_| "expected error, warn, info, debug or trace")?,
        };
        Ok(Self(level))
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let settings = settings(arguments)?;
    logging::start(arguments.log.log_level.0);
    if arguments.supervise {
        supervise(&settings)?;
    }
    let server = Server::new(settings, Source::Model(Arc::new(ModelFolder)));
    // The container image reads no files.
    #[cfg(feature = "documents")]
    let server = server.with_documents(crate::this_program::extractor()?);
    #[cfg(feature = "aws")]
    let server = server.with_objects(Arc::new(crate::s3_objects::S3Objects));
    Ok(server.run()?)
}

/// Runs the server in a child process and ends with it. Returns in the child process.
#[cfg(unix)]
fn supervise(settings: &Settings) -> Result<()> {
    if epitome_endpoint::is_supervised() {
        return Ok(());
    }
    let (program, arguments) = crate::this_program::again()?;
    let listen = settings.server.listen;
    let status = epitome_endpoint::supervisor::supervise(listen, &program, &arguments)?;
    std::process::exit(status.code().unwrap_or(1))
}

#[cfg(not(unix))]
fn supervise(_settings: &Settings) -> Result<()> {
    bail!(Usage("--supervise is for Unix systems".into()))
}

fn settings(arguments: &Arguments) -> Result<Settings> {
    let sagemaker = &arguments.sagemaker;
    let scheduling = &arguments.scheduling;
    let usual = SchedulingSettings::default();
    let (usual_deadline, usual_rows) = match sagemaker.batch_transform {
        true => (JOB_DEADLINE, JOB_QUEUE_ROWS),
        false => (usual.deadline, usual.queue_rows),
    };
    Ok(Settings {
        server: ServerSettings {
            listen: SocketAddr::new(arguments.host, arguments.port),
            model: model(arguments)?,
            log_text: arguments.log.log_text,
            access: access(&arguments.access)?,
            check: match arguments.check {
                CheckWhen::Never => Check::Never,
                CheckWhen::Background => Check::Background,
                CheckWhen::First => Check::First,
            },
            ..ServerSettings::default()
        },
        contract: contract(&arguments.contract, sagemaker.batch_transform)?,
        scheduling: SchedulingSettings {
            // Each of many models has one worker, since they share the processors.
            workers: scheduling.workers.or(sagemaker.multi_model.then_some(NonZeroUsize::MIN)),
            threads: scheduling.threads,
            spin: scheduling.spin,
            queue: scheduling.queue,
            queue_rows: scheduling.queue_rows.unwrap_or(usual_rows),
            rows: scheduling.batch_rows,
            deadline: deadline("deadline", scheduling.deadline.unwrap_or(Seconds(usual_deadline)))?,
            stream_deadline: deadline("stream-deadline", scheduling.stream_deadline)?,
        },
        batch_transform: BatchTransformSettings {
            is_job: sagemaker.batch_transform,
            answers_errors: matches!(sagemaker.batch_errors, BatchErrors::Answer),
            max_payload: match arguments.contract.max_payload {
                // SageMaker sends 0 where a job sets no limit.
                None | Some(0) => BatchTransformSettings::default().max_payload,
                Some(megabytes) => megabytes,
            },
            max_concurrent_transforms: match sagemaker.max_concurrent_transforms {
                // SageMaker sends 0 where the container decides.
                0 => BatchTransformSettings::default().max_concurrent_transforms,
                count => count,
            },
            strategy: sagemaker.batch_strategy.clone(),
        },
        multi_model: sagemaker.multi_model.then(|| MultiModelSettings {
            memory: sagemaker.model_memory.map(|mb| mb.saturating_mul(1 << 20)),
        }),
    })
}

/// The folder of the model, or of many models.
fn model(arguments: &Arguments) -> Result<PathBuf> {
    let container = Path::new(SAGEMAKER_MODEL);
    match &arguments.model {
        // A folder may be missing: the endpoint waits for it.
        Some(folder) if arguments.sagemaker.multi_model || folder.is_absolute() => {
            Ok(folder.clone())
        }
        Some(model) => model_choice::locate(model),
        None if arguments.sagemaker.multi_model || container.exists() => Ok(container.into()),
        // A user without a home folder runs in a container.
        None if Store::from_env().is_err() => Ok(container.into()),
        None => model_choice::default_bundle(),
    }
}

fn deadline(flag: &str, Seconds(time): Seconds) -> Result<Duration> {
    if time.is_zero() || time > MAX_DEADLINE {
        bail!(Usage(format!(
            "--{flag} is {}, but it must be a number of seconds above 0, at most {}",
            time.as_secs_f64(),
            MAX_DEADLINE.as_secs()
        )));
    }
    Ok(time)
}

fn access(flags: &AccessFlags) -> Result<AccessSettings> {
    let from_file = match &flags.api_key {
        None => None,
        Some(path) => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("--api-key: cannot read '{}'", path.display()))?,
        ),
    };
    let key = from_file.or_else(|| std::env::var(API_KEY).ok().filter(|key| !key.is_empty()));
    if key.as_ref().is_some_and(|key| key.trim().is_empty()) {
        bail!(Usage("the key of --api-key is empty".into()));
    }
    Ok(AccessSettings {
        allowed_origins: flags.allow_origin.clone(),
        key: key.map(|key| Key::new(key.trim())),
        authenticated_upstream: flags.authenticated_upstream,
    })
}

fn contract(flags: &ContractFlags, is_transform_job: bool) -> Result<ContractSettings> {
    let default_accept = match flags.default_accept.as_str() {
        "*/*" => None,
        name => match Format::of(name) {
            None | Some(Format::EventStream) => {
                bail!(Usage(format!(
                    "--default-accept is '{name}', but answers are application/json, \
                     application/jsonlines, text/csv, text/plain or application/x-npy"
                )))
            }
            format => format,
        },
    };
    let megabytes = |count: usize| count.saturating_mul(1 << 20);
    Ok(ContractSettings {
        task: Task::of_hugging_face(&flags.task),
        shape: match flags.answer {
            Answer::List => AnswerShape::List,
            Answer::Object => AnswerShape::Object,
        },
        default_accept,
        max_body: match flags.max_payload {
            None | Some(0) if is_transform_job => megabytes(100),
            None | Some(0) => ContractSettings::default().max_body,
            Some(count) => megabytes(count),
        },
        in_flight: flags.max_in_flight.map(megabytes),
    })
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    #[test]
    fn a_batch_transform_job_has_time_and_room() {
        let command = Arguments::augment_args(clap::Command::new("serve"));
        let of = |more: &[&str]| {
            let flags = ["serve", "--model", "/m"].into_iter().chain(more.iter().copied());
            let matches = command.clone().get_matches_from(flags);
            let settings = settings(&Arguments::from_arg_matches(&matches).unwrap()).unwrap();
            (settings.scheduling.queue_rows.get(), settings.scheduling.deadline.as_secs())
        };
        assert_eq!(of(&[]), (1 << 16, 55));
        assert_eq!(of(&["--batch-transform"]), (1 << 22, 590));
        let given = ["--batch-transform", "--queue-rows", "7", "--deadline", "8"];
        assert_eq!(of(&given), (7, 8));
    }

    #[test]
    fn every_flag_is_an_environment_variable() {
        let command = Arguments::augment_args(clap::Command::new("serve"));
        let flags: Vec<_> = command.get_arguments().collect();
        assert!(flags.len() > 15);
        for flag in flags {
            assert!(flag.get_env().is_some(), "--{} has none", flag.get_id());
            let help = flag.get_help().unwrap_or_default().to_string();
            assert!(!help.contains("default"), "clap says the default: {help}");
        }
    }
}
