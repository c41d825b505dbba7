//! Measures a bundle on documents of one's own: how latency and quality depend on the settings of
//! the search, and how far two bundles are apart.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use epitome_evaluation::data::Dataset;
//! use epitome_evaluation::results::{DataRecord, ModelRecord, Results};
//! use epitome_evaluation::settings::Grid;
//! use epitome_evaluation::sweep::sweep;
//! use epitome_runtime::Summarizer;
//!
//! # fn main() -> epitome_evaluation::Result<()> {
//! let mut summarizer = Summarizer::open("models/demo")?;
//! let data = Dataset::read(Path::new("documents.csv"), Some(20))?;
//! let settings = Grid::default().settings();
//! let samples = sweep(&mut summarizer, &data, &settings, 1, &())?;
//! let model = ModelRecord::of(summarizer.bundle(), 2);
//! let record = DataRecord::new("documents.csv", &data, &samples);
//! let results = Results::new(model, record, &settings, &samples).within(250.0);
//! print!("{}", epitome_evaluation::report::table(&results));
//! # Ok(())
//! # }
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`data`] | documents with reference summaries, read from CSV |
//! | [`settings`] | settings to compare: beams, `length_penalty`, `early_stopping` |
//! | [`sweep`] | runs every document at every setting |
//! | [`rouge`] | ROUGE, as Google's `rouge-score` computes it |
//! | [`results`] | figures of a sweep, and the best setting within a latency budget |
//! | [`report`], [`plot`] | a table, a page and files; figures as SVG |
//! | [`compare`] | two bundles on the same documents: quality, agreement, logits |
//! | [`statistics`] | quantiles, means and their intervals |
//! | [`sequential_test`] | tells a slowdown from noise with a stated false-alarm rate |
//! | [`regression`], [`worker`] | whether a model got slower or worse, in interleaved processes |
//! | [`holdout`] | how often the setting for a budget was right on other documents |
//! | [`history`] | results over time on one page |
//! | [`origin`], [`machine`] | when, by what and on what a measurement was made |

pub mod compare;
pub mod data;
mod error;
pub mod history;
pub mod holdout;
pub mod machine;
pub mod origin;
mod pareto;
pub mod plot;
pub mod regression;
pub mod report;
pub mod results;
pub mod rouge;
pub mod sequential_test;
pub mod settings;
pub mod statistics;
pub mod sweep;
pub mod worker;

pub use error::{Error, Result};
