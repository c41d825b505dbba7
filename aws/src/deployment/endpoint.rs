//! An endpoint as AWS describes it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::spec::Variant;
use crate::control_plane::ControlPlane;
use crate::error::Result;
use crate::polling::Polling;
use crate::service::Service;
use crate::uri::S3Uri;

/// An endpoint.
pub(super) struct Endpoint {
    /// `InService`, `Failed`, `Updating` and so on.
    pub(super) status: String,
    /// The name of its configuration.
    pub(super) config: String,
    /// Reason why the endpoint or its last update failed.
    pub(super) failure: Option<String>,
    /// Weights of the variants by their names.
    pub(super) weights: BTreeMap<String, f64>,
}

impl Endpoint {
    pub(super) fn is_in_service(&self) -> bool {
        self.status == "InService"
    }

    /// Whether the variants already have these weights.
    pub(super) fn has_weights(&self, variants: &[Variant]) -> bool {
        // A single variant answers all requests, whatever its weight.
        variants.len() == 1
            || variants.iter().all(|variant| {
                let weight = self.weights.get(&variant.name);
                // AWS stores weights as 32-bit floats.
                weight.is_some_and(|weight| (weight - variant.weight).abs() <= 1e-6 * weight.abs())
            })
    }

    fn is_changing(&self) -> bool {
        matches!(
            self.status.as_str(),
            "Creating" | "Updating" | "SystemUpdating" | "RollingBack" | "Deleting"
        )
    }
}

/// The endpoint with this name, if it exists.
pub(super) fn describe(control_plane: &ControlPlane, name: &str) -> Result<Option<Endpoint>> {
    let body = json!({"EndpointName": name});
    let answer = match control_plane.call(Service::SageMaker, "DescribeEndpoint", &body) {
        Ok(answer) => answer,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(Some(Endpoint {
        status: text(&answer["EndpointStatus"]).unwrap_or_default(),
        config: text(&answer["EndpointConfigName"]).unwrap_or_default(),
        failure: text(&answer["FailureReason"]),
        weights: weights(&answer),
    }))
}

fn weights(answer: &Value) -> BTreeMap<String, f64> {
    let variants = answer["ProductionVariants"].as_array().into_iter().flatten();
    let weight = |variant: &Value| {
        let name = variant["VariantName"].as_str()?.to_owned();
        let weight = variant["DesiredWeight"].as_f64().or(variant["CurrentWeight"].as_f64());
        Some((name, weight?))
    };
    variants.filter_map(weight).collect()
}

/// The prefix of an asynchronous endpoint's answers; `None` for other endpoints.
///
/// # Errors
/// If there is no such endpoint, or AWS refuses the call.
pub fn async_output(control_plane: &ControlPlane, name: &str) -> Result<Option<S3Uri>> {
    let body = json!({"EndpointName": name});
    let endpoint = control_plane.call(Service::SageMaker, "DescribeEndpoint", &body)?;
    let body = json!({"EndpointConfigName": endpoint["EndpointConfigName"]});
    let config = control_plane.call(Service::SageMaker, "DescribeEndpointConfig", &body)?;
    let path = config["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"].as_str();
    Ok(path.map(str::parse).transpose()?)
}

/// Waits until AWS has finished changing the endpoint.
pub(super) fn wait_until_stable(
    control_plane: &ControlPlane,
    name: &str,
    polling: Polling<'_>,
) -> Result<Option<Endpoint>> {
    loop {
        let endpoint = describe(control_plane, name)?;
        match &endpoint {
            Some(now) => {
                polling.progress.state(&now.status);
                if !now.is_changing() {
                    return Ok(endpoint);
                }
            }
            None => return Ok(None),
        }
        polling.pause()?;
    }
}

pub(super) fn delete(control_plane: &ControlPlane, name: &str) -> Result<()> {
    control_plane.call(Service::SageMaker, "DeleteEndpoint", &json!({"EndpointName": name}))?;
    Ok(())
}
