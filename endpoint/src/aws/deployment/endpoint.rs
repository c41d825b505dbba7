//! An endpoint as AWS describes it, and waiting until its state holds.

use serde_json::{Value, json};

use crate::aws::wait::pause;
use crate::aws::{AwsError, Client, Service, Watch};

/// An endpoint.
pub(super) struct Endpoint {
    /// `InService`, `Failed`, `Updating` and so on.
    pub(super) status: String,
    /// The configuration that it has.
    pub(super) config: String,
    /// Why it, or its last update, failed.
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
pub(super) fn describe(client: &Client, name: &str) -> Result<Option<Endpoint>, AwsError> {
    let body = json!({"EndpointName": name});
    let answer = match client.call(Service::SageMaker, "DescribeEndpoint", &body) {
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

/// Waits while AWS is changing the endpoint.
pub(super) fn settle(
    client: &Client,
    name: &str,
    watch: &dyn Watch,
) -> Result<Option<Endpoint>, AwsError> {
    loop {
        let endpoint = describe(client, name)?;
        match &endpoint {
            Some(now) => {
                watch.state(&now.status);
                if !now.is_changing() {
                    return Ok(endpoint);
                }
            }
            None => return Ok(None),
        }
        pause(watch)?;
    }
}

pub(super) fn delete(client: &Client, name: &str) -> Result<(), AwsError> {
    client.call(
        Service::SageMaker,
        "DeleteEndpoint",
        &json!({"EndpointName": name}),
    )?;
    Ok(())
}
