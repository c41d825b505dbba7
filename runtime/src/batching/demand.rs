//! The demand of a document, and the goal of the batcher.

use crate::generation::GenerationConfig;

/// The resources that a document needs while it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Decoder rows: beams, or sampled sequences.
    pub rows: usize,
    /// Tokens of the source, or an estimate.
    pub tokens: usize,
    /// Maximum number of tokens in the history of each row.
    pub longest: usize,
}

impl Demand {
    /// The demand of a document with this configuration and number of source tokens.
    pub fn new(config: &GenerationConfig, tokens: usize) -> Self {
        Self { rows: config.rows_per_document(), tokens, longest: config.longest_history() }
    }

    /// The demand of another document with the same configuration.
    pub fn with_tokens(self, tokens: usize) -> Self {
        Self { tokens, ..self }
    }

    /// Tokens in the histories of all rows.
    pub(super) fn history(&self) -> usize {
        self.rows.saturating_mul(self.longest)
    }
}

/// What the batcher optimizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The time until all documents are finished.
    Throughput,
    /// The time until each document is finished.
    Latency,
}
