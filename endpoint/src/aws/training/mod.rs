//! Training jobs: what they are asked for, how they are followed, and what they leave.

mod image;
mod log;
mod python;
mod source;
mod spec;

use serde_json::{Value, json};

use super::wait::pause;
use super::{AwsError, Client, Service, Watch};

pub use log::{JobLog, metrics};
pub use source::pack;
pub(super) use spec::tags;
pub use spec::{GitConfig, TrainingSpec};

/// A training job, as AWS describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingJob {
    /// Its name.
    pub name: String,
    /// How far it is.
    pub status: JobStatus,
    /// The finer state, such as `Downloading` or `Training`.
    pub secondary_status: String,
    /// Why it failed, where it did.
    pub failure_reason: Option<String>,
    /// `s3://` URL of the model: an object, or with [`Compression::None`] a prefix.
    pub artifact: Option<String>,
    /// How the artifact is stored.
    pub compression: Compression,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// It is being started, or runs.
    InProgress,
    /// It is done.
    Completed,
    /// It failed: the job says why.
    Failed,
    /// It is being stopped.
    Stopping,
    /// It was stopped; what it had saved may be there.
    Stopped,
    /// Any other state, by AWS's name.
    Other(String),
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
    /// Starts a job, with the body that [`TrainingSpec::request`] gives.
    ///
    /// # Errors
    /// What AWS says against it.
    pub fn create(client: &Client, request: &Value) -> Result<(), AwsError> {
        client.call(Service::SageMaker, "CreateTrainingJob", request)?;
        Ok(())
    }

    /// Asks AWS for a job.
    ///
    /// # Errors
    /// Where there is no such job, or AWS cannot be asked.
    pub fn describe(client: &Client, name: &str) -> Result<Self, AwsError> {
        Self::find(client, name)?.ok_or_else(|| {
            AwsError::Failed(format!(
                "there is no training job '{name}' in {}: check its name and region",
                client.region()
            ))
        })
    }

    /// The job of a name, if there is or was one.
    ///
    /// # Errors
    /// Where AWS cannot be asked.
    pub fn find(client: &Client, name: &str) -> Result<Option<Self>, AwsError> {
        let body = json!({"TrainingJobName": name});
        match client.call(Service::SageMaker, "DescribeTrainingJob", &body) {
            Ok(answer) => Ok(Some(Self::from_answer(name, &answer))),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks again until the job has ended, in whatever way.
    ///
    /// # Errors
    /// As [`describe`](Self::describe), and [`AwsError::Interrupted`].
    pub fn wait(client: &Client, name: &str, watch: &dyn Watch) -> Result<Self, AwsError> {
        Self::until_over(client, name, watch, &mut || {})
    }

    /// The same, and hands over the lines of its log. A log that cannot be read is noted, and keeps nobody from waiting.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn follow(
        client: &Client,
        name: &str,
        watch: &dyn Watch,
        line: &mut dyn FnMut(&str),
    ) -> Result<Self, AwsError> {
        let mut log = Some(JobLog::new(client, name));
        let mut look = || {
            if let Some(Err(error)) = log.as_mut().map(|log| log.read(line)) {
                watch.note(&format!("its log is not shown: {error}"));
                log = None;
            }
        };
        let job = Self::until_over(client, name, watch, &mut look)?;
        // The last lines, with the reason of a failure among them, arrive after the job's end.
        if pause(watch).is_ok() {
            look();
        }
        Ok(job)
    }

    fn until_over(
        client: &Client,
        name: &str,
        watch: &dyn Watch,
        look: &mut dyn FnMut(),
    ) -> Result<Self, AwsError> {
        loop {
            let job = Self::describe(client, name)?;
            watch.state(&job.secondary_status);
            look();
            if job.is_over() {
                return Ok(job);
            }
            pause(watch)?;
        }
    }

    /// Whether nothing more will happen to it.
    pub fn is_over(&self) -> bool {
        matches!(
            self.status,
            JobStatus::Completed | JobStatus::Failed | JobStatus::Stopped
        )
    }

    fn from_answer(name: &str, answer: &Value) -> Self {
        let text = |value: &Value| {
            value
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let status = answer["TrainingJobStatus"].as_str().unwrap_or("unknown");
        let status = match status {
            "InProgress" => JobStatus::InProgress,
            "Completed" => JobStatus::Completed,
            "Failed" => JobStatus::Failed,
            "Stopping" => JobStatus::Stopping,
            "Stopped" => JobStatus::Stopped,
            other => JobStatus::Other(other.into()),
        };
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
        assert!(job.is_over());
        assert_eq!(job.status, JobStatus::Failed);
        assert_eq!(
            job.failure_reason.as_deref(),
            Some("AlgorithmError: exit code 1")
        );
        assert_eq!(job.artifact, None);
        assert_eq!(job.compression, Compression::None);
        let job = TrainingJob::from_answer("a", &json!({"TrainingJobStatus": "Deleting"}));
        assert_eq!(job.status, JobStatus::Other("Deleting".into()));
        assert!(!job.is_over());
    }
}
