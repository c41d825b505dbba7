//! The settings of the server, one struct per concern.

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
    /// Address and model.
    pub server: ServerSettings,
    /// Requests and answers.
    pub contract: ContractSettings,
    /// Concurrency and time limits.
    pub scheduling: SchedulingSettings,
    /// Batch transform jobs.
    pub batch_transform: BatchTransformSettings,
    /// Multi-model endpoint, which loads and unloads models through `/models`.
    pub multi_model: Option<MultiModelSettings>,
}

/// Settings of the address and the model.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Address to listen on. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// Folder of the model.
    pub model: PathBuf,
    /// Time that requests may take after SIGTERM.
    pub grace: Duration,
    /// Whether documents and summaries may appear in the log.
    pub log_text: bool,
    /// Access control.
    pub access: AccessSettings,
    /// Time of the comparison of a bundle's digests with its manifest.
    pub check: Check,
}

/// Settings of access control.
#[derive(Clone, Debug, Default)]
pub struct AccessSettings {
    /// Allowed origins of other web pages; `*` allows all.
    pub allowed_origins: Vec<String>,
    /// Key that requests must carry.
    pub key: Option<Key>,
    /// Whether requests are authenticated before they come here, as in SageMaker.
    pub authenticated_upstream: bool,
}

/// Time of the comparison of a bundle's digests with its manifest. A wrong digest makes `/ping`
/// answer 503.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// Never. Loading still compares sizes, and the digests of all files except the weights.
    Never,
    /// While the model works, slowly enough to disturb no requests.
    #[default]
    Background,
    /// Before the model works.
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

/// The task, which determines the field of the summary in answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Task {
    /// Field `summary_text`, like transformers' summarization pipeline.
    Summarization,
    /// Field `generated_text`, like its text2text-generation pipeline.
    #[default]
    TextGeneration,
}

impl Task {
    /// The task of the stock container's `HF_TASK`.
    pub fn of_hugging_face(task: &str) -> Self {
        match task.trim() {
            "summarization" => Self::Summarization,
            _ => Self::TextGeneration,
        }
    }

    /// Name of the field with the summary.
    pub fn field(self) -> &'static str {
        match self {
            Self::Summarization => "summary_text",
            Self::TextGeneration => "generated_text",
        }
    }

    /// Name of the field with token ids in place of text.
    pub(crate) fn token_field(self) -> &'static str {
        match self {
            Self::Summarization => "summary_token_ids",
            Self::TextGeneration => "generated_token_ids",
        }
    }
}

/// The form of the answer to one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerShape {
    /// `[{"generated_text": ...}]`, like the stock container.
    #[default]
    List,
    /// `{"generated_text": ...}`, like the inference script of SageMaker's tutorial.
    Object,
}

/// Settings of requests and answers.
#[derive(Clone, Debug)]
pub struct ContractSettings {
    /// Task, which determines the field of the summary.
    pub task: Task,
    /// Form of the answer to one text.
    pub shape: AnswerShape,
    /// Format of answers to requests that accept anything; `None` is the format of the request.
    pub default_accept: Option<Format>,
    /// Largest body in bytes.
    pub max_body: usize,
    /// Memory of all requests together in bytes; `None` depends on the memory of the process.
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

/// Settings of concurrency and time limits.
#[derive(Clone, Debug)]
pub struct SchedulingSettings {
    /// Number of workers, each with a copy of the model. `None`: depends on `threads`, or else on
    /// the size of the model.
    pub workers: Option<NonZeroUsize>,
    /// Threads of each worker; `None` divides the processors of the process among the workers.
    pub threads: Option<NonZeroUsize>,
    /// Whether threads that wait for each other spin.
    pub spin: bool,
    /// Largest number of waiting requests.
    pub queue: usize,
    /// Largest number of waiting rows (documents times beams), and of rows in one request.
    pub queue_rows: NonZeroUsize,
    /// Largest number of rows that are decoded together.
    pub rows: NonZeroUsize,
    /// Longest time to an answer: less than the 60 seconds that SageMaker waits.
    pub deadline: Duration,
    /// Longest time to the end of a streamed answer: less than SageMaker's 8 minutes.
    pub stream_deadline: Duration,
}

impl SchedulingSettings {
    /// Numbers of workers and threads for a model.
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

/// Settings of batch transform jobs, and of `GET /execution-parameters`.
#[derive(Clone, Debug)]
pub struct BatchTransformSettings {
    /// Whether the server works for a batch transform job.
    pub is_job: bool,
    /// Requests that a job should have running at a time.
    pub max_concurrent_transforms: usize,
    /// Recommended size of a request in megabytes. Small requests are answered in time.
    pub max_payload: usize,
    /// Batch strategy: `MULTI_RECORD` or `SINGLE_RECORD`; in SageMaker's local mode `MultiRecord`
    /// or `SingleRecord`.
    pub strategy: String,
    /// Whether a bad record is answered by its error. Otherwise it fails the request.
    pub answers_errors: bool,
}

impl BatchTransformSettings {
    /// SageMaker's limit for all running requests of a job together, in megabytes.
    const MAX_TOGETHER: usize = 100;

    /// Number of running requests, within SageMaker's limit.
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

/// Settings of a multi-model endpoint.
#[derive(Clone, Debug, Default)]
pub struct MultiModelSettings {
    /// Memory for models in bytes; `None` depends on the memory of the process.
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
