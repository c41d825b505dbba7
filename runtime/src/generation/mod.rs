//! Generation exactly as HuggingFace transformers 5.24.0 does it for encoder-decoder models.
//!
//! Independent of what runs the decoder: a [`StepModel`] turns the newest tokens into logits, and
//! [`generate`] chooses tokens until every document is finished.
//!
//! * [`GenerationParameters`] is what a caller asks for, in transformers' names;
//!   [`GenerationConfig`] is that over the model's defaults, resolved and consistent.
//! * `processors` change scores; the searches know none of them.
//! * `search` holds greedy search and sampling, beam search, diverse and constrained beam search
//!   (these two as transformers 4.46.3 has them, which version 5 lacks), and the steps that all
//!   documents make together. Every document has a search and a length of its own, so documents
//!   never influence each other.
//! * `scoring` is the arithmetic over whole rows.

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
pub(crate) use search::{Observer, Searches, check};
