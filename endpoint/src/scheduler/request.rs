//! What is asked of the workers, and what they report.
//!
//! A [`Request`] holds [`Job`]s: documents with the same parameters. A [`Document`] is the unit of
//! work. A worker takes one after another, of any requests.

use std::collections::hash_map::RandomState;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use epitome_runtime::{GenerationParameters, LongOptions, Summary};
use tokio::sync::mpsc::UnboundedSender;

use crate::error::ApiError;
use crate::in_flight::Charge;
use crate::text::Text;

/// What one client asks for.
#[derive(Debug)]
pub(crate) struct Request {
    /// Jobs that differ in their parameters.
    pub(crate) jobs: Vec<Job>,
    /// When the client stops waiting.
    pub(crate) deadline: Instant,
    /// Whether to report tokens as they come.
    pub(crate) stream: bool,
    /// The memory of the documents.
    pub(crate) charge: Charge,
}

impl Request {
    /// Decoder rows of all documents.
    pub(super) fn rows(&self) -> usize {
        self.jobs.iter().map(Job::rows).sum()
    }
}

/// Documents to summarize with the same parameters.
#[derive(Debug)]
pub(crate) struct Job {
    /// How to summarize; checked against the model.
    pub(crate) parameters: Arc<JobParameters>,
    /// What each document asks of the decoder.
    pub(super) demand: Demand,
    /// The documents that no worker has taken.
    pub(crate) documents: Vec<Document>,
}

/// What a document asks of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Rows: beams, or sampled sequences.
    pub(crate) rows: usize,
    /// Tokens of each row's history at most.
    pub(crate) longest: usize,
}

/// How the documents of a job are summarized.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JobParameters {
    /// How to generate.
    pub(crate) generation: GenerationParameters,
    /// How to read what is longer than the window. Without, it is truncated as by transformers.
    pub(crate) long: Option<LongOptions>,
}

impl From<GenerationParameters> for JobParameters {
    fn from(generation: GenerationParameters) -> Self {
        Self { generation, long: None }
    }
}

/// One text to summarize.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// Its number in the request, from 0.
    pub(crate) number: usize,
    /// The text, not blank.
    pub(crate) text: Text,
}

impl Job {
    /// A job without documents.
    pub(crate) fn new(parameters: impl Into<JobParameters>, demand: Demand) -> Self {
        let parameters = Arc::new(parameters.into());
        Self { parameters, demand, documents: Vec::new() }
    }

    /// Decoder rows of the documents.
    pub(super) fn rows(&self) -> usize {
        self.documents.len().saturating_mul(self.demand.rows.max(1))
    }
}

/// A number that equal parameters share, and that nobody outside the process can foresee.
pub(crate) fn key(parameters: &JobParameters) -> u64 {
    struct Feed<H>(H);
    impl<H: Hasher> Write for Feed<H> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    static SEED: OnceLock<RandomState> = OnceLock::new();
    let mut feed = Feed(SEED.get_or_init(RandomState::new).build_hasher());
    // Hashing never fails.
    let _ = write!(feed, "{parameters:?}");
    feed.0.finish()
}

/// What a worker reports.
#[derive(Debug)]
pub(crate) enum Event {
    /// A token of a streamed document became final.
    Token(Token),
    /// A document is finished.
    Finished {
        /// Its number in the request.
        document: usize,
        /// What was made of it.
        summary: Box<Summary>,
        /// How long it waited for a worker.
        waited: Duration,
    },
    /// A document cannot be summarized; others may be.
    DocumentFailed {
        /// Its number in the request.
        document: usize,
        /// What is wrong with it.
        error: ApiError,
    },
    /// The request failed; nothing more comes.
    Failed(ApiError),
}

/// A streamed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Its id.
    pub(crate) id: u32,
    /// The text that became certain with it, often none.
    pub(crate) text: String,
    /// Whether it stands for no text.
    pub(crate) special: bool,
}

/// Where the documents of a request are reported, shared by all of them.
pub(super) struct Reply {
    pub(super) deadline: Instant,
    pub(super) stream: bool,
    pub(super) queued: Instant,
    /// Closed as soon as the client is gone.
    events: UnboundedSender<Event>,
    /// Given back when the last document is done.
    _charge: Charge,
}

/// Tells the requests that are not answered yet from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestId(usize);

impl Reply {
    pub(super) fn id(self: &Arc<Self>) -> RequestId {
        RequestId(Arc::as_ptr(self).addr())
    }

    /// Whether nobody waits any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.events.is_closed() || Instant::now() >= self.deadline
    }

    pub(super) fn report(&self, event: Event) {
        // Sending fails where the client is gone: then nobody is left to tell.
        let _ = self.events.send(event);
    }
}

/// A request in the queue.
pub(super) struct QueuedRequest {
    pub(super) jobs: Vec<Job>,
    pub(super) reply: Arc<Reply>,
}

/// A document that a worker took.
pub(super) struct TakenDocument {
    pub(super) document: Document,
    pub(super) parameters: Arc<JobParameters>,
    pub(super) reply: Arc<Reply>,
}

impl QueuedRequest {
    pub(super) fn new(request: Request, events: UnboundedSender<Event>) -> Self {
        let mut jobs = request.jobs;
        jobs.retain(|job| !job.documents.is_empty());
        for job in &mut jobs {
            // Documents are taken from the end: the shortest first, those of like length together.
            job.documents.sort_by_key(|document| std::cmp::Reverse(document.text.len()));
        }
        let reply = Reply {
            deadline: request.deadline,
            stream: request.stream,
            queued: Instant::now(),
            events,
            _charge: request.charge,
        };
        Self { jobs, reply: Arc::new(reply) }
    }

    /// Decoder rows of the documents that no worker has taken.
    pub(super) fn rows(&self) -> usize {
        self.jobs.iter().map(Job::rows).sum()
    }

    /// Documents that no worker has taken.
    pub(super) fn documents(&self) -> usize {
        self.jobs.iter().map(|job| job.documents.len()).sum()
    }

    /// The next document: what it asks of the decoder, how it is summarized, and its bytes.
    pub(super) fn next(&self) -> Option<(Demand, &JobParameters, usize)> {
        let job = self.jobs.last()?;
        Some((job.demand, &job.parameters, job.documents.last()?.text.len()))
    }

    /// Takes the next document.
    pub(super) fn take(&mut self) -> Option<TakenDocument> {
        let job = self.jobs.last_mut()?;
        let document = job.documents.pop()?;
        let parameters = job.parameters.clone();
        if job.documents.is_empty() {
            self.jobs.pop();
        }
        Some(TakenDocument { document, parameters, reply: self.reply.clone() })
    }
}
