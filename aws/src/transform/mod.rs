//! Batch transform: a job that summarizes the files below a prefix on S3, on instances of its own.
//!
//! An input `PREFIX/a.jsonl` becomes the output `OUTPUT/a.jsonl.out`. A job goes on with other
//! files where one fails, and such a file has no output.

mod errors;
mod files;
mod job;
mod spec;

pub use errors::{FailedRecord, failed_records};
pub use files::{Files, manifest, manifest_files, manifest_uri};
pub use job::TransformJob;
pub use spec::{Format, Input, TransformSpec};
