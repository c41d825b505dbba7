//! A job: how it is started, followed and stopped.

use serde_json::json;

use super::spec::TransformSpec;
use crate::control_plane::{ControlPlane, seconds};
use crate::error::Result;
use crate::job_status::JobStatus;
use crate::model;
use crate::polling::Polling;
use crate::service::Service;
use crate::uri::S3Uri;

/// A batch transform job, as AWS describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct TransformJob {
    /// Its name.
    pub name: String,
    /// How far it is.
    pub status: JobStatus,
    /// Why it failed, where it did.
    pub failure_reason: Option<String>,
    /// The name of its model.
    pub model: String,
    /// When it was made, in seconds since 1970.
    pub created: Option<f64>,
    /// The manifest of its files, where it is not for all below a prefix.
    pub manifest: Option<S3Uri>,
}

impl TransformJob {
    /// Makes the model and starts the job. Where the job cannot be started, a model that was made
    /// for it goes again; one that was there stays, for another job may use it.
    ///
    /// # Errors
    /// Where a setting is invalid, or AWS refuses a call.
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
            // The error to tell is the job's.
            let _ = model::delete(control_plane, &name);
        }
        started.map(drop)
    }

    /// The job of a name, if it exists.
    ///
    /// # Errors
    /// Where the call fails.
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

    /// Waits until the job has ended, in whatever way; `look` is called whenever it goes on.
    ///
    /// # Errors
    /// Where a call fails, and [`Error::Interrupted`](crate::Error::Interrupted).
    pub fn wait(
        control_plane: &ControlPlane,
        name: &str,
        polling: Polling<'_>,
        look: &mut dyn FnMut(&Self) -> Result<()>,
    ) -> Result<Self> {
        loop {
            let job = Self::find(control_plane, name)?;
            let job = job.ok_or_else(|| {
                crate::Error::Failed(format!("there is no transform job '{name}' any more"))
            })?;
            if job.status.has_ended() {
                return Ok(job);
            }
            look(&job)?;
            polling.pause()?;
        }
    }

    /// Removes the job's model; one that is gone is no error.
    ///
    /// # Errors
    /// Where AWS refuses the call.
    pub fn remove_model(&self, control_plane: &ControlPlane) -> Result<()> {
        model::delete(control_plane, &self.model)
    }
}
