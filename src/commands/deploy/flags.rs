//! What an endpoint runs on, and what production asks for.

use clap::Args;
use epitome_aws::deployment::{AsyncOutput, DataCapture, Hosting, Rollout};

use crate::commands::seconds::Seconds;

#[derive(Args)]
#[command(next_help_heading = "What it runs on")]
pub(super) struct HostingFlags {
    /// Type of the instances
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "ml.m5.xlarge",
        conflicts_with = "serverless"
    )]
    pub(super) instance_type: String,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "serverless")]
    instance_count: u32,
    /// No instances: memory for each request as it comes
    #[arg(long)]
    serverless: bool,
    /// Memory of a serverless endpoint
    #[arg(long, value_name = "MB", default_value_t = 4096, requires = "serverless")]
    memory: u32,
    /// Requests that a serverless endpoint works on at a time
    #[arg(long, value_name = "N", default_value_t = 5, requires = "serverless")]
    concurrency: u32,
    /// Requests at a time that a serverless endpoint is kept ready for, so that none waits for a
    /// start
    #[arg(long, value_name = "N", requires = "serverless")]
    provisioned_concurrency: Option<u32>,
    /// Asynchronous: requests come from S3, answers go below this prefix
    #[arg(long, value_name = "s3://...", conflicts_with = "serverless")]
    async_output: Option<String>,
    /// Requests that an asynchronous instance works on at a time
    #[arg(long, value_name = "N", requires = "async_output")]
    async_concurrency: Option<u32>,
    /// Prefix of errors [default: failures/ below --async-output]
    #[arg(long, value_name = "s3://...", requires = "async_output")]
    async_failures: Option<String>,
    /// Key that encrypts asynchronous answers
    #[arg(long, value_name = "KEY", requires = "async_output")]
    async_kms_key: Option<String>,
    /// Topic that is told of each asynchronous answer
    #[arg(long, value_name = "ARN", requires = "async_output")]
    async_success_topic: Option<String>,
    /// Topic that is told of each asynchronous error
    #[arg(long, value_name = "ARN", requires = "async_output")]
    async_error_topic: Option<String>,
    /// Send the topics the answers too
    #[arg(long, requires = "async_output")]
    async_include_response: bool,
}

impl HostingFlags {
    pub(super) fn hosting(&self) -> Hosting {
        let instance_type = self.instance_type.clone();
        let count = self.instance_count;
        if self.serverless {
            Hosting::Serverless {
                memory: self.memory,
                concurrency: self.concurrency,
                provisioned: self.provisioned_concurrency,
            }
        } else if let Some(answers) = &self.async_output {
            let output = AsyncOutput {
                answers: answers.clone(),
                failures: self.async_failures.clone(),
                kms_key: self.async_kms_key.clone(),
                success_topic: self.async_success_topic.clone(),
                error_topic: self.async_error_topic.clone(),
                include_response: self.async_include_response,
            };
            Hosting::Async { instance_type, count, output, concurrency: self.async_concurrency }
        } else {
            Hosting::Instances { instance_type, count }
        }
    }
}

#[derive(Args)]
#[command(next_help_heading = "Production")]
pub(super) struct ProductionFlags {
    /// Shares of the requests that the models get, in their order; others later shift them
    #[arg(long, value_name = "W,W...", value_delimiter = ',')]
    pub(super) variant_weights: Vec<f64>,
    /// CloudWatch alarms that take an update back when they go off
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    rollback_alarm: Vec<String>,
    /// Update so many percent of the instances first
    #[arg(long, value_name = "PERCENT")]
    canary: Option<u8>,
    /// How long alarms are watched before an update goes on
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::new(300))]
    bake: Seconds,
    /// Keep requests and answers below this prefix
    #[arg(long, value_name = "s3://...")]
    data_capture: Option<String>,
    /// Of a hundred requests, how many are kept
    #[arg(long, value_name = "N", default_value_t = 100, requires = "data_capture")]
    data_capture_percent: u8,
    /// Key that encrypts the instances' disks and what is kept of requests
    #[arg(long, value_name = "KEY")]
    pub(super) kms_key: Option<String>,
    /// Make the model a version of this group of the model registry, which is made if need be
    #[arg(long, value_name = "NAME")]
    pub(super) model_package_group: Option<String>,
    /// Disk of each instance
    #[arg(long, value_name = "GB")]
    pub(super) volume_size: Option<u32>,
    /// How long fetching the model may take, up to 3600
    #[arg(long, value_name = "SECONDS")]
    pub(super) model_data_download_timeout: Option<u32>,
    /// How long the container may take until it answers /ping, up to 3600
    #[arg(long, value_name = "SECONDS")]
    pub(super) container_startup_health_check_timeout: Option<u32>,
    /// What the instances boot from, by AWS's name
    #[arg(long, value_name = "NAME")]
    pub(super) inference_ami_version: Option<String>,
}

impl ProductionFlags {
    pub(super) fn rollout(&self) -> Rollout {
        Rollout { alarms: self.rollback_alarm.clone(), canary: self.canary, bake: self.bake.0 }
    }

    pub(super) fn capture(&self) -> Option<DataCapture> {
        let output = self.data_capture.clone()?;
        Some(DataCapture { output, percent: self.data_capture_percent })
    }
}
