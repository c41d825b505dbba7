//! What a [`Summarizer`](crate::Summarizer) makes of a document.

use std::time::Duration;

use crate::generation::StopReason;
use crate::long_document::Read;

/// What was made of one document.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The summaries asked for, best first: `num_return_sequences` of them.
    pub sequences: Vec<Sequence>,
    /// Tokens of the source that were read, the end token included.
    pub input_tokens: usize,
    /// Whether the source was longer than the model takes, and cut.
    pub truncated: bool,
    /// Decoder steps made.
    pub steps: usize,
    /// What ended the generation.
    pub stopped: StopReason,
    /// Where the time went.
    pub timing: Timing,
    /// How much of a [`LongDocument`](crate::long_document::LongDocument) was read.
    pub read: Option<Read>,
}

impl Summary {
    /// The best summary.
    pub fn text(&self) -> &str {
        self.sequences.first().map_or("", |sequence| &sequence.text)
    }
}

/// One generated sequence.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The text, special tokens left out.
    pub text: String,
    /// Token ids as transformers' `generate` returns them: decoder start first, end token last.
    pub token_ids: Vec<u32>,
    /// transformers' `sequences_scores`; none for greedy search and sampling.
    pub score: Option<f32>,
    /// Log-probability of each generated token, where they were asked for.
    pub token_scores: Option<Vec<f32>>,
}

/// Where a document's time went. Documents decoded together share their decoding.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Text to tokens.
    pub tokenize: Duration,
    /// The encoder.
    pub encode: Duration,
    /// From the first decoder step to this document's last, and its tokens to text.
    pub decode: Duration,
}

impl Timing {
    /// All together.
    pub fn total(&self) -> Duration {
        self.tokenize + self.encode + self.decode
    }
}
