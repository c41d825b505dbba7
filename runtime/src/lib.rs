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
//! | [`bundle`] | the folder of an exported model, its manifest, its graphs' inputs and outputs |
//! | [`library`] | finding, fetching and loading ONNX Runtime itself |
//! | [`operators`] | the custom operators of the graphs |
//! | [`kernels`] | the arithmetic of these operators, in a crate of its own |
//! | [`session`] | encoder and decoder sessions, and their key/value caches |
//! | [`generation`] | parameters, logits processors and searches, independent of ONNX |
//! | [`concurrency`] | the number of model copies and of threads, by the size of the model |
//! | [`batching`] | continuous batching: documents join and leave between decoder steps |
//! | [`tokenizer`] | encoding texts and decoding tokens |
//! | [`summarizer`], [`summary`] | the whole pipeline, and its results |
//! | [`long_document`] | documents longer than the input of a model |
//! | [`progress`] | progress and cancellation of long work |
//! | [`observer`] | following and cancelling single documents |
//! | [`scratch`] | temporary files and folders |
//! | [`atomic_file`] | files that are written atomically |

pub mod atomic_file;
pub mod batching;
pub mod bundle;
pub mod concurrency;
pub mod error;
pub mod generation;
pub mod library;
pub mod long_document;
pub mod observer;
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
