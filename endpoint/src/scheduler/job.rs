//! What is asked of the workers, and what they report.

use std::time::{Duration, Instant};

use epitome_runtime::{GenerationParameters, Summary};
use tokio::sync::mpsc::UnboundedSender;

use crate::error::ApiError;

/// Texts to be summarized with the same parameters.
#[derive(Debug)]
pub(crate) struct Work {
    /// The texts, none of them empty.
    pub(crate) texts: Vec<String>,
    /// How to generate; checked against the model already.
    pub(crate) parameters: GenerationParameters,
    /// Decoder rows that each text takes.
    pub(crate) rows_per_text: usize,
    /// When nobody waits any more.
    pub(crate) deadline: Instant,
    /// Whether to report tokens as they come.
    pub(crate) stream: bool,
}

/// What a worker reports. Texts are numbered as in the [`Work`].
#[derive(Debug)]
pub(crate) enum Event {
    /// A token became final, of the best sequence of a streamed text.
    Token(Token),
    /// A text is finished.
    Finished {
        /// The text.
        text: usize,
        /// What was made of it.
        summary: Box<Summary>,
        /// How long it waited for a worker.
        waited: Duration,
    },
    /// The work failed; nothing more comes.
    Failed(ApiError),
}

/// A streamed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// Its id.
    pub(crate) id: u32,
    /// The text that became certain with it, often none.
    pub(crate) text: String,
}

/// Work in the queue.
pub(super) struct Job {
    pub(super) parameters: GenerationParameters,
    pub(super) rows_per_text: usize,
    pub(super) deadline: Instant,
    pub(super) stream: bool,
    pub(super) queued: Instant,
    /// Where reports go. Closed as soon as the client is gone.
    pub(super) events: UnboundedSender<Event>,
    /// Texts not yet taken by a worker, longest first: the short ones at the end come out first, and those
    /// decoded together are of like length.
    remaining: Vec<(usize, String)>,
}

impl Job {
    pub(super) fn new(work: Work, events: UnboundedSender<Event>) -> Self {
        let mut remaining: Vec<_> = work.texts.into_iter().enumerate().collect();
        remaining.sort_by_key(|(_, text)| std::cmp::Reverse(text.len()));
        Self {
            parameters: work.parameters,
            rows_per_text: work.rows_per_text.max(1),
            deadline: work.deadline,
            stream: work.stream,
            queued: Instant::now(),
            events,
            remaining,
        }
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.events.is_closed() || Instant::now() >= self.deadline
    }

    /// Whether all its texts were taken.
    pub(super) fn is_exhausted(&self) -> bool {
        self.remaining.is_empty()
    }

    /// Texts not yet taken.
    pub(super) fn remaining(&self) -> usize {
        self.remaining.len()
    }

    /// Whether its texts can be decoded together with another's.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        self.rows_per_text == other.rows_per_text && self.parameters == other.parameters
    }

    /// Takes at most so many texts.
    pub(super) fn take(&mut self, count: usize) -> Vec<Task> {
        let count = count.min(self.remaining.len());
        let rest = self.remaining.len() - count;
        self.remaining
            .drain(rest..)
            .map(|(index, text)| Task {
                index,
                text,
                deadline: self.deadline,
                stream: self.stream,
                queued: self.queued,
                events: self.events.clone(),
            })
            .collect()
    }
}

/// One text, as a worker takes it.
pub(super) struct Task {
    pub(super) index: usize,
    pub(super) text: String,
    pub(super) deadline: Instant,
    pub(super) stream: bool,
    pub(super) queued: Instant,
    pub(super) events: UnboundedSender<Event>,
}

impl Task {
    /// Whether nobody waits for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.events.is_closed() || Instant::now() >= self.deadline
    }

    pub(super) fn report(&self, event: Event) {
        // It fails only where the client is gone, and then nobody minds.
        let _ = self.events.send(event);
    }
}
