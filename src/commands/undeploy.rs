//! `epitome undeploy`

use std::io::{IsTerminal, Write, stderr, stdin, stdout};

use anyhow::{Result, bail};
use clap::Args;
use epitome_endpoint::aws::Client;
use epitome_endpoint::aws::deployment::{Removal, remove};

use crate::aws_progress::{StateLines, waiting};
use crate::failure::Usage;

/// List what `deploy` made for an endpoint, and remove it
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name of the endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: String,
    /// Remove without asking
    #[arg(short, long)]
    yes: bool,
    /// Only list
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Seconds between two looks at the endpoint
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    interval: f64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let client = Client::connect()?;
    let name = &arguments.endpoint;
    let removal = Removal::find(&client, name)?;
    if removal.is_empty() {
        eprintln!("There is nothing of endpoint {name} in {}", client.region());
        return Ok(());
    }
    {
        let out = &mut stdout().lock();
        for thing in removal.list() {
            writeln!(out, "{thing}")?;
        }
        out.flush()?;
    }
    if arguments.dry_run || !arguments.yes && !agreed()? {
        return Ok(());
    }
    let lines = StateLines::every(arguments.interval);
    waiting(|| remove(&client, &removal, &lines))?;
    eprintln!("Removed. The model and the image stay where they are, in S3 and ECR");
    Ok(())
}

/// Whether the user says yes.
fn agreed() -> Result<bool> {
    if !stdin().is_terminal() {
        bail!(Usage(
            "nothing was removed: say --yes, for there is nobody to ask".into()
        ));
    }
    write!(stderr(), "Remove all of this? [y/N] ")?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
