//! The settings of a training job, with the names of SageMaker's HuggingFace estimator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::distribution::Distribution;
use super::image::training_image;
use super::python::dumps;
use crate::error::{Error, Result};
use crate::names::{job_name_at, require_job_name};
use crate::tags::tags;

/// The settings of a training job: those of the HuggingFace estimator of SageMaker's Python SDK.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingSpec {
    /// Name of the job.
    pub job_name: Option<String>,
    /// ARN of the role that the job runs as.
    pub role: Option<String>,
    /// Image in place of HuggingFace's.
    pub image_uri: Option<String>,
    /// Version of transformers in HuggingFace's image.
    pub transformers_version: Option<String>,
    /// Version of PyTorch in HuggingFace's image; the newest by default.
    pub pytorch_version: Option<String>,
    /// Version of Python in HuggingFace's image, such as `py36`.
    pub py_version: Option<String>,
    /// Script that is run, relative to `source_dir`; without `source_dir` its path.
    pub entry_point: Option<String>,
    /// Local folder of scripts; with `git_config` a folder in the repository.
    pub source_dir: Option<PathBuf>,
    /// Git repository with the scripts.
    pub git_config: Option<GitConfig>,
    /// `s3://` prefix of the packed scripts; `output_path` by default.
    pub code_location: Option<String>,
    /// `s3://` prefix of the model.
    pub output_path: Option<String>,
    /// Type of the instances.
    pub instance_type: Option<String>,
    /// Number of instances; [`INSTANCE_COUNT`] by default.
    pub instance_count: Option<u32>,
    /// Disk size of each instance in GB; [`VOLUME_SIZE`] by default.
    pub volume_size: Option<u32>,
    /// Longest run of the job in seconds; [`MAX_RUN`] by default.
    pub max_run: Option<u32>,
    /// Whether to take spot instances, which cost less and may be taken away.
    pub use_spot_instances: bool,
    /// Longest time in seconds to wait for spot instances and run on them.
    pub max_wait: Option<u32>,
    /// `s3://` prefix of checkpoints, from which a job continues after it loses its instance.
    pub checkpoint_s3_uri: Option<String>,
    /// Folder of the checkpoints in the container; [`CHECKPOINT_LOCAL_PATH`] by default.
    pub checkpoint_local_path: Option<String>,
    /// Channels: names, and the `s3://` prefixes of their data.
    pub inputs: BTreeMap<String, String>,
    /// Arguments of the script.
    pub hyperparameters: Map<String, Value>,
    /// Environment variables of the container.
    pub environment: BTreeMap<String, String>,
    /// Tags of the job.
    pub tags: BTreeMap<String, String>,
    /// Metrics that AWS extracts from the log: names and regular expressions.
    pub metric_definitions: BTreeMap<String, String>,
    /// Subnets of the job's own network.
    pub subnets: Vec<String>,
    /// Security groups of the job's own network.
    pub security_group_ids: Vec<String>,
    /// Distribution over several GPUs or instances.
    pub distribution: Option<Distribution>,
    /// `false` leaves out SageMaker's debugger, which the estimator configures to collect nothing.
    pub debugger_hook_config: Option<bool>,
    /// KMS key that encrypts the model and other outputs of the job.
    pub output_kms_key: Option<String>,
    /// KMS key that encrypts the instances' disks.
    pub volume_kms_key: Option<String>,
    /// Time in seconds for which the instances are kept, and billed, after the job.
    pub keep_alive_period_in_seconds: Option<u32>,
    /// Whether the traffic between instances is encrypted.
    pub encrypt_inter_container_traffic: bool,
    /// Whether the container has no network except its channels.
    pub enable_network_isolation: bool,
    /// Number of times that AWS restarts the job after an internal fault.
    pub max_retry_attempts: Option<u32>,
    /// Input mode of the data: `File`, `FastFile` or `Pipe`.
    pub input_mode: Option<String>,
    /// Whether the model is left as files below a prefix in place of a `model.tar.gz`.
    pub disable_output_compression: bool,
}

/// A git repository with a branch or commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitConfig {
    /// URL of the repository.
    pub repo: String,
    /// Branch or tag; the default branch if it is `None`.
    pub branch: Option<String>,
    /// Commit.
    pub commit: Option<String>,
}

/// Default number of instances.
pub const INSTANCE_COUNT: u32 = 1;
/// Default disk size of each instance in GB.
pub const VOLUME_SIZE: u32 = 30;
/// Default limit of a job's run in seconds: a day.
pub const MAX_RUN: u32 = 24 * 60 * 60;
/// Default folder of the checkpoints in a container.
pub const CHECKPOINT_LOCAL_PATH: &str = "/opt/ml/checkpoints";

/// Path of the packed scripts in the container, if they come in a channel.
const CODE_PATH: &str = "/opt/ml/input/data/code/sourcedir.tar.gz";

/// Tags that record the source of the scripts.
const REPO_TAG: &str = "epitome:git-repo";
const COMMIT_TAG: &str = "epitome:git-commit";

impl TrainingSpec {
    /// Gives a job without a name one that contains the time.
    pub fn name_after(&mut self, now: SystemTime) {
        self.job_name.get_or_insert_with(|| job_name_at("summarization", now));
    }

    /// Records the commit of the scripts in tags of the job.
    pub fn record_commit(&mut self, repo: &str, commit: &str) {
        self.tags.insert(REPO_TAG.into(), repo.into());
        self.tags.insert(COMMIT_TAG.into(), commit.into());
    }

    /// The name of the job.
    ///
    /// # Errors
    /// If it has none, or AWS does not allow it.
    pub fn name(&self) -> Result<&str> {
        let name = required(&self.job_name, "job_name")?;
        require_job_name(name)?;
        Ok(name)
    }

    /// The `s3://` URL of the packed scripts.
    ///
    /// # Errors
    /// If nothing says where to put them.
    pub fn source_url(&self) -> Result<String> {
        let location = match &self.code_location {
            Some(location) => location,
            None => required(&self.output_path, "output_path")?,
        };
        s3("code_location", location)?;
        Ok(format!("{}/{}/source/sourcedir.tar.gz", location.trim_end_matches('/'), self.name()?))
    }

    /// The body of CreateTrainingJob.
    ///
    /// # Errors
    /// If a required setting is missing, or a setting is invalid.
    pub fn request(&self, region: &str) -> Result<Value> {
        let output = required(&self.output_path, "output_path")?;
        s3("output_path", output)?;
        let image = match &self.image_uri {
            Some(image) => image.clone(),
            None => training_image(
                region,
                required(&self.transformers_version, "transformers_version")?,
                self.pytorch_version.as_deref(),
                self.py_version.as_deref(),
            )?,
        };
        let mut algorithm = json!({
            "TrainingInputMode": self.input_mode.as_deref().unwrap_or("File"),
            "TrainingImage": image,
            "EnableSageMakerMetricsTimeSeries": true,
        });
        if !self.metric_definitions.is_empty() {
            let metrics = self.metric_definitions.iter();
            algorithm["MetricDefinitions"] =
                metrics.map(|(name, regex)| json!({"Name": name, "Regex": regex})).collect();
        }
        let mut request = json!({
            "TrainingJobName": self.name()?,
            "AlgorithmSpecification": algorithm,
            "RoleArn": required(&self.role, "role")?,
            "OutputDataConfig": {"S3OutputPath": output},
            "ResourceConfig": {
                "InstanceType": required(&self.instance_type, "instance_type")?,
                "InstanceCount": self.instance_count.unwrap_or(INSTANCE_COUNT),
                "VolumeSizeInGB": self.volume_size.unwrap_or(VOLUME_SIZE),
            },
            "StoppingCondition": self.stopping()?,
            "HyperParameters": self.hyperparameters(region)?,
            "InputDataConfig": self.channels()?,
            // The estimator's default: no profiler runs.
            "ProfilerConfig": {"DisableProfiler": true},
        });
        if let Some(key) = &self.output_kms_key {
            request["OutputDataConfig"]["KmsKeyId"] = key.as_str().into();
        }
        if self.disable_output_compression {
            request["OutputDataConfig"]["CompressionType"] = "NONE".into();
        }
        if let Some(key) = &self.volume_kms_key {
            request["ResourceConfig"]["VolumeKmsKeyId"] = key.as_str().into();
        }
        if let Some(seconds) = self.keep_alive_period_in_seconds {
            request["ResourceConfig"]["KeepAlivePeriodInSeconds"] = seconds.into();
        }
        let mut add = |name: &str, value: Value| request[name] = value;
        if self.debugger_hook_config != Some(false) {
            // The estimator's default: the debugger collects nothing.
            let hook = json!({"S3OutputPath": output, "CollectionConfigurations": []});
            add("DebugHookConfig", hook);
        }
        if self.encrypt_inter_container_traffic {
            add("EnableInterContainerTrafficEncryption", true.into());
        }
        if self.enable_network_isolation {
            add("EnableNetworkIsolation", true.into());
        }
        if let Some(attempts) = self.max_retry_attempts {
            add("RetryStrategy", json!({"MaximumRetryAttempts": attempts}));
        }
        if self.use_spot_instances {
            add("EnableManagedSpotTraining", true.into());
        }
        if let Some(url) = &self.checkpoint_s3_uri {
            s3("checkpoint_s3_uri", url)?;
            let mut config = json!({"S3Uri": url});
            if let Some(path) = &self.checkpoint_local_path {
                config["LocalPath"] = path.as_str().into();
            }
            add("CheckpointConfig", config);
        } else if self.checkpoint_local_path.is_some() {
            return Err(Error::Invalid(
                "checkpoint_local_path is where checkpoint_s3_uri's checkpoints are: give both, or \
                 neither"
                    .into(),
            ));
        }
        if !self.environment.is_empty() {
            add("Environment", json!(self.environment));
        }
        if !self.tags.is_empty() {
            add("Tags", tags(&self.tags));
        }
        if !self.subnets.is_empty() {
            let network =
                json!({"Subnets": self.subnets, "SecurityGroupIds": self.security_group_ids});
            add("VpcConfig", network);
        }
        Ok(request)
    }

    fn stopping(&self) -> Result<Value> {
        let run = self.max_run.unwrap_or(MAX_RUN);
        let mut stopping = json!({"MaxRuntimeInSeconds": run});
        match (self.use_spot_instances, self.max_wait) {
            (false, Some(_)) => {
                return Err(Error::Invalid(
                    "max_wait is for use_spot_instances: set that too, or leave it out".into(),
                ));
            }
            (true, Some(wait)) if wait < run => {
                return Err(Error::Invalid(format!(
                    "max_wait ({wait} s) includes the time for running: make it at least max_run \
                     ({run} s)"
                )));
            }
            (true, wait) => stopping["MaxWaitTimeInSeconds"] = wait.unwrap_or(run).into(),
            (false, None) => {}
        }
        Ok(stopping)
    }

    /// The path of the script in the archive. A script that is packed alone loses its folder.
    fn program(&self) -> Result<&str> {
        let entry = required(&self.entry_point, "entry_point")?;
        match (&self.source_dir, Path::new(entry).file_name()) {
            (None, Some(name)) => Ok(name.to_str().unwrap_or(entry)),
            _ => Ok(entry),
        }
    }

    /// The hyperparameters, encoded as JSON for the training toolkit.
    fn hyperparameters(&self, region: &str) -> Result<Map<String, Value>> {
        let mut all = self.hyperparameters.clone();
        let scripts = match self.enable_network_isolation {
            true => CODE_PATH.into(),
            false => self.source_url()?,
        };
        let own = [
            ("sagemaker_submit_directory", Value::from(scripts)),
            ("sagemaker_program", self.program()?.into()),
            ("sagemaker_container_log_level", 20.into()),
            ("sagemaker_job_name", self.name()?.into()),
            ("sagemaker_region", region.into()),
        ];
        let instance_type = required(&self.instance_type, "instance_type")?;
        let distribution = self.distribution.as_ref();
        let distribution = distribution.map(|it| it.hyperparameters(instance_type)).transpose()?;
        for (name, value) in own.into_iter().chain(distribution.unwrap_or_default()) {
            all.insert(name.into(), value);
        }
        Ok(all.into_iter().map(|(name, value)| (name, Value::String(dumps(&value)))).collect())
    }

    fn channels(&self) -> Result<Value> {
        let channel = |(name, url): (&String, &String)| {
            s3(&format!("inputs.{name}"), url)?;
            Ok(json!({
                "ChannelName": name,
                "DataSource": {"S3DataSource": {
                    "S3DataType": "S3Prefix",
                    "S3DataDistributionType": "FullyReplicated",
                    "S3Uri": url,
                }},
            }))
        };
        // A container without a network gets its scripts in a channel.
        let scripts = match self.enable_network_isolation {
            true => Some(("code".to_owned(), self.source_url()?)),
            false => None,
        };
        let scripts = scripts.as_ref().map(|(name, url)| (name, url));
        self.inputs.iter().chain(scripts).map(channel).collect()
    }
}

fn required<'a>(value: &'a Option<String>, name: &str) -> Result<&'a str> {
    value.as_deref().filter(|value| !value.is_empty()).ok_or_else(|| {
        Error::Invalid(format!(
            "{name} is not given: set it in the file, or with --{}",
            name.replace('_', "-")
        ))
    })
}

fn s3(name: &str, url: &str) -> Result<()> {
    let bucket = url.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
    match bucket {
        Some(bucket) if !bucket.is_empty() => Ok(()),
        _ => Err(Error::Invalid(format!("{name} must be an s3://BUCKET/PREFIX URL, not '{url}'"))),
    }
}
