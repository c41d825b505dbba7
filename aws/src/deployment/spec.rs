//! The settings of a deployment, and its calls.

use std::collections::BTreeMap;

use epitome_runtime::bundle::digest;
use serde_json::{Value, json};

use super::capture::DataCapture;
use super::hosting::Hosting;
use super::rollout::Rollout;
use crate::control_plane::Step;
use crate::error::{Error, Result};
use crate::model::ModelSpec;
use crate::names::{MAX_NAME, VARIANT, is_endpoint_name, name_of};
use crate::tags::tags;

/// The settings of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct DeploymentSpec {
    /// Name of the endpoint.
    pub endpoint: String,
    /// Models of the endpoint. Several models share the requests.
    pub variants: Vec<Variant>,
    /// Instances, serverless, or asynchronous.
    pub hosting: Hosting,
    /// Disk size of each instance in GB.
    pub volume_size: Option<u32>,
    /// Longest download of the model, in seconds.
    pub download_timeout: Option<u32>,
    /// Longest time until the container answers `/ping`, in seconds.
    pub startup_timeout: Option<u32>,
    /// Name of the AWS image that the instances boot from.
    pub ami_version: Option<String>,
    /// Data capture of requests and answers.
    pub capture: Option<DataCapture>,
    /// KMS key that encrypts the instances' disks and the captured data.
    pub kms_key: Option<String>,
    /// Rollout of these settings.
    pub rollout: Rollout,
    /// Tags of the models, the configuration and the endpoint.
    pub tags: BTreeMap<String, String>,
    /// Any text. Another text deploys the same settings again, for example when the object at a URL
    /// has changed.
    pub revision: Option<String>,
}

/// A model of an endpoint, and its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Name of the variant.
    pub name: String,
    /// Weight. The variant's share of the requests is its weight divided by the sum of all weights.
    pub weight: f64,
    /// The model.
    pub model: ModelSpec,
}

impl Variant {
    /// The only variant of an endpoint.
    pub fn only(model: ModelSpec) -> Self {
        Self { name: VARIANT.into(), weight: 1.0, model }
    }
}

/// The calls of a deployment.
pub(super) struct Plan {
    /// Names, and the calls that create the models.
    pub(super) models: Vec<(String, Step)>,
    pub(super) config_name: String,
    pub(super) config: Step,
    pub(super) create: Step,
    pub(super) update: Step,
}

impl DeploymentSpec {
    /// The calls that create an endpoint, in order.
    ///
    /// # Errors
    /// If a setting is invalid.
    pub fn steps(&self) -> Result<Vec<Step>> {
        let plan = self.plan()?;
        let models = plan.models.into_iter().map(|(_, step)| step);
        Ok(models.chain([plan.config, plan.create]).collect())
    }

    /// The calls that update an endpoint, in order.
    ///
    /// # Errors
    /// If a setting is invalid.
    pub fn update_steps(&self) -> Result<Vec<Step>> {
        let plan = self.plan()?;
        let models = plan.models.into_iter().map(|(_, step)| step);
        Ok(models.chain([plan.config, plan.update]).collect())
    }

    /// The body of the call that changes the weights of the variants.
    pub fn weights(&self) -> Value {
        let weights = self.variants.iter().map(
            |variant| json!({"VariantName": variant.name, "DesiredWeight": number(variant.weight)}),
        );
        json!({
            "EndpointName": self.endpoint,
            "DesiredWeightsAndCapacities": weights.collect::<Value>(),
        })
    }

    pub(super) fn plan(&self) -> Result<Plan> {
        self.validate()?;
        let mut models: Vec<(String, Step)> = Vec::new();
        let mut variants = Vec::new();
        for variant in &self.variants {
            let name = self.name(&variant.model.body()?);
            if !models.iter().any(|(known, _)| *known == name) {
                let step = variant.model.step(&name, &self.tags)?;
                models.push((name.clone(), step));
            }
            variants.push(self.variant(&variant.name, &name));
        }
        let mut config = json!({"ProductionVariants": variants});
        if let Some(settings) = self.hosting.async_settings() {
            config["AsyncInferenceConfig"] = settings;
        }
        if let Some(capture) = &self.capture {
            config["DataCaptureConfig"] = capture.describe(self.kms_key.as_deref());
        }
        if let Some(key) = &self.kms_key {
            config["KmsKeyId"] = key.as_str().into();
        }
        // The name does not depend on the weights, which are changed in place.
        let config_name = self.name(&config);
        config["EndpointConfigName"] = config_name.as_str().into();
        for (at, variant) in self.variants.iter().enumerate() {
            config["ProductionVariants"][at]["InitialVariantWeight"] = number(variant.weight);
        }

        let mut update = json!({
            "EndpointName": self.endpoint,
            "EndpointConfigName": config_name,
        });
        let mut create = update.clone();
        create["Tags"] = tags(&self.tags);
        if let Some(rollout) = self.rollout.describe() {
            update["DeploymentConfig"] = rollout;
        }
        if !self.tags.is_empty() {
            config["Tags"] = tags(&self.tags);
        }
        let step = |operation, body| Step { operation, body };
        Ok(Plan {
            models,
            config_name,
            config: step("CreateEndpointConfig", config),
            create: step("CreateEndpoint", create),
            update: step("UpdateEndpoint", update),
        })
    }

    /// The variant for the configuration, without its weight.
    fn variant(&self, name: &str, model: &str) -> Value {
        let mut variant = json!({"VariantName": name, "ModelName": model});
        self.hosting.describe(&mut variant);
        for (field, value) in [
            ("VolumeSizeInGB", self.volume_size),
            ("ModelDataDownloadTimeoutInSeconds", self.download_timeout),
            ("ContainerStartupHealthCheckTimeoutInSeconds", self.startup_timeout),
        ] {
            if let Some(value) = value {
                variant[field] = value.into();
            }
        }
        if let Some(version) = &self.ami_version {
            variant["InferenceAmiVersion"] = version.as_str().into();
        }
        variant
    }

    /// The endpoint's name with a digest of the content.
    fn name(&self, content: &Value) -> String {
        let revision = self.revision.as_deref().unwrap_or_default();
        let digest = digest::bytes(format!("{content}{revision}").as_bytes());
        name_of(&self.endpoint, &digest)
    }

    fn validate(&self) -> Result<()> {
        let invalid = |problem: String| Err(Error::Invalid(problem));
        let name = &self.endpoint;
        if !is_endpoint_name(name) {
            return invalid(format!(
                "'{name}' cannot name an endpoint: up to {MAX_NAME} letters, digits and hyphens \
                 inside"
            ));
        }
        if self.variants.is_empty() {
            return invalid("an endpoint needs a model".into());
        }
        for (at, variant) in self.variants.iter().enumerate() {
            let Variant { name, weight, .. } = variant;
            if !is_endpoint_name(name) {
                return invalid(format!(
                    "'{name}' cannot name a variant: letters, digits and hyphens inside"
                ));
            }
            if self.variants[..at].iter().any(|other| other.name == *name) {
                return invalid(format!("two variants have the name '{name}'"));
            }
            if !(weight.is_finite() && *weight >= 0.0) {
                return invalid(format!(
                    "the weight of '{name}' is {weight}, and must be 0 or more"
                ));
            }
        }
        if self.variants.iter().map(|variant| variant.weight).sum::<f64>() <= 0.0 {
            return invalid("no variant has a weight above 0, so none would answer".into());
        }
        let is_plain = matches!(self.hosting, Hosting::Instances { .. });
        if self.variants.len() > 1 && !is_plain {
            return invalid(
                "only endpoints on instances that answer at once have several variants".into(),
            );
        }
        for (seconds, what) in [
            (self.download_timeout, "fetching the model"),
            (self.startup_timeout, "the start of the container"),
        ] {
            if seconds.is_some_and(|seconds| !(60..=3600).contains(&seconds)) {
                return invalid(format!("{what} may take 60 to 3600 seconds"));
            }
        }
        if let Some(capture) = &self.capture {
            if !capture.output.starts_with("s3://") {
                let output = &capture.output;
                return invalid(format!(
                    "requests and answers are kept below s3://BUCKET/PREFIX, not '{output}'"
                ));
            }
            if capture.percent > 100 {
                return invalid(format!(
                    "of 100 requests at most 100 can be kept, not {}",
                    capture.percent
                ));
            }
        }
        if self.rollout.canary.is_some_and(|percent| !(1..=50).contains(&percent)) {
            return invalid("a canary is 1 to 50 percent of the instances".into());
        }
        self.hosting.validate()
    }
}

/// A weight in the form of AWS's SDK: whole numbers have no fraction.
fn number(weight: f64) -> Value {
    match weight {
        whole if whole.fract() == 0.0 && whole < 1e9 => Value::from(whole as u64),
        weight => weight.into(),
    }
}
