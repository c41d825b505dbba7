//! The settings of a batch transform job, and its calls.

use std::collections::BTreeMap;

use epitome_runtime::bundle::digest;
use serde_json::{Value, json};

use crate::control_plane::Step;
use crate::error::{Error, Result};
use crate::model::ModelSpec;
use crate::names::{name_of, require_job_name};
use crate::tags::tags;
use crate::uri::S3Uri;

/// The settings of a batch transform job.
#[derive(Clone, Debug)]
pub struct TransformSpec {
    /// Name of the job.
    pub job_name: String,
    /// Model of the job.
    pub model: ModelSpec,
    /// Input files.
    pub input: Input,
    /// Prefix of the answers.
    pub output: S3Uri,
    /// The format of the files.
    pub format: Format,
    /// Whether the files are gzipped.
    pub gzip: bool,
    /// Whether each line is a document.
    pub split: bool,
    /// Media type of the answers.
    pub accept: String,
    /// Whether several records go into one request.
    pub multi_record: bool,
    /// Whether each answer is joined with its input.
    pub join: bool,
    /// JSONPath of the part of a record that the container gets.
    pub input_filter: Option<String>,
    /// JSONPath of the part of a record and its answer that is written.
    pub output_filter: Option<String>,
    /// Type of the instances.
    pub instance_type: String,
    /// Number of instances.
    pub instance_count: u32,
    /// Number of concurrent requests per instance; the container's choice by default.
    pub max_concurrent: Option<u32>,
    /// Largest request in MB; the container's choice by default.
    pub max_payload: Option<u32>,
    /// Longest time of a request in seconds.
    pub timeout: Option<u32>,
    /// Number of times that a request is repeated.
    pub retries: Option<u32>,
    /// KMS key that encrypts the answers.
    pub kms_key: Option<String>,
    /// KMS key that encrypts the instances' disks.
    pub volume_kms_key: Option<String>,
    /// Tags of the model and the job.
    pub tags: BTreeMap<String, String>,
}

/// Input of a job.
#[derive(Clone, Debug)]
pub enum Input {
    /// All files below a prefix.
    Prefix(S3Uri),
    /// The files in a manifest.
    Manifest(S3Uri),
}

/// The format of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// One JSON object per line.
    JsonLines,
    /// Comma-separated values.
    Csv,
    /// Plain text.
    Text,
}

impl Format {
    /// The format that the name of a file tells, and whether the file is gzipped.
    pub fn of_name(name: &str) -> Option<(Self, bool)> {
        let name = name.to_ascii_lowercase();
        let (name, gzip) = match name.strip_suffix(".gz") {
            Some(name) => (name, true),
            None => (name.as_str(), false),
        };
        let (_, extension) = name.rsplit_once('.')?;
        let format = match extension {
            "jsonl" | "jsonlines" | "ndjson" => Self::JsonLines,
            "csv" => Self::Csv,
            "txt" | "text" => Self::Text,
            _ => return None,
        };
        Some((format, gzip))
    }

    /// Media type of the format.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::JsonLines => "application/jsonlines",
            Self::Csv => "text/csv",
            Self::Text => "text/plain",
        }
    }
}

impl TransformSpec {
    /// The name of the model, which depends on its content.
    ///
    /// # Errors
    /// If a setting is invalid.
    pub fn model_name(&self) -> Result<String> {
        let body = self.model.body()?;
        let job: String = self.job_name.chars().take(crate::names::MAX_NAME).collect();
        let job = job.trim_end_matches('-');
        Ok(name_of(job, &digest::bytes(body.to_string().as_bytes())))
    }

    /// The calls that create the model and start the job.
    ///
    /// # Errors
    /// If a setting is invalid.
    pub fn steps(&self) -> Result<[Step; 2]> {
        self.validate()?;
        let model = self.model_name()?;
        Ok([
            self.model.step(&model, &self.tags)?,
            Step { operation: "CreateTransformJob", body: self.job(&model) },
        ])
    }

    fn job(&self, model: &str) -> Value {
        let (kind, uri) = match &self.input {
            Input::Prefix(uri) => ("S3Prefix", uri),
            Input::Manifest(uri) => ("ManifestFile", uri),
        };
        let mut input = json!({
            "DataSource": {"S3DataSource": {"S3DataType": kind, "S3Uri": uri.to_string()}},
            "ContentType": self.format.media_type(),
        });
        let mut output = json!({
            "S3OutputPath": self.output.to_string().trim_end_matches('/'),
            "Accept": self.accept,
        });
        if self.gzip {
            input["CompressionType"] = "Gzip".into();
        }
        if self.split {
            input["SplitType"] = "Line".into();
            output["AssembleWith"] = "Line".into();
        }
        if let Some(key) = &self.kms_key {
            output["KmsKeyId"] = key.as_str().into();
        }
        let mut resources =
            json!({"InstanceCount": self.instance_count, "InstanceType": self.instance_type});
        if let Some(key) = &self.volume_kms_key {
            resources["VolumeKmsKeyId"] = key.as_str().into();
        }
        let strategy = if self.multi_record { "MultiRecord" } else { "SingleRecord" };
        let mut body = json!({
            "TransformJobName": self.job_name,
            "ModelName": model,
            "TransformInput": input,
            "TransformOutput": output,
            "TransformResources": resources,
            "BatchStrategy": strategy,
        });
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[name] = value;
            }
        };
        set("MaxConcurrentTransforms", self.max_concurrent.map(Value::from));
        set("MaxPayloadInMB", self.max_payload.map(Value::from));
        set("DataProcessing", self.data_processing());
        set("ModelClientConfig", self.client_config());
        set("Tags", (!self.tags.is_empty()).then(|| tags(&self.tags)));
        body
    }

    fn data_processing(&self) -> Option<Value> {
        let join = self.join.then_some("Input");
        let fields = [
            ("InputFilter", self.input_filter.as_deref()),
            ("OutputFilter", self.output_filter.as_deref()),
            ("JoinSource", join),
        ];
        object(fields.map(|(name, value)| (name, value.map(Value::from))))
    }

    fn client_config(&self) -> Option<Value> {
        object([
            ("InvocationsTimeoutInSeconds", self.timeout.map(Value::from)),
            ("InvocationsMaxRetries", self.retries.map(Value::from)),
        ])
    }

    fn validate(&self) -> Result<()> {
        let invalid = |problem: String| Err(Error::Invalid(problem));
        require_job_name(&self.job_name)?;
        if !self.instance_type.starts_with("ml.") {
            let instance_type = &self.instance_type;
            return invalid(format!(
                "'{instance_type}' is not an instance type: write one such as ml.m5.xlarge"
            ));
        }
        if self.instance_count == 0 {
            return invalid("a job needs at least one instance".into());
        }
        let is_table = matches!(self.format, Format::JsonLines | Format::Csv);
        if self.join && !(is_table && self.split && self.accept == self.format.media_type()) {
            return invalid(
                "answers are joined with JSON lines or CSV that are split by line and answered in \
                 the same format: leave --join out, or change the format"
                    .into(),
            );
        }
        // AWS limits the product of the two, because of the memory of an instance.
        if let (Some(payload), Some(concurrent)) = (self.max_payload, self.max_concurrent)
            && u64::from(payload) * u64::from(concurrent) > 100
        {
            return invalid(format!(
                "--max-payload times --max-concurrent may be 100 MB, and {payload} times \
                 {concurrent} is more"
            ));
        }
        if self.retries.is_some_and(|retries| retries > 3) {
            return invalid("AWS repeats a request up to 3 times".into());
        }
        Ok(())
    }
}

/// A JSON object of the fields with a value; `None` if no field has one.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Option<Value> {
    let fields: serde_json::Map<_, _> =
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}
