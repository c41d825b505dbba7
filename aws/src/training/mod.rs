//! Training jobs: their settings, start, log and artifact.

mod distribution;
mod image;
mod job;
mod log;
mod python;
mod source;
mod spec;

pub use distribution::{DataParallel, Distribution, Enabled, Mpi, Smdistributed};
pub use job::{Compression, TrainingJob};
pub use log::metrics;
pub use source::pack;
pub use spec::{
    CHECKPOINT_LOCAL_PATH, GitConfig, INSTANCE_COUNT, MAX_RUN, TrainingSpec, VOLUME_SIZE,
};
