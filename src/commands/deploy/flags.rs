//! The flags of an endpoint's instances, and of its operation in production.

use clap::Args;
use epitome_aws::deployment::{AsyncOutput, DataCapture, Hosting, Rollout};

use crate::commands::seconds::Seconds;

#[derive(Args)]
#[command(next_help_heading = "Hosting")]
pub(super) struct HostingFlags {
    /// Type of the instances
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "ml.m5.xlarge",
        conflicts_with = "serverless"
    )]
    pub(super) instance_type: String,
    /// Number of instances
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "serverless")]
    instance_count: u32,
    /// Make a serverless endpoint, which has no instances
    #[arg(long)]
    serverless: bool,
    /// Memory of a serverless endpoint
    #[arg(long, value_name = "MB", default_value_t = 4096, requires = "serverless")]
    memory: u32,
    /// Requests that a serverless endpoint works on at a time
    #[arg(long, value_name = "N", default_value_t = 5, requires = "serverless")]
    concurrency: u32,
    /// Provisioned concurrency of a serverless endpoint: requests at a time without a cold start
    #[arg(long, value_name = "N", requires = "serverless")]
    provisioned_concurrency: Option<u32>,
    /// Make an asynchronous endpoint, which takes requests from S3 and puts answers below this
    /// prefix
    #[arg(long, value_name = "s3://...", conflicts_with = "serverless")]
    async_output: Option<String>,
    /// Requests that an asynchronous instance works on at a time
    #[arg(long, value_name = "N", requires = "async_output")]
    async_concurrency: Option<u32>,
    /// Prefix that errors are put below [default: failures/ below --async-output]
    #[arg(long, value_name = "s3://...", requires = "async_output")]
    async_failures: Option<String>,
    /// Key that encrypts asynchronous answers
    #[arg(long, value_name = "KEY", requires = "async_output")]
    async_kms_key: Option<String>,
    /// SNS topic that is notified of each asynchronous answer
    #[arg(long, value_name = "ARN", requires = "async_output")]
    async_success_topic: Option<String>,
    /// SNS topic that is notified of each asynchronous error
    #[arg(long, value_name = "ARN", requires = "async_output")]
    async_error_topic: Option<String>,
    /// Include the answers in the notifications
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
    /// Shares of the requests that the models get, in the order of the models. A later deploy with
    /// other shares shifts the requests
    #[arg(long, value_name = "W,W...", value_delimiter = ',')]
    pub(super) variant_weights: Vec<f64>,
    /// CloudWatch alarms that roll an update back when they go off
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    rollback_alarm: Vec<String>,
    /// Update this percentage of the instances first
    #[arg(long, value_name = "PERCENT")]
    canary: Option<u8>,
    /// How long alarms are watched before an update goes on
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::new(300))]
    bake: Seconds,
    /// Capture requests and answers below this prefix
    #[arg(long, value_name = "s3://...")]
    data_capture: Option<String>,
    /// Percentage of the requests that are captured
    #[arg(long, value_name = "N", default_value_t = 100, requires = "data_capture")]
    data_capture_percent: u8,
    /// KMS key that encrypts the instances' disks and the captured requests
    #[arg(long, value_name = "KEY")]
    pub(super) kms_key: Option<String>,
    /// Register the model as a version in this group of the model registry, which is made if
    /// missing
    #[arg(long, value_name = "NAME")]
    pub(super) model_package_group: Option<String>,
    /// Size of each instance's disk
    #[arg(long, value_name = "GB")]
    pub(super) volume_size: Option<u32>,
    /// Longest time for the download of the model, up to 3600
    #[arg(long, value_name = "SECONDS")]
    pub(super) model_data_download_timeout: Option<u32>,
    /// Longest time from the container's start to its first answer on /ping, up to 3600
    #[arg(long, value_name = "SECONDS")]
    pub(super) container_startup_health_check_timeout: Option<u32>,
    /// Name of the AWS image that the instances boot from
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
