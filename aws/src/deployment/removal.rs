//! Removes the resources of a deployment, or those that an update replaced.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::endpoint::{self, wait_until_stable};
use super::spec::Plan;
use crate::autoscaling;
use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::names::{endpoint_of, is_endpoint_name, is_ours};
use crate::polling::Polling;
use crate::service::Service;
use crate::status;

/// The resources that the deployments of an endpoint have created in AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Name of the endpoint, if it exists.
    pub endpoint: Option<String>,
    /// Whether AWS scales the endpoint.
    pub scaled: bool,
    /// Current and earlier configurations of the endpoint.
    pub configs: Vec<String>,
    /// Models of the current and of earlier configurations.
    pub models: Vec<String>,
}

impl Removal {
    /// Finds the resources of deployments of the endpoint `name`, and nothing else.
    ///
    /// # Errors
    /// If a call fails, or the endpoint was not deployed by this program.
    pub fn find(control_plane: &ControlPlane, name: &str) -> Result<Self> {
        if !is_endpoint_name(name) {
            return Err(Error::Invalid(format!(
                "'{name}' cannot name an endpoint: it has letters, digits and hyphens inside"
            )));
        }
        let found = endpoint::describe(control_plane, name)?;
        if let Some(endpoint) = &found
            && !is_ours(name, &endpoint.config)
        {
            return Err(Error::Failed(format!(
                "endpoint {name} was not deployed by this command (its configuration is {}): \
                 remove it with what made it",
                endpoint.config
            )));
        }
        Ok(Self {
            scaled: found.is_some() && !autoscaling::find(control_plane, name)?.is_empty(),
            endpoint: found.map(|_| name.to_owned()),
            configs: list(control_plane, name, &CONFIGS)?,
            models: list(control_plane, name, &MODELS)?,
        })
    }

    /// Finds the resources of all deployments in the region that still have an endpoint or a
    /// configuration.
    ///
    /// # Errors
    /// If a call fails.
    pub fn find_all(control_plane: &ControlPlane) -> Result<Vec<Self>> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        for endpoint in status::names(control_plane, None)? {
            if let Some(found) = endpoint::describe(control_plane, &endpoint)?
                && is_ours(&endpoint, &found.config)
            {
                names.insert(endpoint);
            }
        }
        for config in all(control_plane, &CONFIGS, &json!({"MaxResults": 100}))? {
            // A name alone may be a coincidence, so its models must also have names of a
            // deployment.
            if let Some(endpoint) = endpoint_of(&config)
                && !names.contains(endpoint)
                && has_our_models(control_plane, endpoint, &config)?
            {
                names.insert(endpoint.to_owned());
            }
        }
        names.iter().map(|name| Self::find(control_plane, name)).collect()
    }

    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.endpoint.is_none() && self.configs.is_empty() && self.models.is_empty()
    }

    /// All resources to remove, as text.
    pub fn list(&self) -> Vec<String> {
        let scaling = self.scaled.then(|| "its autoscaling".to_owned());
        let endpoint = self.endpoint.iter().map(|name| format!("endpoint {name}"));
        let configs = self.configs.iter().map(|name| format!("configuration {name}"));
        let models = self.models.iter().map(|name| format!("model {name}"));
        endpoint.chain(scaling).chain(configs).chain(models).collect()
    }
}

/// Removes everything, the endpoint first. Missing resources are no error.
///
/// # Errors
/// If AWS refuses a call. A second call continues.
pub fn remove(control_plane: &ControlPlane, removal: &Removal, polling: Polling<'_>) -> Result<()> {
    if let Some(name) = &removal.endpoint {
        if removal.scaled {
            polling.progress.note("removing its autoscaling");
            ignore_missing(autoscaling::disable(control_plane, name))?;
        }
        polling.progress.note(&format!("removing endpoint {name}"));
        ignore_missing(endpoint::delete(control_plane, name))?;
        wait_until_stable(control_plane, name, polling)?;
    }
    for name in &removal.configs {
        delete(control_plane, &CONFIGS, name, polling)?;
    }
    for name in &removal.models {
        delete(control_plane, &MODELS, name, polling)?;
    }
    Ok(())
}

/// Removes the models and configurations of earlier deployments.
pub(super) fn remove_superseded(
    control_plane: &ControlPlane,
    endpoint: &str,
    plan: &Plan,
    polling: Polling<'_>,
) -> Result<()> {
    let models: Vec<&String> = plan.models.iter().map(|(name, _)| name).collect();
    for (kind, current) in [(&CONFIGS, vec![&plan.config_name]), (&MODELS, models)] {
        for name in list(control_plane, endpoint, kind)? {
            if !current.contains(&&name) {
                delete(control_plane, kind, &name, polling)?;
            }
        }
    }
    Ok(())
}

/// Whether all models of a configuration were created by deployments of the endpoint.
fn has_our_models(control_plane: &ControlPlane, endpoint: &str, config: &str) -> Result<bool> {
    let body = json!({"EndpointConfigName": config});
    let found = control_plane.call(Service::SageMaker, "DescribeEndpointConfig", &body)?;
    let variants = found["ProductionVariants"].as_array();
    Ok(variants.is_some_and(|variants| {
        variants.iter().all(|it| it["ModelName"].as_str().is_some_and(|it| is_ours(endpoint, it)))
    }))
}

/// Models or configurations, with SageMaker's names of the calls for them.
struct Kind {
    word: &'static str,
    list: &'static str,
    items: &'static str,
    delete: &'static str,
    name: &'static str,
}

const CONFIGS: Kind = Kind {
    word: "configuration",
    list: "ListEndpointConfigs",
    items: "EndpointConfigs",
    delete: "DeleteEndpointConfig",
    name: "EndpointConfigName",
};
const MODELS: Kind = Kind {
    word: "model",
    list: "ListModels",
    items: "Models",
    delete: "DeleteModel",
    name: "ModelName",
};

/// The models or configurations that deployments of the endpoint created.
fn list(control_plane: &ControlPlane, endpoint: &str, kind: &Kind) -> Result<Vec<String>> {
    let body = json!({"NameContains": format!("{endpoint}-"), "MaxResults": 100});
    let mut names = all(control_plane, kind, &body)?;
    names.retain(|name| is_ours(endpoint, name));
    names.sort();
    Ok(names)
}

/// The names in a list.
fn all(control_plane: &ControlPlane, kind: &Kind, body: &Value) -> Result<Vec<String>> {
    const PAGES: usize = 1000;
    let pages = control_plane.pages(Service::SageMaker, kind.list, body, PAGES)?;
    let items = pages.iter().flat_map(|page| page[kind.items].as_array()).flatten();
    Ok(items.filter_map(|item| item[kind.name].as_str()).map(str::to_owned).collect())
}

fn delete(
    control_plane: &ControlPlane,
    kind: &Kind,
    name: &str,
    polling: Polling<'_>,
) -> Result<()> {
    polling.progress.note(&format!("removing {} {name}", kind.word));
    let mut body = json!({});
    body[kind.name] = name.into();
    ignore_missing(control_plane.call(Service::SageMaker, kind.delete, &body).map(|_: Value| ()))
}

fn ignore_missing(result: Result<()>) -> Result<()> {
    result.or_else(|error| if error.is_missing() { Ok(()) } else { Err(error) })
}
