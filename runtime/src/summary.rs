//! The results of a [`Summarizer`](crate::Summarizer).

use std::time::Duration;

use crate::generation::StopReason;
use crate::long_document::Read;

/// The result for one document.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The generated sequences, best first: `num_return_sequences` of them.
    pub sequences: Vec<Sequence>,
    /// Number of source tokens after truncation, special tokens included.
    pub input_tokens: usize,
    /// Whether the source was longer than the limit and was truncated.
    pub truncated: bool,
    /// Number of decoder steps.
    pub steps: usize,
    /// Why the generation ended.
    pub stopped: StopReason,
    /// Time of each stage.
    pub timing: Timing,
    /// How much of a [`LongDocument`](crate::long_document::LongDocument) was read.
    pub read: Option<Read>,
}

impl Summary {
    /// The text of the best sequence.
    pub fn text(&self) -> &str {
        self.sequences.first().map_or("", |sequence| &sequence.text)
    }
}

/// One generated sequence.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The text, without special tokens.
    pub text: String,
    /// Token ids as transformers' `generate` returns them: decoder start first, end token last.
    pub token_ids: Vec<u32>,
    /// transformers' `sequences_scores`; none for greedy search and sampling.
    pub score: Option<f32>,
    /// Log-probability of each generated token, if they were requested.
    pub token_scores: Option<Vec<f32>>,
}

/// Time of each stage for a document. Documents that are decoded together share the decoder's time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Tokenization.
    pub tokenize: Duration,
    /// Encoder run.
    pub encode: Duration,
    /// From the first to the last decoder step of the document, and detokenization.
    pub decode: Duration,
}

impl Timing {
    /// Sum of all stages.
    pub fn total(&self) -> Duration {
        self.tokenize + self.encode + self.decode
    }
}
