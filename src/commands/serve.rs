//! `epitome serve`

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use epitome_endpoint::logging::{self, Level};
use epitome_endpoint::settings::{
    AnswerShape, BatchTransformSettings, ContractSettings, MultiModelSettings, SchedulingSettings,
    ServerSettings, Settings, Task,
};
use epitome_endpoint::{BoxError, Format, PrepareModel, PreparedModel};
use epitome_export::ExportOptions;
use epitome_runtime::bundle::MANIFEST;
use epitome_runtime::progress::{Progress, Total};

use crate::failure::Usage;

/// Asynchronous inference allows an hour.
const LONGEST: Duration = Duration::from_secs(3600);
/// Just below the 10 minutes that a batch transform job waits unless it says otherwise.
const BATCH_DEADLINE: Duration = Duration::from_secs(590);

/// Serve summaries over HTTP, with the contract of a SageMaker container and a page to try it on
///
/// Every flag is also an environment variable; an empty one counts as not set.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder of a bundle, or of a checkpoint, which is exported to a temporary folder first [default: /opt/ml/model]
    #[arg(
        long,
        value_name = "DIR",
        env = "EPITOME_MODEL",
        default_value = "",
        hide_default_value = true
    )]
    model: Given<PathBuf>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "EPITOME_HOST",
        default_value = "",
        hide_default_value = true
    )]
    host: Given<IpAddr>,
    /// Port to listen on, 0 for any free one [default: 8080]
    #[arg(
        long,
        env = "SAGEMAKER_BIND_TO_PORT",
        default_value = "",
        hide_default_value = true
    )]
    port: Given<u16>,
    /// Watch over the server from a process of its own, and start it again where the system kills it [default: false]
    #[arg(
        long,
        env = "EPITOME_SUPERVISE",
        default_value = "",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        hide_default_value = true,
        value_name = "BOOL"
    )]
    supervise: Given<Switch>,
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
#[command(next_help_heading = "Requests and answers")]
struct ContractFlags {
    /// summarization answers in `summary_text`, everything else in `generated_text`
    #[arg(long, env = "HF_TASK", default_value = "", hide_default_value = true)]
    task: Given<String>,
    /// list answers a text by a list of one object, object by the object [default: list]
    #[arg(
        long,
        env = "EPITOME_ANSWER",
        default_value = "",
        hide_default_value = true
    )]
    answer: Given<Answer>,
    /// Format of answers to requests that accept anything [default: as the request]
    #[arg(
        long,
        value_name = "TYPE",
        env = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",
        default_value = "",
        hide_default_value = true
    )]
    default_accept: Given<String>,
    /// Largest body of a request [default: 25]
    #[arg(
        long,
        value_name = "MB",
        env = "SAGEMAKER_MAX_PAYLOAD_IN_MB",
        default_value = "",
        hide_default_value = true
    )]
    max_payload: Given<usize>,
}

#[derive(Args)]
#[command(next_help_heading = "Work")]
struct SchedulingFlags {
    /// Copies of the model that work side by side [default: 1]
    #[arg(
        long,
        value_name = "N",
        env = "SAGEMAKER_MODEL_SERVER_WORKERS",
        default_value = "",
        hide_default_value = true
    )]
    workers: Given<NonZeroUsize>,
    /// Threads of each copy [default: all that this process may use, shared among the copies]
    #[arg(
        long,
        value_name = "N",
        env = "EPITOME_THREADS",
        default_value = "",
        hide_default_value = true
    )]
    threads: Given<NonZeroUsize>,
    /// Let threads that wait for each other keep their processors [default: false]
    #[arg(long, env = "EPITOME_SPIN", default_value = "", default_missing_value = "true", num_args = 0..=1, require_equals = true, hide_default_value = true, value_name = "BOOL")]
    spin: Given<Switch>,
    /// Requests that may wait; more are refused with 429 [default: 64]
    #[arg(
        long,
        value_name = "N",
        env = "EPITOME_QUEUE",
        default_value = "",
        hide_default_value = true
    )]
    queue: Given<usize>,
    /// Most texts times beams that are decoded together [default: 16]
    #[arg(
        long,
        value_name = "N",
        env = "EPITOME_BATCH_ROWS",
        default_value = "",
        hide_default_value = true
    )]
    batch_rows: Given<NonZeroUsize>,
    /// Longest time to an answer; SageMaker waits for 60 seconds [default: 55; 590 in a batch transform job]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "EPITOME_DEADLINE",
        default_value = "",
        hide_default_value = true
    )]
    deadline: Given<f64>,
    /// Longest time to the end of a streamed answer; SageMaker waits for 480 seconds [default: 450]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "EPITOME_STREAM_DEADLINE",
        default_value = "",
        hide_default_value = true
    )]
    stream_deadline: Given<f64>,
}

#[derive(Args)]
#[command(next_help_heading = "SageMaker")]
struct SageMakerFlags {
    /// Work for a batch transform job, which waits 10 minutes for an answer [default: false]
    #[arg(
        long,
        env = "SAGEMAKER_BATCH",
        default_value = "",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        hide_default_value = true,
        value_name = "BOOL"
    )]
    batch_transform: Given<Switch>,
    /// Requests that a batch transform job should have under way at a time [default: 4]
    #[arg(
        long,
        value_name = "N",
        env = "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
        default_value = "",
        hide_default_value = true
    )]
    max_concurrent_transforms: Given<usize>,
    /// MULTI_RECORD or SINGLE_RECORD [default: MULTI_RECORD]
    #[arg(
        long,
        value_name = "STRATEGY",
        env = "SAGEMAKER_BATCH_STRATEGY",
        default_value = "",
        hide_default_value = true
    )]
    batch_strategy: Given<String>,
    /// Serve many models, loaded and unloaded through /models [default: false]
    #[arg(long, env = "SAGEMAKER_MULTI_MODEL", default_value = "", default_missing_value = "true", num_args = 0..=1, require_equals = true, hide_default_value = true, value_name = "BOOL")]
    multi_model: Given<Switch>,
    /// Memory that many models may fill [default: three quarters of what this process may use]
    #[arg(
        long,
        value_name = "MB",
        env = "EPITOME_MODEL_MEMORY",
        default_value = "",
        hide_default_value = true
    )]
    model_memory: Given<u64>,
}

#[derive(Args)]
#[command(next_help_heading = "Log")]
struct LogFlags {
    /// error, warn, info, debug or trace; or 10 to 50, as SageMaker counts [default: info]
    #[arg(
        long,
        value_name = "LEVEL",
        env = "SAGEMAKER_CONTAINER_LOG_LEVEL",
        default_value = "",
        hide_default_value = true
    )]
    log_level: Given<LogLevel>,
    /// Log documents and summaries too [default: false]
    #[arg(long, env = "EPITOME_LOG_TEXT", default_value = "", default_missing_value = "true", num_args = 0..=1, require_equals = true, hide_default_value = true, value_name = "BOOL")]
    log_text: Given<Switch>,
}

/// A flag or environment variable that may be empty: SageMaker sets many it has nothing to say about.
#[derive(Clone, Debug)]
struct Given<T>(Option<T>);

impl<T: FromStr> FromStr for Given<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse().map(|value| Self(Some(value)))
    }
}

/// On or off, in the words that environments use.
#[derive(Clone, Copy, Debug)]
struct Switch(bool);

impl FromStr for Switch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Self(true)),
            "false" | "0" | "no" | "off" => Ok(Self(false)),
            _ => Err("expected true or false"),
        }
    }
}

impl Given<Switch> {
    fn is_on(&self) -> bool {
        self.0.is_some_and(|switch| switch.0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Answer(AnswerShape);

impl FromStr for Answer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "list" => Ok(Self(AnswerShape::List)),
            "object" => Ok(Self(AnswerShape::Object)),
            _ => Err("expected list or object"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct LogLevel(Level);

impl FromStr for LogLevel {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let level = match text.parse::<u32>() {
            // The levels of Python's logging.
            Ok(..=10) => Level::DEBUG,
            Ok(11..=20) => Level::INFO,
            Ok(21..=30) => Level::WARN,
            Ok(_) => Level::ERROR,
            Err(_) => text
                .parse()
                .map_err(|_| "expected error, warn, info, debug or trace")?,
        };
        Ok(Self(level))
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let settings = settings(arguments)?;
    let level = arguments
        .log
        .log_level
        .0
        .map_or(Level::INFO, |level| level.0);
    logging::start(level);
    if arguments.supervise.is_on() {
        supervise(&settings)?;
    }
    Ok(epitome_endpoint::serve(settings, Arc::new(Exporter))?)
}

/// Runs the server in another process and ends with it; returns where this is that process.
#[cfg(unix)]
fn supervise(settings: &Settings) -> Result<()> {
    use epitome_endpoint::supervisor;
    if supervisor::is_supervised() {
        return Ok(());
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let status = supervisor::supervise(settings.server.listen, &arguments)?;
    std::process::exit(status.code().unwrap_or(1))
}

#[cfg(not(unix))]
fn supervise(_settings: &Settings) -> Result<()> {
    bail!(Usage("--supervise is for Unix systems".into()))
}

fn settings(arguments: &Arguments) -> Result<Settings> {
    let defaults = ServerSettings::default();
    let host = arguments.host.0.unwrap_or(defaults.listen.ip());
    let port = arguments.port.0.unwrap_or(defaults.listen.port());
    let multi_model = arguments.sagemaker.multi_model.is_on();
    Ok(Settings {
        server: ServerSettings {
            listen: SocketAddr::new(host, port),
            model: arguments.model.0.clone().unwrap_or(defaults.model),
            log_text: arguments.log.log_text.is_on(),
            ..defaults
        },
        contract: contract(&arguments.contract)?,
        scheduling: scheduling(&arguments.scheduling, &arguments.sagemaker)?,
        batch_transform: batch_transform(&arguments.sagemaker),
        multi_model: multi_model.then(|| MultiModelSettings {
            memory: arguments
                .sagemaker
                .model_memory
                .0
                .map(|megabytes| megabytes.saturating_mul(1 << 20)),
        }),
    })
}

fn contract(flags: &ContractFlags) -> Result<ContractSettings> {
    let defaults = ContractSettings::default();
    let default_accept = match &flags.default_accept.0 {
        None => None,
        Some(name) if name == "*/*" => None,
        Some(name) => match Format::of(name) {
            None | Some(Format::EventStream) => {
                bail!(Usage(format!(
                    "--default-accept is '{name}', but answers are application/json, application/jsonlines, text/csv or text/plain"
                )))
            }
            format => format,
        },
    };
    Ok(ContractSettings {
        task: flags
            .task
            .0
            .as_deref()
            .map_or(defaults.task, Task::of_hugging_face),
        shape: flags.answer.0.map_or(defaults.shape, |answer| answer.0),
        default_accept,
        max_body: match flags.max_payload.0 {
            // SageMaker says 0 where batch transform sets no limit.
            None | Some(0) => defaults.max_body,
            Some(megabytes) => megabytes.saturating_mul(1 << 20),
        },
    })
}

fn scheduling(flags: &SchedulingFlags, sagemaker: &SageMakerFlags) -> Result<SchedulingSettings> {
    let mut defaults = SchedulingSettings::default();
    if sagemaker.batch_transform.is_on() {
        defaults.deadline = BATCH_DEADLINE;
    }
    let seconds = |name: &str, given: &Given<f64>, default: Duration| match given.0 {
        None => Ok(default),
        Some(seconds) => match Duration::try_from_secs_f64(seconds) {
            Ok(duration) if !duration.is_zero() && duration <= LONGEST => Ok(duration),
            _ => bail!(Usage(format!(
                "--{name} is {seconds}, but it must be a number of seconds above 0, at most {}",
                LONGEST.as_secs()
            ))),
        },
    };
    Ok(SchedulingSettings {
        workers: flags.workers.0.unwrap_or(defaults.workers),
        threads: flags.threads.0,
        spin: flags.spin.is_on(),
        queue: flags.queue.0.unwrap_or(defaults.queue),
        rows: flags.batch_rows.0.unwrap_or(defaults.rows),
        deadline: seconds("deadline", &flags.deadline, defaults.deadline)?,
        stream_deadline: seconds(
            "stream-deadline",
            &flags.stream_deadline,
            defaults.stream_deadline,
        )?,
    })
}

fn batch_transform(flags: &SageMakerFlags) -> BatchTransformSettings {
    let defaults = BatchTransformSettings::default();
    BatchTransformSettings {
        max_concurrent_transforms: match flags.max_concurrent_transforms.0 {
            None | Some(0) => defaults.max_concurrent_transforms,
            Some(count) => count,
        },
        strategy: flags.batch_strategy.0.clone().unwrap_or(defaults.strategy),
    }
}

/// Takes a bundle as it is, and exports a checkpoint.
struct Exporter;

impl PrepareModel for Exporter {
    fn prepare(&self, folder: &Path, stop: &AtomicBool) -> Result<PreparedModel, BoxError> {
        if folder.join(MANIFEST).is_file() {
            return Ok(PreparedModel {
                bundle: folder.into(),
                scratch: None,
            });
        }
        // The model folder may be read-only.
        let scratch = tempfile::Builder::new().prefix("epitome-").tempdir()?;
        let bundle = scratch.path().join("bundle");
        let options = ExportOptions {
            progress: &Stop(stop),
            ..ExportOptions::default()
        };
        epitome_export::export(folder, &bundle, &options)?;
        Ok(PreparedModel {
            bundle,
            scratch: Some(scratch),
        })
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Progress for Stop<'_> {
    fn start(&self, what: &str, _total: Total) {
        tracing::info!(stage = what, "exporting the checkpoint");
    }

    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;

    #[test]
    fn every_flag_is_an_environment_variable() {
        let command = Arguments::augment_args(clap::Command::new("serve"));
        let flags: Vec<_> = command.get_arguments().collect();
        assert!(flags.len() > 15);
        for flag in flags {
            assert!(flag.get_env().is_some(), "--{} has none", flag.get_id());
        }
    }
}
