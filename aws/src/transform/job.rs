//! A batch transform job: its start, its progress and its end.

use serde_json::json;

use super::spec::TransformSpec;
use crate::control_plane::{ControlPlane, seconds};
use crate::error::Result;
use crate::job_status::JobStatus;
use crate::model;
use crate::polling::Polling;
use crate::service::Service;
use crate::uri::S3Uri;

/// Description of a batch transform job.
#[derive(Clone, Debug, PartialEq)]
pub struct TransformJob {
    /// Name of the job.
    pub name: String,
    /// Status of the job.
    pub status: JobStatus,
    /// Reason of a failure.
    pub failure_reason: Option<String>,
    /// Name of the job's model.
    pub model: String,
    /// Time of creation, in seconds since 1970.
    pub created: Option<f64>,
    /// Manifest of the job's files; `None` if it reads all files below a prefix.
    pub manifest: Option<S3Uri>,
}

impl TransformJob {
    /// Creates the model and starts the job. If the job cannot be started, a new model is removed
    /// again. An existing model stays, since another job may use it.
    ///
    /// # Errors
    /// If a setting is invalid, or AWS refuses a call.
    pub fn create(control_plane: &ControlPlane, spec: &TransformSpec) -> Result<()> {
        let [model, job] = spec.steps()?;
        let name = spec.model_name()?;
        let is_new = match control_plane.call(Service::SageMaker, model.operation, &model.body) {
            Ok(_) => true,
            Err(error) if error.is_there_already() => false,
            Err(error) => return Err(error),
        };
        let started = control_plane.call(Service::SageMaker, job.operation, &job.body);
        if started.is_err() && is_new {
            // The error of the job is the one to report.
            let _ = model::delete(control_plane, &name);
        }
        started.map(drop)
    }

    /// The job with this name, if it exists.
    ///
    /// # Errors
    /// If the call fails.
    pub fn find(control_plane: &ControlPlane, name: &str) -> Result<Option<Self>> {
        let body = json!({"TransformJobName": name});
        let answer = match control_plane.call(Service::SageMaker, "DescribeTransformJob", &body) {
            Ok(answer) => answer,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
        let source = &answer["TransformInput"]["DataSource"]["S3DataSource"];
        let uri = source["S3Uri"].as_str().filter(|_| source["S3DataType"] == "ManifestFile");
        Ok(Some(Self {
            name: name.into(),
            status: JobStatus::of(&text("TransformJobStatus")),
            failure_reason: Some(text("FailureReason")).filter(|reason| !reason.is_empty()),
            model: text("ModelName"),
            created: seconds(&answer["CreationTime"]),
            manifest: uri.map(str::parse).transpose()?,
        }))
    }

    /// Waits until the job has ended. Calls `on_progress` after each poll while it runs.
    ///
    /// # Errors
    /// If a call fails, and [`Error::Interrupted`](crate::Error::Interrupted).
    pub fn wait(
        control_plane: &ControlPlane,
        name: &str,
        polling: Polling<'_>,
        on_progress: &mut dyn FnMut(&Self) -> Result<()>,
    ) -> Result<Self> {
        loop {
            let job = Self::find(control_plane, name)?;
            let job = job.ok_or_else(|| {
                crate::Error::Failed(format!("there is no transform job '{name}' any more"))
            })?;
            if job.status.has_ended() {
                return Ok(job);
            }
            on_progress(&job)?;
            polling.pause()?;
        }
    }

    /// Removes the job's model. A missing model is no error.
    ///
    /// # Errors
    /// If AWS refuses the call.
    pub fn remove_model(&self, control_plane: &ControlPlane) -> Result<()> {
        model::delete(control_plane, &self.model)
    }
}
