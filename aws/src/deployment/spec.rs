//! What to deploy, and the calls for it.

use std::collections::BTreeMap;

use epitome_runtime::bundle::digest;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::names::{MAX_NAME, VARIANT, is_endpoint_name, name_of};
use crate::tags::tags;

/// A call that a deployment makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// SageMaker's name of it.
    pub operation: &'static str,
    /// The body of the call.
    pub body: Value,
}

/// The settings of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentSpec {
    /// Its name.
    pub endpoint: String,
    /// The image, by its URI in ECR.
    pub image: String,
    /// `s3://` URL of the `model.tar.gz`.
    pub model: String,
    /// The role that the container runs as, by its ARN.
    pub role: String,
    /// What it runs on.
    pub hosting: Hosting,
    /// Environment variables of the container.
    pub environment: BTreeMap<String, String>,
    /// Tags of model, configuration and endpoint.
    pub tags: BTreeMap<String, String>,
    /// Any text. Another text makes another deployment of the same settings: for when what is
    /// behind the URLs has changed.
    pub revision: Option<String>,
}

/// What an endpoint runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosting {
    /// Instances that answer at once.
    Instances {
        /// Their type.
        instance_type: String,
        /// How many.
        count: u32,
    },
    /// AWS provides memory per request.
    Serverless {
        /// Memory, in MB.
        memory: u32,
        /// Most requests at a time.
        concurrency: u32,
    },
    /// Instances that read requests from S3 and write answers there.
    Async {
        /// Their type.
        instance_type: String,
        /// How many.
        count: u32,
        /// `s3://` prefix of the answers.
        output: String,
        /// Most requests at a time for an instance.
        concurrency: Option<u32>,
    },
}

/// The calls of a deployment.
pub(super) struct Plan {
    pub(super) model_name: String,
    pub(super) config_name: String,
    pub(super) model: Step,
    pub(super) config: Step,
    pub(super) create: Step,
    pub(super) update: Step,
}

impl DeploymentSpec {
    /// The calls that create an endpoint, in order.
    ///
    /// # Errors
    /// Where a setting is invalid.
    pub fn steps(&self) -> Result<Vec<Step>> {
        let plan = self.plan()?;
        Ok(vec![plan.model, plan.config, plan.create])
    }

    /// The calls that update an endpoint, in order.
    ///
    /// # Errors
    /// Where a setting is invalid.
    pub fn update_steps(&self) -> Result<Vec<Step>> {
        let plan = self.plan()?;
        Ok(vec![plan.model, plan.config, plan.update])
    }

    pub(super) fn plan(&self) -> Result<Plan> {
        self.validate()?;
        let container = json!({
            "Image": self.image,
            "Environment": self.environment,
            "ModelDataUrl": self.model,
        });
        let mut model = json!({"ExecutionRoleArn": self.role, "PrimaryContainer": container});
        let model_name = self.name(&model);
        model["ModelName"] = model_name.as_str().into();

        let mut variant = json!({
            "VariantName": VARIANT,
            "ModelName": model_name,
            "InitialVariantWeight": 1,
        });
        self.hosting.describe(&mut variant);
        let mut config = json!({"ProductionVariants": [variant]});
        if let Some(settings) = self.hosting.async_settings() {
            config["AsyncInferenceConfig"] = settings;
        }
        let config_name = self.name(&config);
        config["EndpointConfigName"] = config_name.as_str().into();

        let of_endpoint = json!({
            "EndpointName": self.endpoint,
            "EndpointConfigName": config_name,
        });
        let mut create = of_endpoint.clone();
        create["Tags"] = tags(&self.tags);
        if !self.tags.is_empty() {
            model["Tags"] = tags(&self.tags);
            config["Tags"] = tags(&self.tags);
        }
        let step = |operation, body| Step { operation, body };
        Ok(Plan {
            model_name,
            config_name,
            model: step("CreateModel", model),
            config: step("CreateEndpointConfig", config),
            create: step("CreateEndpoint", create),
            update: step("UpdateEndpoint", of_endpoint),
        })
    }

    /// The endpoint's name and a digest of the content.
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
        if !self.model.starts_with("s3://") {
            let model = &self.model;
            return invalid(format!(
                "the model must be on S3, as s3://BUCKET/KEY, not '{model}': --upload sends a \
                 bundle there"
            ));
        }
        if !self.role.starts_with("arn:") {
            let role = &self.role;
            return invalid(format!(
                "'{role}' is not a role: give its ARN, as arn:aws:iam::ACCOUNT:role/NAME"
            ));
        }
        match &self.hosting {
            Hosting::Serverless { memory, .. } if !is_serverless_memory(*memory) => {
                invalid(format!(
                    "serverless endpoints have 1024, 2048, 3072, 4096, 5120 or 6144 MB of memory, \
                     not {memory}"
                ))
            }
            Hosting::Serverless { concurrency, .. } if !(1..=200).contains(concurrency) => {
                invalid(format!(
                    "serverless endpoints work on 1 to 200 requests at a time, not {concurrency}"
                ))
            }
            Hosting::Instances { instance_type, .. } | Hosting::Async { instance_type, .. }
                if !instance_type.starts_with("ml.") =>
            {
                invalid(format!(
                    "'{instance_type}' is not an instance type: write one such as ml.m5.xlarge"
                ))
            }
            Hosting::Async { output, .. } if !output.starts_with("s3://") => {
                invalid(format!("asynchronous answers go to s3://BUCKET/PREFIX, not to '{output}'"))
            }
            _ => Ok(()),
        }
    }
}

impl Hosting {
    fn describe(&self, variant: &mut Value) {
        match self {
            Self::Instances { instance_type, count } | Self::Async { instance_type, count, .. } => {
                variant["InitialInstanceCount"] = (*count).into();
                variant["InstanceType"] = instance_type.as_str().into();
            }
            Self::Serverless { memory, concurrency } => {
                variant["ServerlessConfig"] =
                    json!({"MemorySizeInMB": memory, "MaxConcurrency": concurrency});
            }
        }
    }

    fn async_settings(&self) -> Option<Value> {
        let Self::Async { output, concurrency, .. } = self else {
            return None;
        };
        let output = output.trim_end_matches('/');
        let mut settings = json!({"OutputConfig": {
            "S3OutputPath": output,
            "S3FailurePath": format!("{output}/failures"),
        }});
        if let Some(concurrency) = concurrency {
            settings["ClientConfig"] = json!({"MaxConcurrentInvocationsPerInstance": concurrency});
        }
        Some(settings)
    }
}

fn is_serverless_memory(memory: u32) -> bool {
    (1024..=6144).contains(&memory) && memory.is_multiple_of(1024)
}
