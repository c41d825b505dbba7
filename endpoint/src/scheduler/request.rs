//! Requests to the workers, and the events that they report.
//!
//! A [`Request`] holds [`Group`]s: documents with the same parameters. A [`Document`] is the unit
//! of work. A worker takes one document after another, from all requests.

use std::collections::hash_map::RandomState;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use epitome_runtime::batching::Demand;
use epitome_runtime::summarizer::tokens_of_bytes;
use epitome_runtime::{GenerationParameters, LongOptions, Summary};
use tokio::sync::mpsc::UnboundedSender;

use crate::error::ApiError;
use crate::in_flight::Charge;
use crate::text::Text;

/// A request of one client.
#[derive(Debug)]
pub(crate) struct Request {
    /// Groups of documents; each group has other parameters.
    pub(crate) groups: Vec<Group>,
    /// When the client stops waiting.
    pub(crate) deadline: Instant,
    /// Whether to report each token.
    pub(crate) stream: bool,
    /// Charge for the memory of the documents.
    pub(crate) charge: Charge,
}

impl Request {
    /// Decoder rows of all documents.
    pub(super) fn rows(&self) -> usize {
        self.groups.iter().map(Group::rows).sum()
    }
}

/// Documents with the same parameters.
#[derive(Debug)]
pub(crate) struct Group {
    /// The parameters, checked against the model.
    pub(crate) parameters: Arc<DocumentParameters>,
    /// Demand of each document, without its tokens.
    pub(super) demand: Demand,
    /// The documents that no worker has taken.
    pub(crate) documents: Vec<Document>,
}

/// How a document is summarized.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DocumentParameters {
    /// Generation parameters.
    pub(crate) generation: GenerationParameters,
    /// How to read a text that is longer than the window. `None` truncates it, as transformers
    /// does.
    pub(crate) long: Option<LongOptions>,
}

impl From<GenerationParameters> for DocumentParameters {
    fn from(generation: GenerationParameters) -> Self {
        Self { generation, long: None }
    }
}

/// One text to summarize.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// Index of the document in the request.
    pub(crate) number: usize,
    /// The text, not blank.
    pub(crate) text: Text,
}

impl Group {
    /// Creates a group without documents.
    pub(crate) fn new(parameters: impl Into<DocumentParameters>, demand: Demand) -> Self {
        let parameters = Arc::new(parameters.into());
        Self { parameters, demand, documents: Vec::new() }
    }

    /// Decoder rows of the documents.
    pub(super) fn rows(&self) -> usize {
        self.documents.len().saturating_mul(self.demand.rows.max(1))
    }
}

/// A hash of parameters that nobody outside the process can foresee.
pub(crate) fn key(parameters: &DocumentParameters) -> u64 {
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

/// A report of a worker.
#[derive(Debug)]
pub(crate) enum Event {
    /// A token of a streamed document became final.
    Token(Token),
    /// A document is finished.
    Finished {
        /// Index of the document in the request.
        document: usize,
        /// Summary of the document.
        summary: Box<Summary>,
        /// Time that the document waited for a worker.
        waited: Duration,
    },
    /// A document failed. Other documents may succeed.
    DocumentFailed {
        /// Index of the document in the request.
        document: usize,
        /// Why it failed.
        error: ApiError,
    },
    /// The request failed. No more events follow.
    Failed(ApiError),
}

/// A streamed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Token id.
    pub(crate) id: u32,
    /// The text that this token completes; often empty.
    pub(crate) text: String,
    /// Whether this is a special token, which has no text.
    pub(crate) special: bool,
}

/// The reply to a request, which all its documents share.
pub(super) struct Reply {
    pub(super) deadline: Instant,
    pub(super) stream: bool,
    pub(super) queued: Instant,
    /// Closed as soon as the client has left.
    events: UnboundedSender<Event>,
    /// Released when the last document has ended.
    _charge: Charge,
}

/// Identifies a request that is not answered yet.
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
        // Sending fails if the client has left.
        let _ = self.events.send(event);
    }
}

/// A request in the queue.
pub(super) struct QueuedRequest {
    pub(super) groups: Vec<Group>,
    pub(super) reply: Arc<Reply>,
}

/// A document that a worker took.
pub(super) struct TakenDocument {
    pub(super) document: Document,
    pub(super) parameters: Arc<DocumentParameters>,
    pub(super) reply: Arc<Reply>,
}

impl QueuedRequest {
    pub(super) fn new(request: Request, events: UnboundedSender<Event>) -> Self {
        let mut groups = request.groups;
        groups.retain(|group| !group.documents.is_empty());
        for group in &mut groups {
            // Documents are taken from the end, so the shortest is taken first, and documents of
            // similar length run together.
            group.documents.sort_by_key(|document| std::cmp::Reverse(document.text.len()));
        }
        let reply = Reply {
            deadline: request.deadline,
            stream: request.stream,
            queued: Instant::now(),
            events,
            _charge: request.charge,
        };
        Self { groups, reply: Arc::new(reply) }
    }

    /// Decoder rows of the documents that no worker has taken.
    pub(super) fn rows(&self) -> usize {
        self.groups.iter().map(Group::rows).sum()
    }

    /// Number of documents that no worker has taken.
    pub(super) fn documents(&self) -> usize {
        self.groups.iter().map(|group| group.documents.len()).sum()
    }

    /// Demand and parameters of the next document.
    pub(super) fn next(&self) -> Option<(Demand, &DocumentParameters)> {
        let group = self.groups.last()?;
        let tokens = tokens_of_bytes(group.documents.last()?.text.len());
        Some((group.demand.with_tokens(tokens), &group.parameters))
    }

    /// Takes the next document.
    pub(super) fn take(&mut self) -> Option<TakenDocument> {
        let group = self.groups.last_mut()?;
        let document = group.documents.pop()?;
        let parameters = group.parameters.clone();
        if group.documents.is_empty() {
            self.groups.pop();
        }
        Some(TakenDocument { document, parameters, reply: self.reply.clone() })
    }
}
