//! What a search returns.

/// What was generated for one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The sequences asked for, best first; `num_return_sequences` of them unless the document was
    /// cancelled.
    pub sequences: Vec<Hypothesis>,
    /// Decoder steps made while the document was decoding.
    pub steps: usize,
    /// What ended the search.
    pub stopped: StopReason,
}

/// One generated sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Decoder start first, end token last where one was generated, no padding.
    pub token_ids: Vec<u32>,
    /// Beam search: log-probability over length to the power of `length_penalty`, transformers'
    /// `sequences_scores`.
    pub score: Option<f32>,
    /// With `output_scores`, the log-probability of each generated token after the processors:
    /// transformers' `compute_transition_scores`, normalized for greedy search and sampling.
    pub token_scores: Option<Vec<f32>>,
}

/// What ended a document's search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The sequences ended by themselves, with an end token or a stop string, or (beam search)
    /// nothing still running could become better.
    Finished,
    /// `max_length` was reached.
    MaxLength,
    /// `max_time`, or the document's deadline, passed; the sequences are cut there.
    Deadline,
    /// The observer cancelled the document; the sequences are what there was.
    Cancelled,
}
