//! Bringing an endpoint to its settings.

use std::fmt;

use serde_json::Value;

use super::endpoint::{self, Endpoint, settle};
use super::removal::remove_superseded;
use super::spec::{DeploymentSpec, Step};
use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::polling::Polling;
use crate::service::Service;

/// What a deployment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint is new.
    Created,
    /// It moved over to the new settings.
    Updated,
    /// It had these settings already.
    Unchanged,
}

/// A deployment that ended on the way: what is there, and what went wrong.
#[derive(Debug)]
pub struct Incomplete {
    /// What is there now, of the new settings.
    pub made: Vec<String>,
    /// Why the rest is not.
    pub cause: Error,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.made.is_empty() {
            return write!(f, "{}", self.cause);
        }
        write!(
            f,
            "{}; there so far: {}: run the same command again to go on, or undeploy to remove it",
            self.cause,
            self.made.join(", ")
        )
    }
}

impl std::error::Error for Incomplete {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Brings an endpoint to these settings and waits until it answers.
///
/// # Errors
/// What AWS says against a step, why the endpoint failed, or that the user stopped the waiting;
/// with what is there then.
pub fn deploy(
    control_plane: &ControlPlane,
    spec: &DeploymentSpec,
    polling: Polling<'_>,
) -> Result<Outcome, Incomplete> {
    let mut made = Vec::new();
    run(control_plane, spec, polling, &mut made).map_err(|cause| Incomplete { made, cause })
}

fn run(
    control_plane: &ControlPlane,
    spec: &DeploymentSpec,
    polling: Polling<'_>,
    made: &mut Vec<String>,
) -> Result<Outcome> {
    let plan = spec.plan()?;
    make(control_plane, "DescribeModel", &plan.model, polling)?;
    made.push(format!("model {}", plan.model_name));
    make(
        control_plane,
        "DescribeEndpointConfig",
        &plan.config,
        polling,
    )?;
    made.push(format!("configuration {}", plan.config_name));

    let name = &spec.endpoint;
    let outcome = match settle(control_plane, name, polling)? {
        None => {
            polling.progress.note(&format!("creating endpoint {name}"));
            control_plane.call(Service::SageMaker, "CreateEndpoint", &plan.create.body)?;
            Outcome::Created
        }
        Some(endpoint) if endpoint.config == plan.config_name && endpoint.is_in_service() => {
            Outcome::Unchanged
        }
        Some(endpoint) if endpoint.is_in_service() || endpoint.status == "OutOfService" => {
            polling.progress.note(&format!(
                "updating endpoint {name}, which goes on answering"
            ));
            control_plane.call(Service::SageMaker, "UpdateEndpoint", &plan.update.body)?;
            Outcome::Updated
        }
        Some(endpoint) if endpoint.status == "Failed" => {
            // It never answered, and AWS lets nobody mend it.
            polling
                .progress
                .note(&format!("removing endpoint {name}, which failed to start"));
            endpoint::delete(control_plane, name)?;
            settle(control_plane, name, polling)?;
            control_plane.call(Service::SageMaker, "CreateEndpoint", &plan.create.body)?;
            Outcome::Created
        }
        Some(endpoint) => {
            return Err(Error::Failed(format!(
                "endpoint {name} is in the state {}, which AWS lets nobody change: undeploy it, \
                 and deploy again",
                endpoint.status
            )));
        }
    };
    made.push(format!("endpoint {name}"));
    if outcome != Outcome::Unchanged {
        let endpoint = settle(control_plane, name, polling)?;
        came_up(endpoint, name, &plan.config_name)?;
    }
    remove_superseded(control_plane, name, &plan, polling)?;
    Ok(outcome)
}

/// Makes what is not there yet.
fn make(
    control_plane: &ControlPlane,
    describe: &str,
    step: &Step,
    polling: Polling<'_>,
) -> Result<()> {
    let (field, name) = named(&step.body);
    let mut query = serde_json::Map::new();
    query.insert(field.into(), name.into());
    match control_plane.call(Service::SageMaker, describe, &query.into()) {
        Ok(_) => Ok(()),
        Err(error) if error.is_missing() => {
            polling.progress.note(&format!("{} {name}", step.operation));
            control_plane.call(Service::SageMaker, step.operation, &step.body)?;
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The name of what a body makes, and its field.
fn named(body: &Value) -> (&'static str, &str) {
    const FIELDS: [&str; 2] = ["ModelName", "EndpointConfigName"];
    FIELDS
        .into_iter()
        .find_map(|field| Some((field, body[field].as_str()?)))
        .unwrap_or_default()
}

fn came_up(endpoint: Option<Endpoint>, name: &str, config: &str) -> Result<()> {
    let Some(endpoint) = endpoint else {
        return Err(Error::Failed(format!(
            "endpoint {name} was removed while it was being made"
        )));
    };
    let reason = endpoint.failure.as_deref().unwrap_or("AWS gives no reason");
    let reason = reason.trim_end_matches('.');
    if !endpoint.is_in_service() {
        let status = &endpoint.status;
        return Err(Error::Failed(format!(
            "endpoint {name} ended as {status}: {reason}"
        )));
    }
    if endpoint.config != config {
        return Err(Error::Failed(format!(
            "endpoint {name} went back to its earlier settings: {reason}"
        )));
    }
    Ok(())
}
