//! Training jobs and batch transform jobs.

use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, seconds};
use crate::error::{Error, Result};
use crate::job_status::JobStatus;
use crate::service::Service;

/// The two kinds of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Training.
    Training,
    /// Batch transform.
    Transform,
}

impl JobKind {
    const ALL: [Self; 2] = [Self::Training, Self::Transform];

    /// The word in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Transform => "transform",
        }
    }

    /// The word in AWS's names of calls and fields.
    fn word_in_calls(self) -> &'static str {
        match self {
            Self::Training => "Training",
            Self::Transform => "Transform",
        }
    }

    /// The name of an AWS field that begins with the kind.
    fn field(self, rest: &str) -> String {
        format!("{}{rest}", self.word_in_calls())
    }

    /// The CloudWatch log group of such jobs.
    pub fn log_group(self) -> &'static str {
        match self {
            Self::Training => "/aws/sagemaker/TrainingJobs",
            Self::Transform => "/aws/sagemaker/TransformJobs",
        }
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Kind of the job.
    pub kind: JobKind,
    /// Name of the job.
    pub name: String,
    /// Status of the job.
    pub status: JobStatus,
    /// Time of creation, in seconds since 1970.
    pub created: Option<f64>,
    /// Time of the end, in seconds since 1970.
    pub ended: Option<f64>,
    /// Reason of a failure.
    pub failure: Option<String>,
    /// Type and number of the instances, if the job was described.
    pub instances: Option<(String, u64)>,
}

/// The newest jobs of the account, at most `limit` of each kind, up to 100.
///
/// # Errors
/// If AWS refuses the call.
pub fn jobs(control_plane: &ControlPlane, limit: usize) -> Result<Vec<Job>> {
    let mut all = Vec::new();
    for kind in JobKind::ALL {
        let body = json!({
            "SortBy": "CreationTime",
            "SortOrder": "Descending",
            "MaxResults": limit.clamp(1, 100),
        });
        let operation = format!("List{}Jobs", kind.word_in_calls());
        let answer = control_plane.call(Service::SageMaker, &operation, &body)?;
        let jobs = answer[kind.field("JobSummaries")].as_array().into_iter().flatten();
        all.extend(jobs.map(|job| Job::of(kind, job)));
    }
    all.sort_by(|a, b| b.created.unwrap_or(0.0).total_cmp(&a.created.unwrap_or(0.0)));
    Ok(all)
}

impl Job {
    fn of(kind: JobKind, answer: &Value) -> Self {
        let text = |value: &Value| value.as_str().filter(|it| !it.is_empty()).map(str::to_owned);
        let resources = match kind {
            JobKind::Training => &answer["ResourceConfig"],
            JobKind::Transform => &answer["TransformResources"],
        };
        let count = resources["InstanceCount"].as_u64();
        Self {
            kind,
            name: text(&answer[kind.field("JobName")]).unwrap_or_default(),
            status: JobStatus::of(
                &text(&answer[kind.field("JobStatus")]).unwrap_or_else(|| "unknown".into()),
            ),
            created: seconds(&answer["CreationTime"]),
            ended: seconds(&answer[kind.field("EndTime")]),
            failure: text(&answer["FailureReason"]),
            instances: text(&resources["InstanceType"]).zip(count),
        }
    }

    /// The jobs with this name. There may be one of each kind.
    ///
    /// # Errors
    /// If AWS refuses a call.
    pub fn find(control_plane: &ControlPlane, name: &str) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for kind in JobKind::ALL {
            let body = json!({kind.field("JobName"): name});
            let operation = format!("Describe{}Job", kind.word_in_calls());
            match control_plane.call(Service::SageMaker, &operation, &body) {
                Ok(answer) => found.push(Self { name: name.into(), ..Self::of(kind, &answer) }),
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Asks AWS to stop the job. Its finished work stays.
    ///
    /// # Errors
    /// If the job has ended, or AWS refuses the call.
    pub fn stop(&self, control_plane: &ControlPlane) -> Result<()> {
        if self.status.has_ended() {
            return Err(Error::Failed(format!(
                "{} job '{}' has ended already: there is nothing to stop",
                self.kind.word(),
                self.name
            )));
        }
        let body = json!({self.kind.field("JobName"): self.name});
        let operation = format!("Stop{}Job", self.kind.word_in_calls());
        control_plane.call(Service::SageMaker, &operation, &body)?;
        Ok(())
    }
}
