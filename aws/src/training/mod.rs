//! Training jobs: what they are asked for, how they are followed, and what they leave.

mod image;
mod job;
mod log;
mod python;
mod source;
mod spec;

pub use job::{Compression, JobStatus, TrainingJob};
pub use log::{JobLog, metrics};
pub use source::pack;
pub use spec::{
    CHECKPOINT_LOCAL_PATH, GitConfig, INSTANCE_COUNT, MAX_RUN, TrainingSpec, VOLUME_SIZE,
};
