//! Runs an epitome bundle: the ONNX Runtime sessions, generation as transformers does it, and the
//! [`Summarizer`] that puts them together.
//!
//! ```no_run
//! use epitome_runtime::{GenerationParameters, Summarizer};
//!
//! # fn main() -> epitome_runtime::Result<()> {
//! let mut summarizer = Summarizer::open("models/demo")?;
//! let parameters = GenerationParameters { num_beams: Some(4), ..Default::default() };
//! for summary in summarizer.summarize(&["A long report ..."], &parameters)? {
//!     println!("{}", summary.text());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`bundle`] | the folder of an exported model, its manifest, the names of its graphs' inputs |
//! | [`library`] | finding, fetching and loading ONNX Runtime itself |
//! | [`operators`] | the operators of our own that graphs use |
//! | [`kernels`] | the arithmetic of these operators, a crate of its own |
//! | [`session`] | encoder and decoder, and caches that stay where they are |
//! | [`generation`] | parameters, logits processors and searches; knows nothing of ONNX |
//! | [`concurrency`] | more threads or more copies of a model, by its size |
//! | [`batching`] | the loop in which documents join and leave the running steps |
//! | [`tokenizer`] | text to tokens and back |
//! | [`summarizer`], [`summary`] | all of it together, and what comes out |
//! | [`long_document`] | documents longer than the window of a model |
//! | [`progress`] | following long work, and stopping it |
//! | [`scratch`], [`beside`] | what is temporary; files that are there whole or not at all |

pub mod batching;
pub mod beside;
pub mod bundle;
pub mod concurrency;
pub mod error;
pub mod generation;
pub mod library;
pub mod long_document;
pub mod operators;
pub mod progress;
pub mod scratch;
pub mod session;
mod stop_strings;
pub mod summarizer;
pub mod summary;
pub mod tokenizer;

pub use epitome_kernels as kernels;
pub use error::{Error, Result};
pub use generation::GenerationParameters;
pub use long_document::{Length, LongDocument, LongOptions, Reading};
pub use progress::Progress;
pub use session::SessionOptions;
pub use summarizer::{ModelSettings, Summarizer};
pub use summary::{Sequence, Summary, Timing};
