//! What a training job is asked for: the settings of the HuggingFace estimator, under its names.

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

/// The settings of a training job, as the HuggingFace estimator of SageMaker's Python SDK has them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingSpec {
    /// Name of the job.
    pub job_name: Option<String>,
    /// The role that the job runs as, by its ARN.
    pub role: Option<String>,
    /// An image, in place of HuggingFace's.
    pub image_uri: Option<String>,
    /// Version of transformers in HuggingFace's image.
    pub transformers_version: Option<String>,
    /// Version of PyTorch there; the newest where none is given.
    pub pytorch_version: Option<String>,
    /// Python there, as `py36`.
    pub py_version: Option<String>,
    /// The script that is run, below `source_dir`; or its path, where it is the only one.
    pub entry_point: Option<String>,
    /// A local folder of scripts; within the repository where `git_config` is given.
    pub source_dir: Option<PathBuf>,
    /// A repository that the scripts come from.
    pub git_config: Option<GitConfig>,
    /// `s3://` prefix that the packed scripts are put below; `output_path` where none is given.
    pub code_location: Option<String>,
    /// `s3://` prefix that the model is put below.
    pub output_path: Option<String>,
    /// The instances.
    pub instance_type: Option<String>,
    /// How many of them; [`INSTANCE_COUNT`] where it is not given.
    pub instance_count: Option<u32>,
    /// Disk of each, in GB; [`VOLUME_SIZE`] where it is not given.
    pub volume_size: Option<u32>,
    /// Seconds that the job may run; [`MAX_RUN`] where it is not given.
    pub max_run: Option<u32>,
    /// Take instances that may be taken away, for less.
    pub use_spot_instances: bool,
    /// Seconds for waiting and running on such instances.
    pub max_wait: Option<u32>,
    /// `s3://` prefix that checkpoints are kept below, so that a job goes on after it lost its
    /// instance.
    pub checkpoint_s3_uri: Option<String>,
    /// Where the container has them; [`CHECKPOINT_LOCAL_PATH`] where it is not given.
    pub checkpoint_local_path: Option<String>,
    /// Channels: names, and the `s3://` prefixes of their data.
    pub inputs: BTreeMap<String, String>,
    /// Arguments of the script.
    pub hyperparameters: Map<String, Value>,
    /// Environment variables of the container.
    pub environment: BTreeMap<String, String>,
    /// Tags of the job.
    pub tags: BTreeMap<String, String>,
    /// Metrics that AWS itself shall find in the log: names and regular expressions.
    pub metric_definitions: BTreeMap<String, String>,
    /// Subnets of the job's own network.
    pub subnets: Vec<String>,
    /// Security groups there.
    pub security_group_ids: Vec<String>,
    /// How the processes of several GPUs or instances work together.
    pub distribution: Option<Distribution>,
    /// `false` leaves out SageMaker's debugger, which the estimator configures to collect nothing.
    pub debugger_hook_config: Option<bool>,
    /// Key that encrypts the model and what else the job leaves.
    pub output_kms_key: Option<String>,
    /// Key that encrypts the instances' disks.
    pub volume_kms_key: Option<String>,
    /// Seconds that the instances are kept for a next job, and billed.
    pub keep_alive_period_in_seconds: Option<u32>,
    /// Encrypt what instances send each other.
    pub encrypt_inter_container_traffic: bool,
    /// Let the container reach nothing but its channels.
    pub enable_network_isolation: bool,
    /// How often AWS starts the job again after a fault of its own.
    pub max_retry_attempts: Option<u32>,
    /// How data reaches the container: `File`, `FastFile` or `Pipe`.
    pub input_mode: Option<String>,
    /// Leave the model as files below a prefix, not as a `model.tar.gz`.
    pub disable_output_compression: bool,
}

/// A repository, and which of its commits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitConfig {
    /// Its URL.
    pub repo: String,
    /// A branch or tag; the default one where none is given.
    pub branch: Option<String>,
    /// A commit there.
    pub commit: Option<String>,
}

/// Instances of a job that does not say how many.
pub const INSTANCE_COUNT: u32 = 1;
/// Disk of each instance in GB, where the job does not say.
pub const VOLUME_SIZE: u32 = 30;
/// Seconds that a job may run, where it does not say: a day.
pub const MAX_RUN: u32 = 24 * 60 * 60;
/// Where a container has its checkpoints, unless the job says otherwise.
pub const CHECKPOINT_LOCAL_PATH: &str = "/opt/ml/checkpoints";

/// Where the channel of the scripts has them.
const CODE_PATH: &str = "/opt/ml/input/data/code/sourcedir.tar.gz";

/// Tags that record where the scripts came from.
const REPO_TAG: &str = "epitome:git-repo";
const COMMIT_TAG: &str = "epitome:git-commit";

impl TrainingSpec {
    /// Names the job after the time, where it has no name.
    pub fn name_after(&mut self, now: SystemTime) {
        self.job_name.get_or_insert_with(|| job_name_at("summarization", now));
    }

    /// Records the commit that the scripts were taken from, as tags of the job.
    pub fn record_commit(&mut self, repo: &str, commit: &str) {
        self.tags.insert(REPO_TAG.into(), repo.into());
        self.tags.insert(COMMIT_TAG.into(), commit.into());
    }

    /// The name of the job.
    ///
    /// # Errors
    /// Where it has none, or one that AWS does not allow.
    pub fn name(&self) -> Result<&str> {
        let name = required(&self.job_name, "job_name")?;
        require_job_name(name)?;
        Ok(name)
    }

    /// `s3://` URL of the packed scripts.
    ///
    /// # Errors
    /// Where nothing says where to put them.
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
    /// Where something needed is missing, or cannot be.
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
            // The estimator's own: no profiler runs.
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
            // The estimator's own: the debugger collects nothing.
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

    /// The script's name in the archive: a script that is packed alone leaves its folder behind.
    fn program(&self) -> Result<&str> {
        let entry = required(&self.entry_point, "entry_point")?;
        match (&self.source_dir, Path::new(entry).file_name()) {
            (None, Some(name)) => Ok(name.to_str().unwrap_or(entry)),
            _ => Ok(entry),
        }
    }

    /// Everything in JSON, as the training toolkit in the container reads it.
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
        // A container that reaches nothing has its scripts in a channel.
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
