//! An endpoint: a model, a configuration that names it, and the endpoint that takes the configuration.
//!
//! Models and configurations cannot be changed, so each is named after what it holds: `ENDPOINT-` and eight digits of a
//! digest. The same settings find what is there and change nothing; other settings make new ones beside the old, the
//! endpoint moves over while it goes on answering, and then the old ones go. What failed half way is taken up by calling again.

mod endpoint;
mod removal;
mod spec;

use std::fmt;

use serde_json::Value;

use super::{AwsError, Client, Service, Watch};
use endpoint::{Endpoint, settle};

pub use removal::{Removal, remove};
pub use spec::{DeploymentSpec, Hosting};

/// The variant that every endpoint has, under the name that SageMaker's SDK gives it.
pub const VARIANT: &str = "AllTraffic";

/// A call that a deployment makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// SageMaker's name of it.
    pub operation: &'static str,
    /// What is sent.
    pub body: Value,
}

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
    pub cause: AwsError,
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
/// What AWS says against a step, why the endpoint failed, or that the user stopped the waiting; with what is there then.
pub fn deploy(
    client: &Client,
    spec: &DeploymentSpec,
    watch: &dyn Watch,
) -> Result<Outcome, Incomplete> {
    let mut made = Vec::new();
    run(client, spec, watch, &mut made).map_err(|cause| Incomplete { made, cause })
}

fn run(
    client: &Client,
    spec: &DeploymentSpec,
    watch: &dyn Watch,
    made: &mut Vec<String>,
) -> Result<Outcome, AwsError> {
    let plan = spec.plan()?;
    make(client, "DescribeModel", &plan.model, watch)?;
    made.push(format!("model {}", plan.model_name));
    make(client, "DescribeEndpointConfig", &plan.config, watch)?;
    made.push(format!("configuration {}", plan.config_name));

    let name = &spec.endpoint;
    let outcome = match settle(client, name, watch)? {
        None => {
            watch.note(&format!("creating endpoint {name}"));
            client.call(Service::SageMaker, "CreateEndpoint", &plan.create.body)?;
            Outcome::Created
        }
        Some(endpoint) if endpoint.config == plan.config_name && endpoint.is_in_service() => {
            Outcome::Unchanged
        }
        Some(endpoint) if endpoint.is_in_service() || endpoint.status == "OutOfService" => {
            watch.note(&format!(
                "updating endpoint {name}, which goes on answering"
            ));
            client.call(Service::SageMaker, "UpdateEndpoint", &plan.update.body)?;
            Outcome::Updated
        }
        Some(endpoint) if endpoint.status == "Failed" => {
            // It never answered, and AWS lets nobody mend it.
            watch.note(&format!("removing endpoint {name}, which failed to start"));
            endpoint::delete(client, name)?;
            settle(client, name, watch)?;
            client.call(Service::SageMaker, "CreateEndpoint", &plan.create.body)?;
            Outcome::Created
        }
        Some(endpoint) => {
            return Err(AwsError::Failed(format!(
                "endpoint {name} is in the state {}, which AWS lets nobody change: undeploy it, and deploy again",
                endpoint.status
            )));
        }
    };
    made.push(format!("endpoint {name}"));
    if outcome != Outcome::Unchanged {
        let endpoint = settle(client, name, watch)?;
        came_up(endpoint, name, &plan.config_name)?;
    }
    removal::remove_superseded(client, name, &plan, watch)?;
    Ok(outcome)
}

/// Makes what is not there yet.
fn make(client: &Client, describe: &str, step: &Step, watch: &dyn Watch) -> Result<(), AwsError> {
    let (field, name) = named(&step.body);
    let mut query = serde_json::Map::new();
    query.insert(field.into(), name.into());
    match client.call(Service::SageMaker, describe, &query.into()) {
        Ok(_) => Ok(()),
        Err(error) if error.is_missing() => {
            watch.note(&format!("{} {name}", step.operation));
            client.call(Service::SageMaker, step.operation, &step.body)?;
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

fn came_up(endpoint: Option<Endpoint>, name: &str, config: &str) -> Result<(), AwsError> {
    let Some(endpoint) = endpoint else {
        return Err(AwsError::Failed(format!(
            "endpoint {name} was removed while it was being made"
        )));
    };
    let reason = endpoint.failure.as_deref().unwrap_or("AWS gives no reason");
    let reason = reason.trim_end_matches('.');
    if !endpoint.is_in_service() {
        let status = &endpoint.status;
        return Err(AwsError::Failed(format!(
            "endpoint {name} ended as {status}: {reason}"
        )));
    }
    if endpoint.config != config {
        return Err(AwsError::Failed(format!(
            "endpoint {name} went back to its earlier settings: {reason}"
        )));
    }
    Ok(())
}
