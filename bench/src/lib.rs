//! Measures epitome: how latency trades against `length_penalty`, and whether a commit made it slower.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use epitome_bench::data::Dataset;
//! use epitome_bench::results::{DataRecord, ModelRecord, Results};
//! use epitome_bench::settings::Grid;
//! use epitome_bench::sweep::sweep;
//! use epitome_runtime::Summarizer;
//!
//! # fn main() -> epitome_bench::Result<()> {
//! let mut summarizer = Summarizer::open("models/demo")?;
//! let data = Dataset::read(Path::new("documents.csv"), Some(20))?;
//! let settings = Grid::default().settings();
//! let samples = sweep(&mut summarizer, &data, &settings, 1, &mut ())?;
//! let model = ModelRecord::of(summarizer.bundle(), 2);
//! let record = DataRecord::new("documents.csv", &data, &samples);
//! let results = Results::new(model, record, &settings, &samples).within(250.0);
//! print!("{}", epitome_bench::report::table(&results));
//! # Ok(())
//! # }
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`data`] | documents with reference summaries, from CSV |
//! | [`settings`] | what is compared: beams, `length_penalty`, `early_stopping` |
//! | [`sweep`] | every document at every setting |
//! | [`rouge`] | how good a summary is, as Google's `rouge-score` counts |
//! | [`results`], [`pareto`] | what a sweep comes to, and which setting to take |
//! | [`report`], [`plot`] | table, page and files; figures as SVG |
//! | [`compare`] | two bundles on the same documents: quality, agreement, logits |
//! | [`gate`] | whether a commit is slower than a stored baseline |
//! | [`tokens`], [`roofline`] | for the comparison with peers: generation from token ids, the machine's limits |
//! | [`history`] | figures of chosen commits over time |
//! | [`models`], [`shape`], [`canned`] | what is measured on: the trained model, random ones of true shape, canned logits |

pub mod canned;
pub mod compare;
pub mod data;
mod error;
pub mod gate;
pub mod history;
pub mod machine;
pub mod models;
pub mod pareto;
pub mod plot;
pub mod random;
pub mod report;
pub mod results;
pub mod roofline;
pub mod rouge;
pub mod settings;
pub mod shape;
pub mod statistics;
pub mod sweep;
pub mod tokens;

pub use error::{Error, Result};
