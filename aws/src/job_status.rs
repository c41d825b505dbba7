//! Status of a training or batch transform job.

/// Status of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// The job is starting or running.
    InProgress,
    /// The job has completed.
    Completed,
    /// The job has failed. Its failure reason says why.
    Failed,
    /// The job is stopping.
    Stopping,
    /// The job was stopped. It may have saved outputs before.
    Stopped,
    /// Another status, by AWS's name.
    Other(String),
}

impl JobStatus {
    /// The status with this name in AWS.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "InProgress" => Self::InProgress,
            "Completed" => Self::Completed,
            "Failed" => Self::Failed,
            "Stopping" => Self::Stopping,
            "Stopped" => Self::Stopped,
            other => Self::Other(other.into()),
        }
    }

    /// Whether the status is final.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped)
    }
}
