//! `epitome deploy`

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use epitome_aws::deployment::{DeploymentSpec, Hosting, Outcome, deploy};
use epitome_aws::{Polling, S3Uri};
use serde_json::json;

use super::key_values::key_value;
use super::seconds::Seconds;
use crate::state_lines::StateLines;
use crate::{aws, interrupt, model_choice, s3_upload};

/// Put a bundle behind a SageMaker endpoint, or move an endpoint over to it
///
/// Running it again changes nothing, goes on where it failed, or updates an endpoint that keeps
/// answering meanwhile.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name of the endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: String,
    /// A model.tar.gz on S3; with --upload, the folder of a bundle, or a name in the store
    #[arg(short, long, value_name = "MODEL")]
    model: String,
    /// Send the bundle to S3 first, into a folder below this one that is named after what it holds
    #[arg(long, value_name = "s3://...")]
    upload: Option<S3Uri>,
    /// URI of the image in ECR
    #[arg(long, value_name = "URI", env = "EPITOME_IMAGE")]
    image: String,
    /// ARN of the role that the container runs as
    #[arg(long, value_name = "ARN", env = "SAGEMAKER_ROLE")]
    role: String,
    #[command(flatten)]
    hosting: HostingFlags,
    /// An environment variable of the container; may come several times
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = key_value)]
    environment: Vec<(String, String)>,
    /// A tag of all that is made; may come several times
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = key_value)]
    tags: Vec<(String, String)>,
    /// Any text: another one deploys anew, though all else is the same
    #[arg(long, value_name = "TEXT")]
    revision: Option<String>,
    /// Print the calls, and make none
    #[arg(long)]
    dry_run: bool,
    /// Time between two questions after the endpoint's state
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::new(10))]
    interval: Seconds,
}

#[derive(Args)]
#[command(next_help_heading = "What it runs on")]
struct HostingFlags {
    /// Type of the instances
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "ml.m5.xlarge",
        conflicts_with = "serverless"
    )]
    instance_type: String,
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
    /// Asynchronous: requests come from S3, answers go below this prefix
    #[arg(long, value_name = "s3://...", conflicts_with = "serverless")]
    async_output: Option<String>,
    /// Requests that an asynchronous instance works on at a time
    #[arg(long, value_name = "N", requires = "async_output")]
    async_concurrency: Option<u32>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let folder = match arguments.model.starts_with(S3Uri::SCHEME) || arguments.upload.is_none() {
        true => PathBuf::from(&arguments.model),
        false => model_choice::locate(Path::new(&arguments.model))?,
    };
    let address = arguments.upload.as_ref();
    let address = address.map(|prefix| s3_upload::address(&folder, prefix)).transpose()?;
    let spec = DeploymentSpec {
        endpoint: arguments.endpoint.clone(),
        image: arguments.image.clone(),
        model: address.as_ref().map_or_else(|| arguments.model.clone(), S3Uri::to_string),
        role: arguments.role.clone(),
        hosting: hosting(&arguments.hosting),
        environment: arguments.environment.iter().cloned().collect(),
        tags: arguments.tags.iter().cloned().collect(),
        revision: arguments.revision.clone(),
    };
    let steps = spec.steps()?;
    let out = &mut stdout().lock();
    if arguments.dry_run {
        for step in steps {
            writeln!(
                out,
                "{}",
                serde_json::to_string_pretty(&json!({step.operation: step.body}))?
            )?;
        }
        return Ok(out.flush()?);
    }
    let control_plane = aws::control_plane()?;
    if let Some(address) = &address {
        s3_upload::bundle(&folder, address)?;
    }
    let polling = Polling { interval: arguments.interval.0, progress: &StateLines::new() };
    let outcome = interrupt::during(|| deploy(&control_plane, &spec, polling))?;
    let seconds = start.elapsed().as_secs_f64();
    let endpoint = &spec.endpoint;
    match outcome {
        Outcome::Created => eprintln!("Created endpoint {endpoint} in {seconds:.0} s"),
        Outcome::Updated => eprintln!("Updated endpoint {endpoint} in {seconds:.0} s"),
        Outcome::Unchanged => eprintln!("Endpoint {endpoint} has these settings already"),
    }
    writeln!(out, "{endpoint}")?;
    Ok(out.flush()?)
}

fn hosting(flags: &HostingFlags) -> Hosting {
    let instance_type = flags.instance_type.clone();
    let count = flags.instance_count;
    if flags.serverless {
        Hosting::Serverless { memory: flags.memory, concurrency: flags.concurrency }
    } else if let Some(output) = &flags.async_output {
        Hosting::Async {
            instance_type,
            count,
            output: output.clone(),
            concurrency: flags.async_concurrency,
        }
    } else {
        Hosting::Instances { instance_type, count }
    }
}
