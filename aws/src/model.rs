//! A model in SageMaker: an image, a bundle on S3, and the settings of the container.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, Step};
use crate::error::{Error, Result};
use crate::service::Service;
use crate::tags::tags;

/// The settings of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelSpec {
    /// URI of the image in ECR.
    pub image: String,
    /// `s3://` URL of the `model.tar.gz`.
    pub data: String,
    /// ARN of the role that the container runs as.
    pub role: String,
    /// Environment variables of the container.
    pub environment: BTreeMap<String, String>,
    /// Network of the container; by default AWS's own.
    pub network: Option<Network>,
    /// Whether the container has no network, not even access to S3.
    pub network_isolation: bool,
}

/// A network of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Ids of the subnets.
    pub subnets: Vec<String>,
    /// Ids of the security groups.
    pub security_groups: Vec<String>,
}

impl Network {
    /// The `VpcConfig`.
    pub(crate) fn describe(&self) -> Value {
        json!({"Subnets": self.subnets, "SecurityGroupIds": self.security_groups})
    }
}

impl FromStr for Network {
    type Err = String;

    /// Parses ids that are separated by commas, such as `subnet-1,subnet-2,sg-1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let ids = text.split(',').map(|id| id.trim().to_owned());
        let (security_groups, subnets): (Vec<_>, Vec<_>) =
            ids.partition(|id| id.starts_with("sg-"));
        let is_subnet = |id: &String| id.starts_with("subnet-");
        if subnets.is_empty() || security_groups.is_empty() || !subnets.iter().all(is_subnet) {
            return Err("give subnets and security groups, as subnet-1,subnet-2,sg-1".into());
        }
        Ok(Self { subnets, security_groups })
    }
}

impl ModelSpec {
    /// The body of CreateModel without the name.
    ///
    /// # Errors
    /// If a setting is invalid.
    pub(crate) fn body(&self) -> Result<Value> {
        let (data, role) = (&self.data, &self.role);
        if !data.starts_with("s3://") {
            return Err(Error::Invalid(format!(
                "the model must be on S3, as s3://BUCKET/KEY, not '{data}': --upload sends a \
                 bundle there"
            )));
        }
        if !role.starts_with("arn:") {
            return Err(Error::Invalid(format!(
                "'{role}' is not a role: give its ARN, as arn:aws:iam::ACCOUNT:role/NAME"
            )));
        }
        let mut body = json!({"ExecutionRoleArn": self.role, "PrimaryContainer": self.container()});
        if let Some(network) = &self.network {
            body["VpcConfig"] = network.describe();
        }
        if self.network_isolation {
            body["EnableNetworkIsolation"] = true.into();
        }
        Ok(body)
    }

    /// The `PrimaryContainer`.
    pub(crate) fn container(&self) -> Value {
        json!({
            "Image": self.image,
            "Environment": self.environment,
            "ModelDataUrl": self.data,
        })
    }

    /// The call that creates the model.
    pub(crate) fn step(&self, name: &str, marks: &BTreeMap<String, String>) -> Result<Step> {
        let mut body = self.body()?;
        body["ModelName"] = name.into();
        if !marks.is_empty() {
            body["Tags"] = tags(marks);
        }
        Ok(Step { operation: "CreateModel", body })
    }
}

/// Removes a model. A missing model is no error.
pub(crate) fn delete(control_plane: &ControlPlane, name: &str) -> Result<()> {
    let body = json!({"ModelName": name});
    match control_plane.call(Service::SageMaker, "DeleteModel", &body) {
        Err(error) if !error.is_missing() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_ids_of_two_kinds() {
        let network: Network = "subnet-1, subnet-2,sg-1".parse().unwrap();
        assert_eq!(network.subnets, ["subnet-1", "subnet-2"]);
        assert_eq!(network.security_groups, ["sg-1"]);
        for text in ["", "subnet-1", "sg-1", "subnet-1,sg-1,vpc-1"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
