//! `epitome autoscale`

use std::io::stdout;

use anyhow::Result;
use clap::Args;
use epitome_aws::VARIANT;
use epitome_aws::autoscaling::{Scaling, Target, disable};

use crate::{aws, output};

/// Scale the number of an endpoint's instances with its invocations
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name of the endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: String,
    /// Name of the variant, if the endpoint has several
    #[arg(long, value_name = "NAME", default_value = VARIANT)]
    variant: String,
    /// Fewest instances; 0 is for asynchronous endpoints, with --backlog
    #[arg(long, value_name = "N", default_value_t = 1)]
    min: u32,
    /// Most instances
    #[arg(long, value_name = "N", default_value_t = 4)]
    max: u32,
    /// Target number of invocations per instance and minute
    #[arg(long, value_name = "N", default_value_t = 70.0)]
    target: f64,
    /// Asynchronous endpoint: target number of waiting requests per instance
    #[arg(long, value_name = "N", conflicts_with_all = ["target", "provisioned"])]
    backlog: Option<f64>,
    /// Serverless endpoint: target share of the provisioned concurrency that is in use
    #[arg(long, value_name = "SHARE", conflicts_with = "target")]
    provisioned: Option<f64>,
    /// Shortest time in seconds between two removals of instances
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    scale_in_cooldown: u32,
    /// Shortest time in seconds between two additions of instances
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    scale_out_cooldown: u32,
    /// Remove the scaling, and keep the endpoint's current instances
    #[arg(
        long,
        conflicts_with_all = ["min", "max", "target", "backlog", "provisioned", "dry_run"]
    )]
    off: bool,
    /// Print the AWS calls without making them
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let endpoint = &arguments.endpoint;
    if arguments.off {
        disable(&aws::control_plane()?, endpoint)?;
        eprintln!("Endpoint {endpoint} keeps the instances that it has");
        return Ok(());
    }
    let target = match (arguments.backlog, arguments.provisioned) {
        (Some(requests), _) => Target::Backlog(requests),
        (None, Some(share)) => Target::Provisioned(share),
        (None, None) => Target::Invocations(arguments.target),
    };
    let scaling = Scaling {
        variant: arguments.variant.clone(),
        min: arguments.min,
        max: arguments.max,
        target,
        scale_in_cooldown: arguments.scale_in_cooldown,
        scale_out_cooldown: arguments.scale_out_cooldown,
    };
    let calls = scaling.calls(endpoint)?;
    if arguments.dry_run {
        let calls = calls.into_iter().map(|(_, operation, body)| (operation, body));
        return Ok(output::calls(&mut stdout().lock(), calls)?);
    }
    scaling.enable(&aws::control_plane()?, endpoint)?;
    let Scaling { min, max, .. } = scaling;
    let (what, aim) = match target {
        Target::Invocations(n) => ("instances", format!("{n} invocations a minute each")),
        Target::Backlog(n) => ("instances", format!("{n} waiting requests each")),
        Target::Provisioned(share) => ("requests ready", format!("{share} of them in use")),
    };
    eprintln!(
        "Endpoint {endpoint} has {min} to {max} {what}, at {aim}: AWS bills at least {min} of them \
         until 'epitome undeploy --endpoint {endpoint}'"
    );
    Ok(())
}
