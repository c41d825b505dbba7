//! `epitome train`

mod scripts;
mod settings;

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use clap::Args;
use epitome_aws::training::{INSTANCE_COUNT, MAX_RUN, TrainingJob, TrainingSpec, metrics};
use epitome_aws::{ControlPlane, Polling};
use epitome_runtime::Progress;
use serde_json::json;

use super::seconds::Seconds;
use crate::failure::Usage;
use crate::state_lines::StateLines;
use crate::{aws, interrupt, s3_upload, training_artifact};
use scripts::Scripts;
use settings::SettingFlags;

/// Start a SageMaker training job in HuggingFace's container, and follow it to its end
///
/// The settings have the names that the SageMaker SDK's HuggingFace estimator gives them. They come
/// from a TOML file, from flags, or from both; a flag overrides the file. Ctrl-C stops the output,
/// not the job.
#[derive(Args)]
pub(crate) struct Arguments {
    /// TOML file of settings
    settings: Option<PathBuf>,
    #[command(flatten)]
    flags: SettingFlags,
    /// Print the call that starts the job; start and upload nothing
    #[arg(long, conflicts_with_all = ["no_wait", "logs"])]
    dry_run: bool,
    /// Start the job without waiting for its end
    #[arg(long, conflicts_with = "logs")]
    no_wait: bool,
    /// Show every line of the job's log, not only the metrics in it
    #[arg(long)]
    logs: bool,
    /// Time between two checks of the job's state
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::new(10))]
    interval: Seconds,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut spec = settings::read(arguments.settings.as_deref(), &arguments.flags)?;
    spec.name_after(SystemTime::now());
    let control_plane = aws::control_plane()?;
    // Finds wrong settings before anything is fetched or sent.
    spec.request(control_plane.region())?;
    // Cloning a repository may take a while. The clone is temporary.
    let scripts = interrupt::during(|| Scripts::find(&mut spec));
    stop_where_asked()?;
    let scripts = scripts?;
    let request = spec.request(control_plane.region())?;
    let packed = scripts.pack()?;
    if arguments.dry_run {
        let call = serde_json::to_string_pretty(&json!({"CreateTrainingJob": request}))?;
        return Ok(writeln!(stdout(), "{call}")?);
    }
    let name = spec.name()?;
    if TrainingJob::find(&control_plane, name)?.is_some() {
        bail!(Usage(format!(
            "there is a training job '{name}' already, and AWS keeps its name: give another \
             --job-name"
        )));
    }
    eprintln!("{}", announcement(&spec, control_plane.region()));
    s3_upload::file(packed.path(), &spec.source_url()?.parse()?)?;
    stop_where_asked()?;
    TrainingJob::create(&control_plane, &request)?;
    eprintln!("Started training job {name}");
    if !arguments.no_wait {
        follow(&control_plane, name, arguments)?;
    }
    Ok(writeln!(stdout(), "{name}")?)
}

/// Says which resources are made, and until when AWS bills them.
fn announcement(spec: &TrainingSpec, region: &str) -> String {
    let hours = f64::from(spec.max_run.unwrap_or(MAX_RUN)) / 3600.0;
    let kept = spec.keep_alive_period_in_seconds.map_or_else(String::new, |seconds| {
        format!(", and {seconds} s after its end, while they are kept for a next job")
    });
    let spot = if spec.use_spot_instances { " at the price of spot instances" } else { "" };
    format!(
        "Job {} in {region} on {} x {}: AWS bills the instances until it ends{spot}, {hours:.1} h \
         at most{kept}",
        spec.job_name.as_deref().unwrap_or_default(),
        spec.instance_count.unwrap_or(INSTANCE_COUNT),
        spec.instance_type.as_deref().unwrap_or_default(),
    )
}

/// Returns an error after Ctrl-C.
fn stop_where_asked() -> Result<()> {
    if interrupt::requested() {
        bail!(epitome_aws::Error::Interrupted);
    }
    Ok(())
}

/// Shows the job's progress, and the address of its model.
fn follow(control_plane: &ControlPlane, name: &str, arguments: &Arguments) -> Result<()> {
    let states = StateLines::new();
    let polling = Polling { interval: arguments.interval.0, progress: &states };
    let mut line = |line: &str| {
        if arguments.logs {
            eprintln!("{line}");
        } else if let Some(metrics) = shown(line) {
            states.note(&metrics);
        }
    };
    let job = interrupt::during(|| TrainingJob::follow(control_plane, name, polling, &mut line));
    let job = job.with_context(|| {
        format!(
            "training job '{name}' goes on, though it is no longer followed ('epitome export \
             --training-job {name} --wait' waits for its model, 'epitome status {name} --stop' \
             stops it)"
        )
    })?;
    eprintln!("Its model: {}", training_artifact::address(job)?);
    Ok(())
}

/// The metrics in a line of the log.
fn shown(line: &str) -> Option<String> {
    let metrics = metrics(line);
    let metrics = metrics.iter().map(|(name, value)| match value.abs() {
        small if small > 0.0 && small < 1e-3 => format!("{name} {value:e}"),
        _ => format!("{name} {value}"),
    });
    Some(metrics.collect::<Vec<_>>().join("  ")).filter(|line| !line.is_empty())
}
