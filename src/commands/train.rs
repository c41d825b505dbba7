//! `epitome train`

mod scripts;
mod settings;

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use clap::Args;
use epitome_endpoint::aws::training::{TrainingJob, metrics};
use epitome_endpoint::aws::{Client, Watch};
use serde_json::json;

use crate::aws_progress::{StateLines, waiting};
use crate::failure::Usage;
use crate::{interrupt, sending, training_job};
use scripts::Scripts;
use settings::SettingFlags;

/// Start a SageMaker training job in HuggingFace's container, and follow it to its end
///
/// The settings are those of the SageMaker SDK's HuggingFace estimator, under its names: from a TOML file, from flags, or from
/// both, where flags go before the file. Ctrl-C ends the following, not the job.
#[derive(Args)]
pub(crate) struct Arguments {
    /// TOML file of settings
    settings: Option<PathBuf>,
    #[command(flatten)]
    flags: SettingFlags,
    /// Print the call that starts the job; start and upload nothing
    #[arg(long, conflicts_with_all = ["no_wait", "logs"])]
    dry_run: bool,
    /// Start the job and leave it alone
    #[arg(long, conflicts_with = "logs")]
    no_wait: bool,
    /// Show every line of the job's log, not only the metrics in it
    #[arg(long)]
    logs: bool,
    /// Seconds between two looks at the job
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    interval: f64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut spec = settings::read(arguments.settings.as_deref(), &arguments.flags)?;
    spec.name_after(SystemTime::now());
    let client = Client::connect()?;
    // What cannot be is told before anything is fetched or sent.
    spec.request(client.region())?;
    // A repository may take a while, and is removed again.
    let scripts = waiting(|| Scripts::find(&mut spec));
    stop_where_asked()?;
    let scripts = scripts?;
    let request = spec.request(client.region())?;
    let packed = scripts.pack()?;
    if arguments.dry_run {
        let call = serde_json::to_string_pretty(&json!({"CreateTrainingJob": request}))?;
        return Ok(writeln!(stdout(), "{call}")?);
    }
    let name = spec.name()?;
    if TrainingJob::find(&client, name)?.is_some() {
        bail!(Usage(format!(
            "there is a training job '{name}' already, and AWS keeps its name: give another --job-name"
        )));
    }
    sending::file(packed.path(), &spec.source_url()?.parse()?)?;
    stop_where_asked()?;
    TrainingJob::create(&client, &request)?;
    eprintln!("Started training job {name}");
    if !arguments.no_wait {
        follow(&client, name, arguments)?;
    }
    Ok(writeln!(stdout(), "{name}")?)
}

/// Ends the command where Ctrl-C was pressed.
fn stop_where_asked() -> Result<()> {
    if interrupt::requested() {
        bail!(epitome_export::Error::Interrupted);
    }
    Ok(())
}

/// Shows how the job gets on, and what its model is.
fn follow(client: &Client, name: &str, arguments: &Arguments) -> Result<()> {
    let states = StateLines::every(arguments.interval);
    let mut line = |line: &str| {
        if arguments.logs {
            eprintln!("{line}");
        } else if let Some(metrics) = shown(line) {
            states.note(&metrics);
        }
    };
    let job = waiting(|| TrainingJob::follow(client, name, &states, &mut line)).with_context(
        || {
            format!(
                "training job '{name}' goes on, though it is no longer followed ('epitome export --training-job {name} \
                 --wait' waits for its model, 'aws sagemaker stop-training-job --training-job-name {name}' stops it)"
            )
        },
    )?;
    eprintln!("Its model: {}", training_job::address(job)?);
    Ok(())
}

/// The metrics of a line of the log, if there are any.
fn shown(line: &str) -> Option<String> {
    let metrics = metrics(line);
    let metrics = metrics.iter().map(|(name, value)| match value.abs() {
        small if small > 0.0 && small < 1e-3 => format!("{name} {value:e}"),
        _ => format!("{name} {value}"),
    });
    Some(metrics.collect::<Vec<_>>().join("  ")).filter(|line| !line.is_empty())
}
