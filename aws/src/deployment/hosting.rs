//! The hosting of an endpoint: instances, serverless, or asynchronous.

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// Hosting of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosting {
    /// Instances that answer immediately.
    Instances {
        /// Type of the instances.
        instance_type: String,
        /// Number of instances.
        count: u32,
    },
    /// A serverless endpoint: AWS provides memory for each request.
    Serverless {
        /// Memory in MB.
        memory: u32,
        /// Largest number of concurrent requests.
        concurrency: u32,
        /// Provisioned concurrency: requests for which memory is kept ready.
        provisioned: Option<u32>,
    },
    /// An asynchronous endpoint: instances that read requests from S3 and write answers to S3.
    Async {
        /// Type of the instances.
        instance_type: String,
        /// Number of instances.
        count: u32,
        /// Destination of the answers.
        output: AsyncOutput,
        /// Largest number of concurrent requests per instance.
        concurrency: Option<u32>,
    },
}

/// Destination of the answers of an asynchronous endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsyncOutput {
    /// `s3://` prefix of the answers.
    pub answers: String,
    /// `s3://` prefix of errors; by default below `answers`.
    pub failures: Option<String>,
    /// KMS key that encrypts answers and errors.
    pub kms_key: Option<String>,
    /// ARN of the SNS topic that is notified of each answer.
    pub success_topic: Option<String>,
    /// ARN of the SNS topic that is notified of each error.
    pub error_topic: Option<String>,
    /// Whether the notifications include the answers.
    pub include_response: bool,
}

impl AsyncOutput {
    fn describe(&self) -> Value {
        let answers = self.answers.trim_end_matches('/');
        let failures = self.failures.as_deref().map(|path| path.trim_end_matches('/').to_owned());
        let mut output = json!({
            "S3OutputPath": answers,
            "S3FailurePath": failures.unwrap_or_else(|| format!("{answers}/failures")),
        });
        if let Some(key) = &self.kms_key {
            output["KmsKeyId"] = key.as_str().into();
        }
        let mut topics = json!({});
        let mut with_response = Vec::new();
        for (topic, field, kind) in [
            (&self.success_topic, "SuccessTopic", "SUCCESS_NOTIFICATION_TOPIC"),
            (&self.error_topic, "ErrorTopic", "ERROR_NOTIFICATION_TOPIC"),
        ] {
            if let Some(topic) = topic {
                topics[field] = topic.as_str().into();
                with_response.push(kind);
            }
        }
        if !with_response.is_empty() {
            if self.include_response {
                topics["IncludeInferenceResponseIn"] = json!(with_response);
            }
            output["NotificationConfig"] = topics;
        }
        output
    }
}

impl Hosting {
    /// Writes the hosting fields of a variant.
    pub(super) fn describe(&self, variant: &mut Value) {
        match self {
            Self::Instances { instance_type, count } | Self::Async { instance_type, count, .. } => {
                variant["InitialInstanceCount"] = (*count).into();
                variant["InstanceType"] = instance_type.as_str().into();
            }
            Self::Serverless { memory, concurrency, provisioned } => {
                let mut config = json!({"MemorySizeInMB": memory, "MaxConcurrency": concurrency});
                if let Some(provisioned) = provisioned {
                    config["ProvisionedConcurrency"] = (*provisioned).into();
                }
                variant["ServerlessConfig"] = config;
            }
        }
    }

    /// The `AsyncInferenceConfig` of an asynchronous endpoint.
    pub(super) fn async_settings(&self) -> Option<Value> {
        let Self::Async { output, concurrency, .. } = self else {
            return None;
        };
        let mut settings = json!({"OutputConfig": output.describe()});
        if let Some(concurrency) = concurrency {
            settings["ClientConfig"] = json!({"MaxConcurrentInvocationsPerInstance": concurrency});
        }
        Some(settings)
    }

    pub(super) fn validate(&self) -> Result<()> {
        let invalid = |problem: String| Err(Error::Invalid(problem));
        match self {
            Self::Serverless { memory, .. } if !is_serverless_memory(*memory) => invalid(format!(
                "serverless endpoints have 1024, 2048, 3072, 4096, 5120 or 6144 MB of memory, \
                     not {memory}"
            )),
            Self::Serverless { concurrency, .. } if !(1..=200).contains(concurrency) => {
                invalid(format!(
                    "serverless endpoints work on 1 to 200 requests at a time, not {concurrency}"
                ))
            }
            Self::Serverless { provisioned: Some(ready), concurrency, .. }
                if ready > concurrency || *ready == 0 =>
            {
                invalid(format!(
                    "memory is kept ready for 1 to {concurrency} requests, the most at a time, and \
                     not for {ready}"
                ))
            }
            Self::Instances { instance_type, .. } | Self::Async { instance_type, .. }
                if !instance_type.starts_with("ml.") =>
            {
                invalid(format!(
                    "'{instance_type}' is not an instance type: write one such as ml.m5.xlarge"
                ))
            }
            Self::Async { output, .. } => {
                let paths = [Some(&output.answers), output.failures.as_ref()];
                match paths.into_iter().flatten().find(|path| !path.starts_with("s3://")) {
                    Some(path) => invalid(format!(
                        "asynchronous answers go to s3://BUCKET/PREFIX, not to '{path}'"
                    )),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

fn is_serverless_memory(memory: u32) -> bool {
    (1024..=6144).contains(&memory) && memory.is_multiple_of(1024)
}
