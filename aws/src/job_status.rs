//! How far a job is, of training or of batch transform.

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
    /// It was stopped. What it saved before may exist.
    Stopped,
    /// Any other state, by AWS's name.
    Other(String),
}

impl JobStatus {
    /// The status that AWS names.
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

    /// Whether nothing more happens.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped)
    }
}
