//! The settings of a training job, from a file and from flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use clap::Args;
use epitome_aws::training::{
    CHECKPOINT_LOCAL_PATH, Distribution, GitConfig, INSTANCE_COUNT, MAX_RUN, TrainingSpec,
    VOLUME_SIZE,
};
use serde_json::Value;

use crate::commands::key_values::{TagFlags, key_value};
use crate::failure::Usage;

/// A flag for each setting.
#[derive(Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct SettingFlags {
    /// Name of the job; without it, the name contains the time
    #[arg(long, value_name = "NAME")]
    job_name: Option<String>,
    /// ARN of the role that the job runs as [default: the environment variable SAGEMAKER_ROLE]
    #[arg(long, value_name = "ARN")]
    role: Option<String>,
    /// Script to run, relative to --source-dir
    #[arg(long, value_name = "FILE")]
    entry_point: Option<String>,
    /// Folder of the scripts; with --git-repo, a folder in the repository
    #[arg(long, value_name = "DIR")]
    source_dir: Option<PathBuf>,
    /// Take the scripts from this git repository, and record its commit in the job's tags
    #[arg(long, value_name = "URL")]
    git_repo: Option<String>,
    /// Branch or tag of the git repository
    #[arg(long, value_name = "NAME")]
    git_branch: Option<String>,
    /// Commit of the git repository
    #[arg(long, value_name = "SHA")]
    git_commit: Option<String>,
    /// Folder on S3 for the packed scripts [default: --output-path]
    #[arg(long, value_name = "s3://...")]
    code_location: Option<String>,
    /// Folder on S3 for the model
    #[arg(long, value_name = "s3://...")]
    output_path: Option<String>,
    /// Data of a channel of the job; may come several times
    #[arg(long = "input", value_name = "CHANNEL=s3://...", value_parser = key_value)]
    inputs: Vec<(String, String)>,
    /// An argument of the script, in JSON or as text; may come several times
    #[arg(long = "hyperparameter", value_name = "NAME=VALUE", value_parser = key_value)]
    hyperparameters: Vec<(String, String)>,
    /// Version of transformers in HuggingFace's container
    #[arg(long, value_name = "VERSION")]
    transformers_version: Option<String>,
    /// Version of PyTorch in the container [default: the newest]
    #[arg(long, value_name = "VERSION")]
    pytorch_version: Option<String>,
    /// Version of Python in the container, such as py36
    #[arg(long, value_name = "VERSION")]
    py_version: Option<String>,
    /// Container image in place of HuggingFace's
    #[arg(long, value_name = "URI")]
    image_uri: Option<String>,
    /// Type of the instances
    #[arg(long, value_name = "TYPE")]
    instance_type: Option<String>,
    #[arg(
        long,
        value_name = "N",
        help = format!("Number of instances [default: {INSTANCE_COUNT}]")
    )]
    instance_count: Option<u32>,
    #[arg(
        long,
        value_name = "GB",
        help = format!("Disk of each instance [default: {VOLUME_SIZE}]")
    )]
    volume_size: Option<u32>,
    #[arg(
        long,
        value_name = "SECONDS",
        help = format!("How long the job may run [default: {MAX_RUN}]")
    )]
    max_run: Option<u32>,
    /// Use spot instances, which cost less, and which AWS may take away
    #[arg(long)]
    use_spot_instances: bool,
    /// Longest time to wait for spot instances and run on them [default: --max-run]
    #[arg(long, value_name = "SECONDS")]
    max_wait: Option<u32>,
    /// Keep checkpoints at this address, so that the job continues after it loses its instance
    #[arg(long, value_name = "s3://...")]
    checkpoint_s3_uri: Option<String>,
    #[arg(
        long,
        value_name = "DIR",
        help = format!("Folder of the checkpoints [default: {CHECKPOINT_LOCAL_PATH}]")
    )]
    checkpoint_local_path: Option<String>,
    /// An environment variable of the container; may come several times
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = key_value)]
    environment: Vec<(String, String)>,
    #[command(flatten)]
    tags: TagFlags,
    /// Distributed training on several GPUs or instances: smdistributed, torch_distributed or mpi.
    /// A settings file can set their options
    #[arg(long, value_name = "NAME")]
    distribution: Option<Distribution>,
    /// A metric that AWS finds in the log by a regular expression; may come several times
    #[arg(long = "metric-definition", value_name = "NAME=REGEX", value_parser = key_value)]
    metric_definitions: Vec<(String, String)>,
    /// Subnets that the job runs in
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    subnets: Vec<String>,
    /// Security groups that the job runs in
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    security_group_ids: Vec<String>,
    /// KMS key that encrypts the output of the job
    #[arg(long, value_name = "KEY")]
    output_kms_key: Option<String>,
    /// Key that encrypts the instances' disks
    #[arg(long, value_name = "KEY")]
    volume_kms_key: Option<String>,
    /// Time to keep the instances for a next job; AWS bills it
    #[arg(long, value_name = "SECONDS")]
    keep_alive_period_in_seconds: Option<u32>,
    /// Encrypt the traffic between instances
    #[arg(long)]
    encrypt_inter_container_traffic: bool,
    /// Let the container reach only its input channels
    #[arg(long)]
    enable_network_isolation: bool,
    /// Number of times that AWS restarts the job after an internal fault
    #[arg(long, value_name = "N")]
    max_retry_attempts: Option<u32>,
    /// How data reaches the container: File, FastFile or Pipe
    #[arg(long, value_name = "MODE")]
    input_mode: Option<String>,
    /// Write the model as uncompressed files below a prefix
    #[arg(long)]
    disable_output_compression: bool,
    /// false turns off SageMaker's debugger
    #[arg(long, value_name = "BOOL")]
    debugger_hook_config: Option<bool>,
}

/// The settings of the file, if there is one. Flags override them.
pub(super) fn read(file: Option<&Path>, flags: &SettingFlags) -> Result<TrainingSpec> {
    let mut spec = match file {
        Some(file) => from_file(file, flags)?,
        None => TrainingSpec::default(),
    };
    flags.set(&mut spec)?;
    if spec.role.is_none() {
        spec.role = env::var("SAGEMAKER_ROLE").ok();
    }
    Ok(spec)
}

fn from_file(path: &Path, flags: &SettingFlags) -> Result<TrainingSpec> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the settings in '{}'", path.display()))?;
    let mut spec: TrainingSpec = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        Usage(format!(
            "line {line} of '{}' is not a setting of a training job: {}",
            path.display(),
            error.message()
        ))
    })?;
    if spec.git_config.is_none() && flags.git_repo.is_none() {
        // Paths in the file are relative to the file.
        let folder = path.parent().unwrap_or(Path::new(""));
        match (&mut spec.source_dir, &mut spec.entry_point) {
            (Some(source), _) => *source = folder.join(&source),
            (None, Some(entry)) if flags.source_dir.is_none() => {
                *entry = folder.join(&entry).display().to_string();
            }
            _ => {}
        }
    }
    Ok(spec)
}

impl SettingFlags {
    fn set(&self, spec: &mut TrainingSpec) -> Result<()> {
        for (flag, setting) in [
            (&self.job_name, &mut spec.job_name),
            (&self.role, &mut spec.role),
            (&self.entry_point, &mut spec.entry_point),
            (&self.code_location, &mut spec.code_location),
            (&self.output_path, &mut spec.output_path),
            (&self.transformers_version, &mut spec.transformers_version),
            (&self.pytorch_version, &mut spec.pytorch_version),
            (&self.py_version, &mut spec.py_version),
            (&self.image_uri, &mut spec.image_uri),
            (&self.instance_type, &mut spec.instance_type),
            (&self.checkpoint_s3_uri, &mut spec.checkpoint_s3_uri),
            (&self.checkpoint_local_path, &mut spec.checkpoint_local_path),
            (&self.output_kms_key, &mut spec.output_kms_key),
            (&self.volume_kms_key, &mut spec.volume_kms_key),
            (&self.input_mode, &mut spec.input_mode),
        ] {
            set(flag, setting);
        }
        for (flag, setting) in [
            (&self.instance_count, &mut spec.instance_count),
            (&self.volume_size, &mut spec.volume_size),
            (&self.max_run, &mut spec.max_run),
            (&self.max_wait, &mut spec.max_wait),
            (&self.keep_alive_period_in_seconds, &mut spec.keep_alive_period_in_seconds),
            (&self.max_retry_attempts, &mut spec.max_retry_attempts),
        ] {
            set(flag, setting);
        }
        set(&self.source_dir, &mut spec.source_dir);
        set(&self.distribution, &mut spec.distribution);
        set(&self.debugger_hook_config, &mut spec.debugger_hook_config);
        for (flag, setting) in [
            (self.use_spot_instances, &mut spec.use_spot_instances),
            (self.encrypt_inter_container_traffic, &mut spec.encrypt_inter_container_traffic),
            (self.enable_network_isolation, &mut spec.enable_network_isolation),
            (self.disable_output_compression, &mut spec.disable_output_compression),
        ] {
            *setting |= flag;
        }
        for (flag, setting) in [
            (&self.subnets, &mut spec.subnets),
            (&self.security_group_ids, &mut spec.security_group_ids),
        ] {
            if !flag.is_empty() {
                setting.clone_from(flag);
            }
        }
        add(&self.metric_definitions, &mut spec.metric_definitions);
        add(&self.inputs, &mut spec.inputs);
        add(&self.environment, &mut spec.environment);
        add(&self.tags.tags, &mut spec.tags);
        for (name, text) in &self.hyperparameters {
            let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
            spec.hyperparameters.insert(name.clone(), value);
        }
        self.set_git(spec)
    }

    fn set_git(&self, spec: &mut TrainingSpec) -> Result<()> {
        if let Some(repo) = &self.git_repo {
            let config = spec.git_config.get_or_insert_with(GitConfig::default);
            config.repo.clone_from(repo);
        }
        match &mut spec.git_config {
            Some(config) => {
                set(&self.git_branch, &mut config.branch);
                set(&self.git_commit, &mut config.commit);
            }
            None if self.git_branch.is_some() || self.git_commit.is_some() => {
                bail!(Usage(
                    "--git-branch and --git-commit choose what to take from a repository: give \
                     --git-repo too"
                        .into()
                ))
            }
            None => {}
        }
        Ok(())
    }
}

fn set<T: Clone>(flag: &Option<T>, setting: &mut Option<T>) {
    if flag.is_some() {
        setting.clone_from(flag);
    }
}

fn add(flags: &[(String, String)], settings: &mut BTreeMap<String, String>) {
    settings.extend(flags.iter().cloned());
}
