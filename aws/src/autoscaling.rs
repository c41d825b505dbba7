//! Scaling of an endpoint: target tracking on invocations per instance.

use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::names::VARIANT;
use crate::service::Service;

const DIMENSION: &str = "sagemaker:variant:DesiredInstanceCount";

/// The settings of a scaling policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// Fewest instances.
    pub min: u32,
    /// Most instances.
    pub max: u32,
    /// Invocations per minute and instance to aim at.
    pub target: f64,
    /// Seconds from one removal of instances to the next.
    pub scale_in_cooldown: u32,
    /// Seconds from one addition of instances to the next.
    pub scale_out_cooldown: u32,
}

impl Scaling {
    /// The calls that set the policy: names and bodies.
    ///
    /// # Errors
    /// Where a setting is invalid.
    pub fn calls(&self, endpoint: &str) -> Result<[(&'static str, Value); 2]> {
        if self.min > self.max || self.max == 0 {
            return Err(Error::Invalid(format!(
                "at least {} and at most {} instances is not a range: the maximum must be 1 or more, \
                 and not below the minimum",
                self.min, self.max
            )));
        }
        if !(self.target.is_finite() && self.target > 0.0) {
            return Err(Error::Invalid(format!(
                "the target is {} invocations a minute, and must be above 0",
                self.target
            )));
        }
        let mut target = of(endpoint);
        target["MinCapacity"] = self.min.into();
        target["MaxCapacity"] = self.max.into();
        let mut policy = of(endpoint);
        policy["PolicyName"] = format!("{endpoint}-invocations").into();
        policy["PolicyType"] = "TargetTrackingScaling".into();
        policy["TargetTrackingScalingPolicyConfiguration"] = json!({
            "TargetValue": self.target,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance",
            },
            "ScaleInCooldown": self.scale_in_cooldown,
            "ScaleOutCooldown": self.scale_out_cooldown,
        });
        Ok([("RegisterScalableTarget", target), ("PutScalingPolicy", policy)])
    }

    /// Lets AWS scale the endpoint. A second call replaces the settings.
    ///
    /// # Errors
    /// Where a setting is invalid, or AWS refuses the call.
    pub fn enable(&self, control_plane: &ControlPlane, endpoint: &str) -> Result<()> {
        for (operation, body) in self.calls(endpoint)? {
            control_plane.call(Service::AutoScaling, operation, &body)?;
        }
        Ok(())
    }
}

/// Stops the scaling. The endpoint keeps its present number of instances.
///
/// # Errors
/// Where AWS refuses the call.
pub fn disable(control_plane: &ControlPlane, endpoint: &str) -> Result<()> {
    control_plane.call(Service::AutoScaling, "DeregisterScalableTarget", &of(endpoint))?;
    Ok(())
}

/// Whether AWS scales the endpoint.
///
/// # Errors
/// Where the call fails.
pub fn is_registered(control_plane: &ControlPlane, endpoint: &str) -> Result<bool> {
    let body = json!({
        "ServiceNamespace": "sagemaker",
        "ResourceIds": [resource(endpoint)],
        "ScalableDimension": DIMENSION,
    });
    let answer = control_plane.call(Service::AutoScaling, "DescribeScalableTargets", &body)?;
    Ok(answer["ScalableTargets"].as_array().is_some_and(|targets| !targets.is_empty()))
}

fn of(endpoint: &str) -> Value {
    json!({
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource(endpoint),
        "ScalableDimension": DIMENSION,
    })
}

fn resource(endpoint: &str) -> String {
    format!("endpoint/{endpoint}/variant/{VARIANT}")
}
