//! The artifact of a SageMaker training job.

use anyhow::{Result, bail};
use epitome_endpoint::aws::Client;
use epitome_endpoint::aws::training::{Compression, JobStatus, TrainingJob};

use crate::aws_progress::{StateLines, waiting};

/// The address on S3 of the model that a job left. With `wait`, its end is waited for, and the job
/// is looked at every so many seconds.
pub(crate) fn artifact(name: &str, wait: Option<f64>) -> Result<String> {
    let client = Client::connect()?;
    let job = match wait {
        Some(seconds) => {
            let states = StateLines::every(seconds);
            waiting(|| TrainingJob::wait(&client, name, &states))?
        }
        None => TrainingJob::describe(&client, name)?,
    };
    address(job)
}

/// Where the model of a job is, or why there is none.
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
            job.failure_reason
                .as_deref()
                .unwrap_or("AWS gives no reason")
        ),
        JobStatus::Other(status) => {
            bail!("training job '{name}' has no artifact to take: its status is {status}")
        }
    }
    let Some(mut address) = job.artifact else {
        bail!(
            "training job '{name}' left no artifact: its script has to save the model in SM_MODEL_DIR"
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
