//! The artifact of a SageMaker training job.

use std::time::Duration;

use anyhow::{Result, bail};
use epitome_aws::training::{Compression, TrainingJob};
use epitome_aws::{JobStatus, Polling};

use crate::aws;
use crate::interrupt;
use crate::state_lines::StateLines;

/// The address on S3 of the model of a job. With `wait`, waits for the end of the job and checks
/// its state in this interval.
pub(crate) fn artifact(name: &str, wait: Option<Duration>) -> Result<String> {
    let control_plane = aws::control_plane()?;
    let job = match wait {
        Some(interval) => {
            let polling = Polling { interval, progress: &StateLines::new() };
            interrupt::during(|| TrainingJob::wait(&control_plane, name, polling))?
        }
        None => TrainingJob::describe(&control_plane, name)?,
    };
    address(job)
}

/// The address of the model of a job, or an error that says why there is none.
pub(crate) fn address(job: TrainingJob) -> Result<String> {
    let name = &job.name;
    match &job.status {
        JobStatus::Completed | JobStatus::Stopped => {}
        JobStatus::InProgress | JobStatus::Stopping => bail!(
            "training job '{name}' is not over yet ({}): give --wait to wait for its end",
            job.secondary_status
        ),
        JobStatus::Failed => bail!(
            "training job '{name}' failed: {}",
            job.failure_reason.as_deref().unwrap_or("AWS gives no reason")
        ),
        JobStatus::Other(status) => {
            bail!("training job '{name}' has no artifact to take: its status is {status}")
        }
    }
    let Some(mut address) = job.artifact else {
        bail!(
            "training job '{name}' left no artifact: its script has to save the model in \
             SM_MODEL_DIR"
        );
    };
    if job.status == JobStatus::Stopped {
        eprintln!("Training job '{name}' was stopped: its artifact is what it had saved by then");
    }
    if job.compression == Compression::None && !address.ends_with('/') {
        address.push('/');
    }
    Ok(address)
}
