//! `epitome autoscale`

use std::io::{Write, stdout};

use anyhow::Result;
use clap::Args;
use epitome_aws::autoscaling::{Scaling, disable};
use serde_json::json;

use crate::aws;

/// Have the number of an endpoint's instances follow its invocations
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name of the endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: String,
    /// Fewest instances; 0 is for asynchronous endpoints
    #[arg(long, value_name = "N", default_value_t = 1)]
    min: u32,
    /// Most instances
    #[arg(long, value_name = "N", default_value_t = 4)]
    max: u32,
    /// Invocations a minute that an instance shall have
    #[arg(long, value_name = "N", default_value_t = 70.0)]
    target: f64,
    /// Seconds from one removal of instances to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    scale_in_cooldown: u32,
    /// Seconds from one addition of instances to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    scale_out_cooldown: u32,
    /// Leave the endpoint at the instances that it has
    #[arg(long, conflicts_with_all = ["min", "max", "target", "dry_run"])]
    off: bool,
    /// Print the calls, and make none
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
    let scaling = Scaling {
        min: arguments.min,
        max: arguments.max,
        target: arguments.target,
        scale_in_cooldown: arguments.scale_in_cooldown,
        scale_out_cooldown: arguments.scale_out_cooldown,
    };
    let calls = scaling.calls(endpoint)?;
    if arguments.dry_run {
        let out = &mut stdout().lock();
        for (operation, body) in calls {
            writeln!(out, "{}", serde_json::to_string_pretty(&json!({operation: body}))?)?;
        }
        return Ok(out.flush()?);
    }
    scaling.enable(&aws::control_plane()?, endpoint)?;
    eprintln!(
        "Endpoint {endpoint} has {} to {} instances, at {} invocations a minute each",
        scaling.min, scaling.max, scaling.target
    );
    Ok(())
}
