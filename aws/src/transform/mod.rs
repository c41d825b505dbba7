//! Batch transform: a job that summarizes the files below a prefix on S3, on its own instances.
//!
//! An input `PREFIX/a.jsonl` becomes the output `OUTPUT/a.jsonl.out`. If a file fails, the job
//! continues with other files, and the failed file has no output.

mod errors;
mod files;
mod job;
mod spec;

pub use errors::{FailedRecord, failed_records};
pub use files::{Files, manifest, manifest_files, manifest_uri};
pub use job::TransformJob;
pub use spec::{Format, Input, TransformSpec};
