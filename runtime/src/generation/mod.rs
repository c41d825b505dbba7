//! Generation exactly as HuggingFace transformers 5.24.0 does it for encoder-decoder models.
//!
//! Any decoder can implement [`StepModel`], which turns the newest tokens into logits. [`generate`]
//! chooses tokens until every document is finished.
//!
//! * [`GenerationParameters`] holds the parameters of a caller, under transformers' names;
//!   [`GenerationConfig`] merges them with the model's defaults and checks them.
//! * `processors` change scores; no search depends on a single processor.
//! * `search` holds greedy search, sampling, beam search, and diverse and constrained beam search
//!   (both as in transformers 4.46.3; version 5 dropped them). It also makes the decoder steps of
//!   all documents together. Every document has its own search and length, so documents never
//!   influence each other.
//! * `scoring` computes over whole rows of scores.

mod config;
mod error;
mod model;
mod outcome;
mod parameters;
mod processors;
mod random;
mod scoring;
mod search;
mod stopping;

pub use config::{GenerationConfig, Limits};
pub use error::{GenerateError, ParameterError};
pub use model::{Feed, Rows, Source, StepModel, StopStrings};
pub use outcome::{Generated, Hypothesis, StopReason};
pub use parameters::{
    Constraint, EarlyStopping, ExponentialDecay, GenerationParameters, GlobalAttentionMask,
    MAX_ROWS, SequenceBias,
};
pub use search::generate;
pub(crate) use search::{SearchResult, Searches, check};
