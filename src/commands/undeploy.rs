//! `epitome undeploy`

use std::io::{IsTerminal, Write, stderr, stdin, stdout};

use anyhow::{Result, bail};
use clap::Args;
use epitome_aws::Polling;
use epitome_aws::deployment::{Removal, remove};

use super::seconds::Seconds;
use crate::failure::Usage;
use crate::state_lines::StateLines;
use crate::{aws, interrupt};

/// Remove the resources that `deploy` made for an endpoint
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name of the endpoint
    #[arg(long, value_name = "NAME", required_unless_present = "all")]
    endpoint: Option<String>,
    /// Remove everything that `deploy` made in the region
    #[arg(long, conflicts_with = "endpoint")]
    all: bool,
    /// Remove without asking
    #[arg(short, long)]
    yes: bool,
    /// Only list the resources
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Time between two checks of the endpoint's state
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::new(5))]
    interval: Seconds,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let control_plane = aws::control_plane()?;
    let (removals, what) = match &arguments.endpoint {
        Some(name) => (vec![Removal::find(&control_plane, name)?], format!("endpoint {name}")),
        None => (Removal::find_all(&control_plane)?, "any deployment".into()),
    };
    if removals.iter().all(Removal::is_empty) {
        let region = control_plane.region();
        eprintln!("There is nothing of {what} in {region}");
        return Ok(());
    }
    {
        let out = &mut stdout().lock();
        for thing in removals.iter().flat_map(Removal::list) {
            writeln!(out, "{thing}")?;
        }
        out.flush()?;
    }
    if arguments.dry_run || !arguments.yes && !agreed()? {
        return Ok(());
    }
    let polling = Polling { interval: arguments.interval.0, progress: &StateLines::new() };
    interrupt::during(|| {
        removals.iter().try_for_each(|removal| remove(&control_plane, removal, polling))
    })?;
    eprintln!("Removed. The model and the image stay where they are, in S3 and ECR");
    Ok(())
}

/// Asks the user for consent.
fn agreed() -> Result<bool> {
    if !stdin().is_terminal() {
        bail!(Usage(
            "nothing was removed: standard input is not a terminal to ask on, so confirm with --yes"
                .into()
        ));
    }
    write!(stderr(), "Remove all of this? [y/N] ")?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
