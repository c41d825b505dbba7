//! The result of a search.

/// The result of generation for one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// `num_return_sequences` sequences, best first; fewer if the document was cancelled.
    pub sequences: Vec<Hypothesis>,
    /// Number of decoder steps made for the document.
    pub steps: usize,
    /// Why the search ended.
    pub stopped: StopReason,
}

/// One generated sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Token ids, from the decoder start to the end token if one was generated, without padding.
    pub token_ids: Vec<u32>,
    /// Score of a beam search: log-probability divided by length to the power of `length_penalty`
    /// (transformers' `sequences_scores`).
    pub score: Option<f32>,
    /// With `output_scores`, the log-probability of each generated token after the processors
    /// (transformers' `compute_transition_scores`, normalized for greedy search and sampling).
    pub token_scores: Option<Vec<f32>>,
}

/// Why the search of a document ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// All sequences ended with an end token or a stop string; or, in beam search, no running beam
    /// could become better.
    Finished,
    /// A sequence reached `max_length`.
    MaxLength,
    /// `max_time` or the document's deadline passed. The sequences are cut there.
    Deadline,
    /// The observer cancelled the document. The sequences are cut there.
    Cancelled,
}
