//! Creates or updates an endpoint.

use std::fmt;

use serde_json::Value;

use super::endpoint::{self, Endpoint, wait_until_stable};
use super::removal::remove_superseded;
use super::spec::DeploymentSpec;
use crate::control_plane::{ControlPlane, Step};
use crate::error::{Error, Result};
use crate::polling::Polling;
use crate::service::Service;

/// The outcome of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint was created.
    Created,
    /// The endpoint has new settings.
    Updated,
    /// The variants have new weights.
    Shifted,
    /// The endpoint had these settings already.
    Unchanged,
}

/// A deployment that failed halfway.
#[derive(Debug)]
pub struct Incomplete {
    /// Resources that were created before the failure.
    pub made: Vec<String>,
    /// The error.
    pub cause: Box<Error>,
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
        Some(self.cause.as_ref())
    }
}

/// Creates or updates an endpoint, and waits until it is in service.
///
/// # Errors
/// If AWS refuses a call, the endpoint fails, or the user stops the waiting.
pub fn deploy(
    control_plane: &ControlPlane,
    spec: &DeploymentSpec,
    polling: Polling<'_>,
) -> Result<Outcome, Incomplete> {
    let mut made = Vec::new();
    run(control_plane, spec, polling, &mut made)
        .map_err(|cause| Incomplete { made, cause: cause.into() })
}

fn run(
    control_plane: &ControlPlane,
    spec: &DeploymentSpec,
    polling: Polling<'_>,
    made: &mut Vec<String>,
) -> Result<Outcome> {
    let plan = spec.plan()?;
    for (name, model) in &plan.models {
        ensure_exists(control_plane, "DescribeModel", model, polling)?;
        made.push(format!("model {name}"));
    }
    ensure_exists(control_plane, "DescribeEndpointConfig", &plan.config, polling)?;
    made.push(format!("configuration {}", plan.config_name));

    let name = &spec.endpoint;
    let outcome = match wait_until_stable(control_plane, name, polling)? {
        None => {
            polling.progress.note(&format!("creating endpoint {name}"));
            control_plane.call(Service::SageMaker, "CreateEndpoint", &plan.create.body)?;
            Outcome::Created
        }
        Some(endpoint) if endpoint.config == plan.config_name && endpoint.is_in_service() => {
            match endpoint.has_weights(&spec.variants) {
                true => Outcome::Unchanged,
                false => {
                    // A change of weights that was rolled back leaves no new resources.
                    made.clear();
                    shift(control_plane, spec, &endpoint, polling)?
                }
            }
        }
        Some(endpoint) if endpoint.is_in_service() || endpoint.status == "OutOfService" => {
            polling.progress.note(&format!("updating endpoint {name}, which goes on answering"));
            control_plane.call(Service::SageMaker, "UpdateEndpoint", &plan.update.body)?;
            Outcome::Updated
        }
        Some(endpoint) if endpoint.status == "Failed" => {
            // AWS cannot update an endpoint that failed to start.
            polling.progress.note(&format!("removing endpoint {name}, which failed to start"));
            endpoint::delete(control_plane, name)?;
            wait_until_stable(control_plane, name, polling)?;
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
    if matches!(outcome, Outcome::Created | Outcome::Updated) {
        let endpoint = wait_until_stable(control_plane, name, polling)?;
        require_in_service(endpoint, name, &plan.config_name)?;
    }
    remove_superseded(control_plane, name, &plan, polling)?;
    Ok(outcome)
}

/// Sets the weights of the variants, and watches the alarms for a while. Rolls the change back if
/// an alarm goes off, or the alarms cannot be watched to the end.
fn shift(
    control_plane: &ControlPlane,
    spec: &DeploymentSpec,
    before: &Endpoint,
    polling: Polling<'_>,
) -> Result<Outcome> {
    let name = &spec.endpoint;
    let set = |spec: &DeploymentSpec| {
        let operation = "UpdateEndpointWeightsAndCapacities";
        control_plane.call(Service::SageMaker, operation, &spec.weights()).map(drop)
    };
    let settle = || wait_until_stable(control_plane, name, polling).map(drop);
    let mut earlier = spec.clone();
    for variant in &mut earlier.variants {
        variant.weight = before.weights.get(&variant.name).copied().unwrap_or(variant.weight);
    }
    // Checks the alarms before anything changes: they must exist, and the user must have permission
    // to see them.
    spec.rollout.loud(control_plane)?;
    polling.progress.note(&format!("changing the weights of endpoint {name}"));
    set(spec)?;
    let alarm = match settle().and_then(|()| spec.rollout.watch(control_plane, polling)) {
        Ok(None) => return Ok(Outcome::Shifted),
        Ok(Some(alarm)) => alarm,
        Err(error) if spec.rollout.alarms.is_empty() => return Err(error),
        Err(error) => {
            let alarms = spec.rollout.alarms.join(", ");
            polling.progress.note(&format!(
                "watching {alarms} ended too early: going back to the earlier weights"
            ));
            set(&earlier).map_err(|refusal| {
                Error::Failed(format!(
                    "{error}; endpoint {name} has the new weights, which nothing watches, because \
                     going back failed: {refusal}"
                ))
            })?;
            return Err(error);
        }
    };
    polling.progress.note(&format!("alarm {alarm} went off: going back to the earlier weights"));
    set(&earlier)?;
    settle()?;
    Err(Error::Failed(format!(
        "endpoint {name} went back to its earlier weights, because alarm {alarm} went off"
    )))
}

/// Creates a model or configuration, unless it exists.
fn ensure_exists(
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

/// The field with the name of the new resource, and the name.
fn named(body: &Value) -> (&'static str, &str) {
    const FIELDS: [&str; 2] = ["ModelName", "EndpointConfigName"];
    FIELDS.into_iter().find_map(|field| Some((field, body[field].as_str()?))).unwrap_or_default()
}

fn require_in_service(endpoint: Option<Endpoint>, name: &str, config: &str) -> Result<()> {
    let Some(endpoint) = endpoint else {
        return Err(Error::Failed(format!("endpoint {name} was removed while it was being made")));
    };
    let reason = endpoint.failure.as_deref().unwrap_or("AWS gives no reason");
    let reason = reason.trim_end_matches('.');
    if !endpoint.is_in_service() {
        let status = &endpoint.status;
        return Err(Error::Failed(format!("endpoint {name} ended as {status}: {reason}")));
    }
    if endpoint.config != config {
        return Err(Error::Failed(format!(
            "endpoint {name} went back to its earlier settings: {reason}"
        )));
    }
    Ok(())
}
