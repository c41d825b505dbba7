//! Scaling of an endpoint with target tracking: on invocations per instance, on waiting requests,
//! or on the use of provisioned concurrency.

use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::names::VARIANT;
use crate::service::Service;

const INSTANCES: &str = "sagemaker:variant:DesiredInstanceCount";
const PROVISIONED: &str = "sagemaker:variant:DesiredProvisionedConcurrency";

/// Suffixes of the policies' names.
const INVOCATIONS: &str = "invocations";
const BACKLOG: &str = "backlog";
const CONCURRENCY: &str = "concurrency";
const WAKE: &str = "wake";
const POLICIES: [&str; 4] = [INVOCATIONS, BACKLOG, CONCURRENCY, WAKE];

/// Placeholder in printed calls for the ARN that AWS gives to a policy.
const POLICY_ARN: &str = "ARN OF THE POLICY";

/// The settings of a scaling policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// Name of the variant.
    pub variant: String,
    /// Smallest number of instances.
    pub min: u32,
    /// Largest number of instances.
    pub max: u32,
    /// Metric and target value.
    pub target: Target,
    /// Shortest time in seconds between two removals of instances.
    pub scale_in_cooldown: u32,
    /// Shortest time in seconds between two additions of instances.
    pub scale_out_cooldown: u32,
}

/// Metric and target value of a policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Invocations per minute and instance.
    Invocations(f64),
    /// Waiting requests per instance of an asynchronous endpoint, which may have no instances.
    Backlog(f64),
    /// Share of a serverless endpoint's provisioned concurrency that is in use.
    Provisioned(f64),
}

impl Target {
    fn value(self) -> f64 {
        match self {
            Self::Invocations(value) | Self::Backlog(value) | Self::Provisioned(value) => value,
        }
    }

    fn dimension(self) -> &'static str {
        match self {
            Self::Invocations(_) | Self::Backlog(_) => INSTANCES,
            Self::Provisioned(_) => PROVISIONED,
        }
    }

    /// Suffix of the policy's name.
    fn name(self) -> &'static str {
        match self {
            Self::Invocations(_) => INVOCATIONS,
            Self::Backlog(_) => BACKLOG,
            Self::Provisioned(_) => CONCURRENCY,
        }
    }

    /// The field that names the metric, and the metric.
    fn metric(self, endpoint: &str) -> (&'static str, Value) {
        let predefined =
            |name: &str| ("PredefinedMetricSpecification", json!({"PredefinedMetricType": name}));
        match self {
            Self::Invocations(_) => predefined("SageMakerVariantInvocationsPerInstance"),
            Self::Provisioned(_) => predefined("SageMakerVariantProvisionedConcurrencyUtilization"),
            Self::Backlog(_) => (
                "CustomizedMetricSpecification",
                json!({
                    "MetricName": "ApproximateBacklogSizePerInstance",
                    "Namespace": "AWS/SageMaker",
                    "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
                    "Statistic": "Average",
                }),
            ),
        }
    }
}

/// A call of the control plane: service, operation and body.
type Call = (Service, &'static str, Value);

impl Scaling {
    /// The calls that set the policy.
    ///
    /// # Errors
    /// If a setting is invalid.
    pub fn calls(&self, endpoint: &str) -> Result<Vec<Call>> {
        self.validate()?;
        let scaled = of(endpoint, &self.variant, self.target.dimension());
        let mut register = scaled.clone();
        register["MinCapacity"] = self.min.into();
        register["MaxCapacity"] = self.max.into();
        let mut policy = scaled.clone();
        policy["PolicyName"] = policy_name(endpoint, self.target.name()).into();
        policy["PolicyType"] = "TargetTrackingScaling".into();
        let (field, metric) = self.target.metric(endpoint);
        policy["TargetTrackingScalingPolicyConfiguration"] = json!({
            "TargetValue": self.target.value(),
            field: metric,
            "ScaleInCooldown": self.scale_in_cooldown,
            "ScaleOutCooldown": self.scale_out_cooldown,
        });
        let mut calls = vec![
            (Service::AutoScaling, "RegisterScalableTarget", register),
            (Service::AutoScaling, "PutScalingPolicy", policy),
        ];
        if matches!(self.target, Target::Backlog(_)) && self.min == 0 {
            calls.extend(self.wake(endpoint, scaled));
        }
        Ok(calls)
    }

    /// The calls that start the first instance of an endpoint without instances when a request
    /// comes. Without instances there is no backlog per instance.
    fn wake(&self, endpoint: &str, mut policy: Value) -> [Call; 2] {
        policy["PolicyName"] = policy_name(endpoint, WAKE).into();
        policy["PolicyType"] = "StepScaling".into();
        policy["StepScalingPolicyConfiguration"] = json!({
            "AdjustmentType": "ChangeInCapacity",
            "MetricAggregationType": "Average",
            "Cooldown": self.scale_out_cooldown,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
        });
        let alarm = json!({
            "AlarmName": policy_name(endpoint, WAKE),
            "MetricName": "HasBacklogWithoutCapacity",
            "Namespace": "AWS/SageMaker",
            "Statistic": "Average",
            "EvaluationPeriods": 2,
            "DatapointsToAlarm": 2,
            "Threshold": 1.0,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "missing",
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
            "Period": 60,
            "AlarmActions": [POLICY_ARN],
        });
        [
            (Service::AutoScaling, "PutScalingPolicy", policy),
            (Service::CloudWatch, "PutMetricAlarm", alarm),
        ]
    }

    fn validate(&self) -> Result<()> {
        let invalid = |problem: String| Err(Error::Invalid(problem));
        if self.min > self.max || self.max == 0 {
            return invalid(format!(
                "at least {} and at most {} instances is not a range: the maximum must be 1 or \
                 more, and not below the minimum",
                self.min, self.max
            ));
        }
        let value = self.target.value();
        if !(value.is_finite() && value > 0.0) {
            return invalid(format!("the target is {value}, and must be above 0"));
        }
        if self.min == 0 && !matches!(self.target, Target::Backlog(_)) {
            return invalid(
                "only asynchronous endpoints can be without an instance: give --backlog, or a \
                 minimum of 1"
                    .into(),
            );
        }
        if matches!(self.target, Target::Provisioned(share) if share > 1.0) {
            return invalid(format!(
                "the target is a share of the provisioned concurrency, at most 1, not {value}"
            ));
        }
        Ok(())
    }

    /// Makes AWS scale the endpoint. A second call replaces the settings, and removes policies for
    /// other targets.
    ///
    /// # Errors
    /// If a setting is invalid, or AWS refuses the call.
    pub fn enable(&self, control_plane: &ControlPlane, endpoint: &str) -> Result<()> {
        let mut policy = Value::Null;
        let mut earlier: Vec<String> =
            POLICIES.iter().map(|kind| policy_name(endpoint, kind)).collect();
        for (service, operation, mut body) in self.calls(endpoint)? {
            earlier.retain(|name| body["PolicyName"] != name.as_str());
            if body.get("AlarmActions").is_some() {
                body["AlarmActions"] = json!([policy]);
            }
            let answer = control_plane.call(service, operation, &body)?;
            policy = answer["PolicyARN"].clone();
        }
        let target = of(endpoint, &self.variant, self.target.dimension());
        for name in policies(control_plane, &target)? {
            if !earlier.contains(&name) {
                continue;
            }
            let mut delete = target.clone();
            delete["PolicyName"] = name.as_str().into();
            control_plane.call(Service::AutoScaling, "DeleteScalingPolicy", &delete)?;
            if name == policy_name(endpoint, WAKE) {
                delete_alarm(control_plane, endpoint)?;
            }
        }
        Ok(())
    }
}

/// The names of the policies of a target.
fn policies(control_plane: &ControlPlane, target: &Value) -> Result<Vec<String>> {
    let answer = control_plane.call(Service::AutoScaling, "DescribeScalingPolicies", target)?;
    let policies = answer["ScalingPolicies"].as_array().into_iter().flatten();
    Ok(policies.filter_map(|it| Some(it["PolicyName"].as_str()?.to_owned())).collect())
}

/// Removes the alarm that starts the first instance. AWS does not remove it with its policy.
fn delete_alarm(control_plane: &ControlPlane, endpoint: &str) -> Result<()> {
    let alarm = json!({"AlarmNames": [policy_name(endpoint, WAKE)]});
    control_plane.call(Service::CloudWatch, "DeleteAlarms", &alarm).map(drop)
}

/// Scaling of a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// Smallest number of instances.
    pub min: u64,
    /// Largest number of instances.
    pub max: u64,
    /// Name of the variant.
    pub variant: String,
    dimension: String,
}

/// Stops the scaling. The endpoint keeps its current number of instances.
///
/// # Errors
/// If AWS refuses the call.
pub fn disable(control_plane: &ControlPlane, endpoint: &str) -> Result<()> {
    let mut scaled = find(control_plane, endpoint)?;
    if scaled.is_empty() {
        // Without a target, AWS's own error says what is missing.
        let [variant, dimension] = [VARIANT, INSTANCES].map(str::to_owned);
        scaled.push(Scaled { min: 0, max: 0, variant, dimension });
    }
    for target in scaled {
        let target = of(endpoint, &target.variant, &target.dimension);
        let policies = policies(control_plane, &target)?;
        // AWS removes the policies with the target.
        control_plane.call(Service::AutoScaling, "DeregisterScalableTarget", &target)?;
        if policies.contains(&policy_name(endpoint, WAKE)) {
            delete_alarm(control_plane, endpoint)?;
        }
    }
    Ok(())
}

/// The scaling of the endpoint's variants.
///
/// # Errors
/// If the call fails.
pub fn find(control_plane: &ControlPlane, endpoint: &str) -> Result<Vec<Scaled>> {
    const PAGES: usize = 100;
    let body = json!({"ServiceNamespace": "sagemaker"});
    let prefix = format!("endpoint/{endpoint}/variant/");
    let pages =
        control_plane.pages(Service::AutoScaling, "DescribeScalableTargets", &body, PAGES)?;
    let targets = pages.iter().flat_map(|page| page["ScalableTargets"].as_array()).flatten();
    let scaled = |target: &Value| {
        Some(Scaled {
            variant: target["ResourceId"].as_str()?.strip_prefix(&prefix)?.to_owned(),
            min: target["MinCapacity"].as_u64()?,
            max: target["MaxCapacity"].as_u64()?,
            dimension: target["ScalableDimension"].as_str()?.to_owned(),
        })
    };
    Ok(targets.filter_map(scaled).collect())
}

fn policy_name(endpoint: &str, kind: &str) -> String {
    format!("{endpoint}-{kind}")
}

fn of(endpoint: &str, variant: &str, dimension: &str) -> Value {
    json!({
        "ServiceNamespace": "sagemaker",
        "ResourceId": format!("endpoint/{endpoint}/variant/{variant}"),
        "ScalableDimension": dimension,
    })
}
