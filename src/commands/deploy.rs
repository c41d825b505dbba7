//! `epitome deploy`

mod flags;

use std::io::{Write, stdout};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use epitome_aws::Polling;
use epitome_aws::deployment::{
    DeploymentSpec, Hosting, Outcome, Package, Variant, deploy, register,
};

use self::flags::{HostingFlags, ProductionFlags};
use super::container_flags::{Container, ContainerFlags};
use super::key_values::TagFlags;
use super::seconds::Seconds;
use crate::failure::Usage;
use crate::output;
use crate::state_lines::StateLines;
use crate::{aws, interrupt};

/// Deploy a bundle to a SageMaker endpoint, or update an endpoint to it
///
/// Repeat the command to continue after a failure, or to update an endpoint, which keeps answering
/// meanwhile. It changes nothing where all is done.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name of the endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: String,
    /// A model.tar.gz on S3; with --upload, the folder of a bundle, or a name in the store. Several
    /// models share the requests; their names are A, B and so on, or given as NAME=MODEL
    #[arg(short, long = "model", value_name = "[NAME=]MODEL", required = true)]
    models: Vec<String>,
    #[command(flatten)]
    container: ContainerFlags,
    #[command(flatten)]
    hosting: HostingFlags,
    #[command(flatten)]
    production: ProductionFlags,
    #[command(flatten)]
    tags: TagFlags,
    /// Any text; another text deploys again, even if nothing else has changed
    #[arg(long, value_name = "TEXT")]
    revision: Option<String>,
    /// Print the AWS calls without making them
    #[arg(long)]
    dry_run: bool,
    /// Time between two checks of the endpoint's state
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::new(10))]
    interval: Seconds,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let models: Vec<&str> = arguments.models.iter().map(|model| named(model).1).collect();
    let containers = arguments.container.containers(&models)?;
    let spec = spec(arguments, &containers)?;
    let steps = spec.steps()?;
    let packages = packages(arguments, &spec);
    let out = &mut stdout().lock();
    if arguments.dry_run {
        let steps = packages.iter().flat_map(Package::steps).chain(steps);
        return Ok(output::calls(out, steps.map(|step| (step.operation, step.body)))?);
    }
    let control_plane = aws::control_plane()?;
    eprintln!("{}", announcement(&spec, control_plane.region()));
    for container in &containers {
        container.send()?;
    }
    for package in &packages {
        eprintln!("Registered as {}", register(&control_plane, package)?);
    }
    let polling = Polling { interval: arguments.interval.0, progress: &StateLines::new() };
    let outcome = interrupt::during(|| deploy(&control_plane, &spec, polling))?;
    let seconds = start.elapsed().as_secs_f64();
    let endpoint = &spec.endpoint;
    match outcome {
        Outcome::Created => eprintln!("Created endpoint {endpoint} in {seconds:.0} s"),
        Outcome::Updated => eprintln!("Updated endpoint {endpoint} in {seconds:.0} s"),
        Outcome::Shifted => eprintln!("Changed the weights of endpoint {endpoint}"),
        Outcome::Unchanged => eprintln!("Endpoint {endpoint} has these settings already"),
    }
    writeln!(out, "{endpoint}")?;
    Ok(out.flush()?)
}

fn spec(arguments: &Arguments, containers: &[Container]) -> Result<DeploymentSpec> {
    let production = &arguments.production;
    let weights = &production.variant_weights;
    if !weights.is_empty() && weights.len() != containers.len() {
        bail!(Usage(format!(
            "--variant-weights gives {} weights for {} models: give one for each --model",
            weights.len(),
            containers.len()
        )));
    }
    let variants = match containers {
        [container] if named(&arguments.models[0]).0.is_none() => {
            vec![Variant::only(container.model.clone())]
        }
        _ => {
            let variant = |(at, container): (usize, &Container)| Variant {
                name: named(&arguments.models[at]).0.map_or_else(|| letter(at), str::to_owned),
                weight: weights.get(at).copied().unwrap_or(1.0),
                model: container.model.clone(),
            };
            containers.iter().enumerate().map(variant).collect()
        }
    };
    Ok(DeploymentSpec {
        endpoint: arguments.endpoint.clone(),
        variants,
        hosting: arguments.hosting.hosting(),
        volume_size: production.volume_size,
        download_timeout: production.model_data_download_timeout,
        startup_timeout: production.container_startup_health_check_timeout,
        ami_version: production.inference_ami_version.clone(),
        capture: production.capture(),
        kms_key: production.kms_key.clone(),
        rollout: production.rollout(),
        tags: arguments.tags.tags.iter().cloned().collect(),
        revision: arguments.revision.clone(),
    })
}

/// The versions of the model registry that the models become.
fn packages<'a>(arguments: &'a Arguments, spec: &'a DeploymentSpec) -> Vec<Package<'a>> {
    let Some(group) = &arguments.production.model_package_group else { return Vec::new() };
    let package = |variant: &'a Variant| Package {
        group,
        model: &variant.model,
        instance_type: &arguments.hosting.instance_type,
        tags: &spec.tags,
    };
    spec.variants.iter().map(package).collect()
}

/// Splits `NAME=MODEL` or `MODEL` into the variant's name and its model.
fn named(model: &str) -> (Option<&str>, &str) {
    match model.split_once('=') {
        Some((name, rest))
            if !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') =>
        {
            (Some(name), rest)
        }
        _ => (None, model),
    }
}

/// Name of a variant: A, B and so on.
fn letter(at: usize) -> String {
    match u8::try_from(at) {
        Ok(at) if at < 26 => char::from(b'A' + at).to_string(),
        _ => format!("V{at}"),
    }
}

/// Says which resources are made, and until when AWS bills them.
fn announcement(spec: &DeploymentSpec, region: &str) -> String {
    let DeploymentSpec { endpoint, variants, .. } = spec;
    let until = format!("until 'epitome undeploy --endpoint {endpoint}'");
    let each = if variants.len() > 1 { " for each model" } else { "" };
    let (on, bill) = match &spec.hosting {
        Hosting::Instances { instance_type, count } => (
            format!("{count} x {instance_type}{each}"),
            format!("the instances, busy or not, {until}"),
        ),
        Hosting::Async { instance_type, count, .. } => (
            format!("{count} x {instance_type}, asynchronous"),
            format!("the instances, busy or not, {until}, or until 'epitome autoscale' takes them"),
        ),
        Hosting::Serverless { memory, provisioned: None, .. } => (
            format!("{memory} MB of memory, serverless"),
            "the time that requests take, and nothing in between".into(),
        ),
        Hosting::Serverless { memory, provisioned: Some(ready), .. } => (
            format!("{memory} MB of memory, serverless, ready for {ready} requests at a time"),
            format!("what is kept ready {until}, and the time that requests take"),
        ),
    };
    let captured = spec.capture.as_ref().map_or_else(String::new, |capture| {
        format!(" What is kept of requests in {} is billed as storage.", capture.output)
    });
    format!("Endpoint {endpoint} in {region} on {on}: AWS bills {bill}.{captured}")
}
