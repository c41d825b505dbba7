//! Descriptions of endpoints, with their instances and scaling.

use serde_json::{Value, json};

use crate::autoscaling;
use crate::control_plane::{ControlPlane, seconds};
use crate::error::Result;
use crate::service::Service;

/// Number of pages of names that are read, of 100 names each.
const PAGES: usize = 10;

/// An endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointStatus {
    /// Name of the endpoint.
    pub name: String,
    /// `InService`, `Failed`, `Updating` and so on.
    pub status: String,
    /// Reason why the endpoint or its last update failed.
    pub failure: Option<String>,
    /// Time of creation, in seconds since 1970.
    pub created: Option<f64>,
    /// Time of the last change, in seconds since 1970.
    pub modified: Option<f64>,
    /// Prefix of the answers of an asynchronous endpoint.
    pub async_output: Option<String>,
    /// Variants of the endpoint.
    pub variants: Vec<VariantStatus>,
}

/// A variant of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantStatus {
    /// Name of the variant.
    pub name: String,
    /// Name of the model.
    pub model: String,
    /// Weight. The variant's share of the requests is its weight divided by the sum of all weights.
    pub weight: Option<f64>,
    /// Type of the instances.
    pub instance_type: Option<String>,
    /// Current and desired number of instances.
    pub instances: Option<(u64, u64)>,
    /// Memory in MB, largest number of concurrent requests, and provisioned concurrency.
    pub serverless: Option<(u64, u64, Option<u64>)>,
    /// Smallest and largest number of instances of the autoscaling.
    pub scaling: Option<(u64, u64)>,
}

/// Names of the account's endpoints, the newest first, at most 1,000.
///
/// # Errors
/// If AWS refuses the call.
pub fn names(control_plane: &ControlPlane, status: Option<&str>) -> Result<Vec<String>> {
    let mut body = json!({"SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": 100});
    if let Some(status) = status {
        body["StatusEquals"] = status.into();
    }
    let pages = control_plane.pages(Service::SageMaker, "ListEndpoints", &body, PAGES)?;
    let endpoints =
        pages.iter().flat_map(|page| page["Endpoints"].as_array().into_iter().flatten());
    let names = endpoints.filter_map(|endpoint| endpoint["EndpointName"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// The endpoint with this name, if it exists.
///
/// # Errors
/// If AWS refuses a call.
pub fn describe(control_plane: &ControlPlane, name: &str) -> Result<Option<EndpointStatus>> {
    let call = |operation: &str, body: Value| match control_plane.call(
        Service::SageMaker,
        operation,
        &body,
    ) {
        Err(error) if error.is_missing() => Ok(None),
        answer => answer.map(Some),
    };
    let Some(found) = call("DescribeEndpoint", json!({"EndpointName": name}))? else {
        return Ok(None);
    };
    let config = json!({"EndpointConfigName": found["EndpointConfigName"]});
    let config = call("DescribeEndpointConfig", config)?.unwrap_or_default();
    let scaling = autoscaling::find(control_plane, name)?;
    let text = |value: &Value| value.as_str().filter(|it| !it.is_empty()).map(str::to_owned);
    let variants = found["ProductionVariants"].as_array().into_iter().flatten();
    let variants = variants.map(|variant| {
        let name = text(&variant["VariantName"]).unwrap_or_default();
        let mut configured = config["ProductionVariants"].as_array().into_iter().flatten();
        let configured = configured.find(|it| it["VariantName"] == variant["VariantName"]);
        let configured = configured.unwrap_or(&Value::Null);
        let scaling = scaling.iter().find(|scaled| scaled.variant == name);
        let current = variant["CurrentInstanceCount"].as_u64();
        let serverless = &variant["CurrentServerlessConfig"];
        VariantStatus {
            model: text(&configured["ModelName"]).unwrap_or_default(),
            weight: variant["CurrentWeight"].as_f64(),
            instance_type: text(&configured["InstanceType"]),
            instances: current
                .map(|now| (now, variant["DesiredInstanceCount"].as_u64().unwrap_or(now))),
            serverless: serverless["MemorySizeInMB"].as_u64().map(|memory| {
                let most = serverless["MaxConcurrency"].as_u64().unwrap_or_default();
                (memory, most, serverless["ProvisionedConcurrency"].as_u64())
            }),
            scaling: scaling.map(|scaled| (scaled.min, scaled.max)),
            name,
        }
    });
    Ok(Some(EndpointStatus {
        name: name.into(),
        status: text(&found["EndpointStatus"]).unwrap_or_default(),
        failure: text(&found["FailureReason"]),
        created: seconds(&found["CreationTime"]),
        modified: seconds(&found["LastModifiedTime"]),
        async_output: text(&config["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"]),
        variants: variants.collect(),
    }))
}
