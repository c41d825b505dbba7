//! An endpoint as AWS describes it.

use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::error::Result;
use crate::polling::Polling;
use crate::service::Service;

/// An endpoint.
pub(super) struct Endpoint {
    /// `InService`, `Failed`, `Updating` and so on.
    pub(super) status: String,
    /// The name of its configuration.
    pub(super) config: String,
    /// Why the endpoint or its last update failed.
    pub(super) failure: Option<String>,
}

impl Endpoint {
    pub(super) fn is_in_service(&self) -> bool {
        self.status == "InService"
    }

    fn is_changing(&self) -> bool {
        matches!(
            self.status.as_str(),
            "Creating" | "Updating" | "SystemUpdating" | "RollingBack" | "Deleting"
        )
    }
}

/// The endpoint of a name, if there is one.
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
    }))
}

/// Names of the account's endpoints that answer, the newest first. No more than 1,000 are looked
/// at.
///
/// # Errors
/// Where AWS refuses the call.
pub fn in_service(control_plane: &ControlPlane) -> Result<Vec<String>> {
    const PAGES: usize = 10;
    let mut names = Vec::new();
    let mut token = Value::Null;
    for _ in 0..PAGES {
        let mut body = json!({
            "StatusEquals": "InService",
            "SortBy": "CreationTime",
            "SortOrder": "Descending",
            "MaxResults": 100,
        });
        if !token.is_null() {
            body["NextToken"] = token;
        }
        let answer = control_plane.call(Service::SageMaker, "ListEndpoints", &body)?;
        let endpoints = answer["Endpoints"].as_array().into_iter().flatten();
        let found = endpoints.filter_map(|endpoint| endpoint["EndpointName"].as_str());
        names.extend(found.map(str::to_owned));
        token = answer["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    Ok(names)
}

/// Waits until AWS has stopped changing the endpoint.
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
