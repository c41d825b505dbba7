//! Endpoints as AWS describes them, with what they run on and how they are scaled.

use serde_json::{Value, json};

use crate::autoscaling;
use crate::control_plane::{ControlPlane, seconds};
use crate::error::Result;
use crate::service::Service;

/// Pages of names that are looked at: of 100 each.
const PAGES: usize = 10;

/// An endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// `InService`, `Failed`, `Updating` and so on.
    pub status: String,
    /// Why it, or its last update, failed.
    pub failure: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: Option<f64>,
    /// When it was changed last.
    pub modified: Option<f64>,
    /// Where an asynchronous endpoint puts its answers.
    pub async_output: Option<String>,
    /// Its variants.
    pub variants: Vec<VariantStatus>,
}

/// A variant of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantStatus {
    /// Its name.
    pub name: String,
    /// The model's name.
    pub model: String,
    /// Its weight in the sum of all weights is its share of the requests.
    pub weight: Option<f64>,
    /// The type of its instances.
    pub instance_type: Option<String>,
    /// How many instances there are, and how many there shall be.
    pub instances: Option<(u64, u64)>,
    /// Memory in MB, most requests at a time, and those that are kept ready.
    pub serverless: Option<(u64, u64, Option<u64>)>,
    /// Fewest and most instances of its autoscaling.
    pub scaling: Option<(u64, u64)>,
}

/// Names of the account's endpoints, the newest first. No more than 1,000 are looked at.
///
/// # Errors
/// Where AWS refuses the call.
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

/// An endpoint, if there is one of this name.
///
/// # Errors
/// Where AWS refuses a call.
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
