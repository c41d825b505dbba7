//! A training job: its start, its progress and its artifact.

use serde_json::{Value, json};

use super::log::JobLog;
use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::job_status::JobStatus;
use crate::polling::Polling;
use crate::service::Service;

/// Description of a training job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingJob {
    /// Name of the job.
    pub name: String,
    /// Status of the job.
    pub status: JobStatus,
    /// The detailed state, such as `Downloading` or `Training`.
    pub secondary_status: String,
    /// Reason of a failure.
    pub failure_reason: Option<String>,
    /// `s3://` URL of the model: an object, or with [`Compression::None`] a prefix.
    pub artifact: Option<String>,
    /// How the artifact is stored.
    pub compression: Compression,
}

/// How an artifact is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// One gzipped tar.
    Gzip,
    /// Plain files below a prefix.
    None,
}

impl TrainingJob {
    /// Starts a job with the body from [`TrainingSpec::request`](super::TrainingSpec::request).
    ///
    /// # Errors
    /// If AWS refuses the call.
    pub fn create(control_plane: &ControlPlane, request: &Value) -> Result<()> {
        control_plane.call(Service::SageMaker, "CreateTrainingJob", request)?;
        Ok(())
    }

    /// The job with this name.
    ///
    /// # Errors
    /// If there is no such job, or the call fails.
    pub fn describe(control_plane: &ControlPlane, name: &str) -> Result<Self> {
        Self::find(control_plane, name)?.ok_or_else(|| {
            Error::Failed(format!(
                "there is no training job '{name}' in {}: check its name and region",
                control_plane.region()
            ))
        })
    }

    /// The job with this name, if it exists.
    ///
    /// # Errors
    /// If the call fails.
    pub fn find(control_plane: &ControlPlane, name: &str) -> Result<Option<Self>> {
        let body = json!({"TrainingJobName": name});
        match control_plane.call(Service::SageMaker, "DescribeTrainingJob", &body) {
            Ok(answer) => Ok(Some(Self::from_answer(name, &answer))),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until the job has ended.
    ///
    /// # Errors
    /// Fails as [`describe`](Self::describe) does, or with [`Error::Interrupted`].
    pub fn wait(control_plane: &ControlPlane, name: &str, polling: Polling<'_>) -> Result<Self> {
        Self::poll(control_plane, name, polling, &mut || {})
    }

    /// Waits like [`wait`](Self::wait), and passes the lines of the job's log to `line`. A log that
    /// cannot be read is reported, and the wait goes on.
    ///
    /// # Errors
    /// Fails as [`wait`](Self::wait) does.
    pub fn follow(
        control_plane: &ControlPlane,
        name: &str,
        polling: Polling<'_>,
        line: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        let mut log = Some(JobLog::new(control_plane, name));
        let mut read_log = || {
            if let Some(Err(error)) = log.as_mut().map(|log| log.read(line)) {
                polling.progress.note(&format!("its log is not shown: {error}"));
                log = None;
            }
        };
        let job = Self::poll(control_plane, name, polling, &mut read_log)?;
        // The last lines, which contain the reason of a failure, arrive after the job's end.
        if polling.pause().is_ok() {
            read_log();
        }
        Ok(job)
    }

    fn poll(
        control_plane: &ControlPlane,
        name: &str,
        polling: Polling<'_>,
        read_log: &mut dyn FnMut(),
    ) -> Result<Self> {
        loop {
            let job = Self::describe(control_plane, name)?;
            polling.progress.state(&job.secondary_status);
            read_log();
            if job.status.has_ended() {
                return Ok(job);
            }
            polling.pause()?;
        }
    }

    fn from_answer(name: &str, answer: &Value) -> Self {
        let text =
            |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let status = JobStatus::of(answer["TrainingJobStatus"].as_str().unwrap_or("unknown"));
        let compression = match answer["OutputDataConfig"]["CompressionType"].as_str() {
            Some("NONE") => Compression::None,
            _ => Compression::Gzip,
        };
        Self {
            name: name.into(),
            status,
            secondary_status: text(&answer["SecondaryStatus"]).unwrap_or_default(),
            failure_reason: text(&answer["FailureReason"]),
            artifact: text(&answer["ModelArtifacts"]["S3ModelArtifacts"]),
            compression,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_read() {
        let job = TrainingJob::from_answer(
            "a",
            &json!({
                "TrainingJobStatus": "Failed",
                "SecondaryStatus": "Failed",
                "FailureReason": "AlgorithmError: exit code 1",
                "ModelArtifacts": {"S3ModelArtifacts": ""},
                "OutputDataConfig": {"S3OutputPath": "s3://b/p", "CompressionType": "NONE"},
            }),
        );
        assert!(job.status.has_ended());
        assert_eq!(job.status, JobStatus::Failed);
        assert_eq!(job.failure_reason.as_deref(), Some("AlgorithmError: exit code 1"));
        assert_eq!(job.artifact, None);
        assert_eq!(job.compression, Compression::None);
        let job = TrainingJob::from_answer("a", &json!({"TrainingJobStatus": "Deleting"}));
        assert_eq!(job.status, JobStatus::Other("Deleting".into()));
        assert!(!job.status.has_ended());
    }
}
