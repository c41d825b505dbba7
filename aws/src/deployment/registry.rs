//! The model registry: groups of packages, where each package is a version.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, Step};
use crate::error::Result;
use crate::model::ModelSpec;
use crate::service::Service;
use crate::tags::tags;

/// Media types of the container's requests and answers.
const MEDIA_TYPES: [&str; 4] =
    ["application/json", "application/jsonlines", "text/csv", "text/plain"];

/// Number of versions that are compared with the model.
const MAX_VERSIONS: usize = 20;

/// A version in a model package group.
#[derive(Clone, Debug)]
pub struct Package<'a> {
    /// Name of the group.
    pub group: &'a str,
    /// Model of the version.
    pub model: &'a ModelSpec,
    /// Type of the instances that the model is for.
    pub instance_type: &'a str,
    /// Tags of the group.
    pub tags: &'a BTreeMap<String, String>,
}

impl Package<'_> {
    /// The calls that create the group and the version.
    pub fn steps(&self) -> [Step; 2] {
        let mut group = json!({"ModelPackageGroupName": self.group});
        if !self.tags.is_empty() {
            group["Tags"] = tags(self.tags);
        }
        let package = json!({
            "ModelPackageGroupName": self.group,
            "InferenceSpecification": {
                "Containers": [self.model.container()],
                "SupportedContentTypes": MEDIA_TYPES,
                "SupportedResponseMIMETypes": MEDIA_TYPES,
                "SupportedRealtimeInferenceInstanceTypes": [self.instance_type],
                "SupportedTransformInstanceTypes": [self.instance_type],
            },
            "CertifyForMarketplace": false,
            "ModelApprovalStatus": "Approved",
            "SkipModelValidation": "None",
        });
        [
            Step { operation: "CreateModelPackageGroup", body: group },
            Step { operation: "CreateModelPackage", body: package },
        ]
    }
}

/// Registers a model as a version of its group, unless one of the newest versions is the same.
/// Returns the version's ARN.
///
/// # Errors
/// If AWS refuses a call.
pub fn register(control_plane: &ControlPlane, package: &Package<'_>) -> Result<String> {
    let call =
        |operation: &str, body: &Value| control_plane.call(Service::SageMaker, operation, body);
    let [group, version] = package.steps();
    let name = json!({"ModelPackageGroupName": package.group});
    match call("DescribeModelPackageGroup", &name) {
        Err(error) if error.is_missing() => {
            call(group.operation, &group.body)?;
        }
        Err(error) => return Err(error),
        Ok(_) => {
            if let Some(arn) = find(control_plane, package)? {
                return Ok(arn);
            }
        }
    }
    let made = call(version.operation, &version.body)?;
    Ok(made["ModelPackageArn"].as_str().unwrap_or_default().to_owned())
}

/// The version with the same model, among the newest of the group.
fn find(control_plane: &ControlPlane, package: &Package<'_>) -> Result<Option<String>> {
    let list = json!({
        "ModelPackageGroupName": package.group,
        "SortBy": "CreationTime",
        "SortOrder": "Descending",
        "MaxResults": MAX_VERSIONS,
    });
    let listed = control_plane.call(Service::SageMaker, "ListModelPackages", &list)?;
    let wanted = package.model.container();
    for version in listed["ModelPackageSummaryList"].as_array().into_iter().flatten() {
        let Some(arn) = version["ModelPackageArn"].as_str() else { continue };
        let body = json!({"ModelPackageName": arn});
        let found = control_plane.call(Service::SageMaker, "DescribeModelPackage", &body)?;
        let container = &found["InferenceSpecification"]["Containers"][0];
        let is_same = |field: &str| container[field] == wanted[field];
        if ["Image", "ModelDataUrl", "Environment"].into_iter().all(is_same) {
            return Ok(Some(arn.to_owned()));
        }
    }
    Ok(None)
}
