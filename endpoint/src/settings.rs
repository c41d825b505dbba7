//! How the server behaves, one struct a concern.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use epitome_runtime::bundle::Manifest;
use epitome_runtime::concurrency::Concurrency;
use epitome_runtime::summarizer::ROWS_TOGETHER;

use crate::key::Key;
use crate::media::Format;

/// All settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where to listen, and what to load.
    pub server: ServerSettings,
    /// What requests may be, and what answers look like.
    pub contract: ContractSettings,
    /// How much is done at a time, and for how long.
    pub scheduling: SchedulingSettings,
    /// What batch transform jobs are told.
    pub batch_transform: BatchTransformSettings,
    /// Serve many models, loaded and unloaded through `/models`.
    pub multi_model: Option<MultiModelSettings>,
}

/// Where to listen, and what to load.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Folder of the model.
    pub model: PathBuf,
    /// How long requests may go on after SIGTERM.
    pub grace: Duration,
    /// Whether documents and summaries may appear in the log.
    pub log_text: bool,
    /// Who may ask.
    pub access: AccessSettings,
    /// When the digests of a bundle's files are compared with its manifest.
    pub check: Check,
}

/// Who may ask.
#[derive(Clone, Debug, Default)]
pub struct AccessSettings {
    /// Origins of web pages elsewhere that may ask; `*` stands for all.
    pub allowed_origins: Vec<String>,
    /// The key that requests must carry.
    pub key: Option<Key>,
    /// Whether requests were authenticated before they come here, as in SageMaker.
    pub authenticated_upstream: bool,
}

/// When the digests of a bundle's files are compared with its manifest. A wrong one makes `/ping`
/// answer 503.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Never; sizes, and the digests of all but the weights, are compared when it is loaded.
    Never,
    /// While it works already, slowly enough to disturb nobody.
    #[default]
    Background,
    /// Before it works.
    First,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            model: "/opt/ml/model".into(),
            grace: Duration::from_secs(25),
            log_text: false,
            access: AccessSettings::default(),
            check: Check::default(),
        }
    }
}

/// The field that a summary is answered in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Task {
    /// `summary_text`, as transformers' summarization pipeline.
    Summarization,
    /// `generated_text`, as its text2text-generation pipeline.
    #[default]
    TextGeneration,
}

impl Task {
    /// The task that the stock container's `HF_TASK` names.
    pub fn of_hugging_face(task: &str) -> Self {
        match task.trim() {
            "summarization" => Self::Summarization,
            _ => Self::TextGeneration,
        }
    }

    /// The field's name.
    pub fn field(self) -> &'static str {
        match self {
            Self::Summarization => "summary_text",
            Self::TextGeneration => "generated_text",
        }
    }

    /// The name of the field that holds token ids in place of text.
    pub(crate) fn token_field(self) -> &'static str {
        match self {
            Self::Summarization => "summary_token_ids",
            Self::TextGeneration => "generated_token_ids",
        }
    }
}

/// The shape of the answer to one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerShape {
    /// `[{"generated_text": ...}]`, as the stock container answers.
    #[default]
    List,
    /// `{"generated_text": ...}`, as the tutorial's own inference script answers.
    Object,
}

/// What requests may be, and what answers look like.
#[derive(Clone, Debug)]
pub struct ContractSettings {
    /// The answer's field.
    pub task: Task,
    /// The answer's shape.
    pub shape: AnswerShape,
    /// The format of answers to requests that accept anything; `None` goes by the request's own.
    pub default_accept: Option<Format>,
    /// The largest body, in bytes.
    pub max_body: usize,
    /// Memory that requests may take together, in bytes; `None` goes by what the process may use.
    pub in_flight: Option<usize>,
}

impl Default for ContractSettings {
    fn default() -> Self {
        Self {
            task: Task::default(),
            shape: AnswerShape::default(),
            default_accept: None,
            max_body: 25 << 20,
            in_flight: None,
        }
    }
}

/// How much is done at a time, and for how long.
#[derive(Clone, Debug)]
pub struct SchedulingSettings {
    /// Copies of the model that work side by side; with neither these nor threads, the model's size
    /// decides.
    pub workers: Option<NonZeroUsize>,
    /// Threads of each copy; `None` shares what the process may use among the workers.
    pub threads: Option<NonZeroUsize>,
    /// Whether threads that wait for each other keep their processors.
    pub spin: bool,
    /// Requests that may wait.
    pub queue: usize,
    /// Rows (documents times beams) that may wait, and that one request may ask for.
    pub queue_rows: NonZeroUsize,
    /// Rows that are decoded together at most.
    pub rows: NonZeroUsize,
    /// Longest time to an answer: below the 60 seconds that SageMaker waits.
    pub deadline: Duration,
    /// Longest time to the end of a streamed answer: below SageMaker's 8 minutes.
    pub stream_deadline: Duration,
}

impl SchedulingSettings {
    /// Workers and threads for a model.
    pub fn concurrency(&self, manifest: &Manifest) -> Concurrency {
        let all = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        match (self.workers, self.threads) {
            (Some(workers), Some(threads)) => Concurrency { workers, threads },
            (Some(workers), None) => {
                let threads = NonZeroUsize::new(all.get() / workers).unwrap_or(NonZeroUsize::MIN);
                Concurrency { workers, threads }
            }
            (None, Some(threads)) => Concurrency { workers: NonZeroUsize::MIN, threads },
            (None, None) => Concurrency::for_server(manifest, all),
        }
    }
}

impl Default for SchedulingSettings {
    fn default() -> Self {
        Self {
            workers: None,
            threads: None,
            spin: false,
            queue: 64,
            queue_rows: const { NonZeroUsize::new(1 << 16).unwrap() },
            rows: ROWS_TOGETHER,
            deadline: Duration::from_secs(55),
            stream_deadline: Duration::from_secs(450),
        }
    }
}

/// How requests of a batch transform job are answered, and what `GET /execution-parameters` says.
#[derive(Clone, Debug)]
pub struct BatchTransformSettings {
    /// Whether the server works for such a job.
    pub is_job: bool,
    /// Requests that a job should have under way at a time.
    pub max_concurrent_transforms: usize,
    /// Megabytes that a request should have: small ones are answered in time.
    pub max_payload: usize,
    /// `MULTI_RECORD` or `SINGLE_RECORD`; in SageMaker's local mode `MultiRecord` or
    /// `SingleRecord`.
    pub strategy: String,
    /// Whether a bad record is answered by its error, and not the whole request.
    pub answers_errors: bool,
}

impl BatchTransformSettings {
    /// Megabytes of all requests of a job together, as SageMaker limits them.
    const MAX_TOGETHER: usize = 100;

    /// Requests at a time, within what SageMaker allows.
    pub(crate) fn concurrent(&self) -> usize {
        let together = Self::MAX_TOGETHER / self.max_payload.max(1);
        self.max_concurrent_transforms.min(together).max(1)
    }

    /// Whether a request holds many records.
    pub(crate) fn is_multi_record(&self) -> bool {
        let letters = self.strategy.chars().filter(char::is_ascii_alphabetic);
        letters.collect::<String>().eq_ignore_ascii_case("multirecord")
    }
}

impl Default for BatchTransformSettings {
    fn default() -> Self {
        Self {
            is_job: false,
            max_concurrent_transforms: 2,
            max_payload: 1,
            strategy: "MULTI_RECORD".into(),
            answers_errors: true,
        }
    }
}

/// A server of many models.
#[derive(Clone, Debug, Default)]
pub struct MultiModelSettings {
    /// Memory that the models may fill, in bytes; `None` goes by what the process may use.
    pub memory: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transform_job_holds_to_what_sagemaker_allows() {
        for (max_payload, concurrent) in [(1, 8), (6, 8), (25, 4), (50, 2), (100, 1), (200, 1)] {
            let settings = BatchTransformSettings {
                max_concurrent_transforms: 8,
                max_payload,
                ..Default::default()
            };
            assert_eq!(settings.concurrent(), concurrent, "{max_payload} MB");
        }
        for (strategy, is_multi) in [
            ("MULTI_RECORD", true),
            ("MultiRecord", true),
            ("SINGLE_RECORD", false),
            ("SingleRecord", false),
        ] {
            let settings =
                BatchTransformSettings { strategy: strategy.into(), ..Default::default() };
            assert_eq!(settings.is_multi_record(), is_multi, "{strategy}");
        }
    }
}
