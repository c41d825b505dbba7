//! Training jobs: what they are asked for, how they are followed, and what they leave.

mod distribution;
mod image;
mod job;
mod log;
mod python;
mod source;
mod spec;

pub use distribution::{DataParallel, Distribution, Enabled, Mpi, Smdistributed};
pub use job::{Compression, TrainingJob};
pub use log::{JobLog, metrics};
pub use source::pack;
pub use spec::{
    CHECKPOINT_LOCAL_PATH, GitConfig, INSTANCE_COUNT, MAX_RUN, TrainingSpec, VOLUME_SIZE,
};
