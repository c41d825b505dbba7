//! `epitome status`

mod render;

use std::io::{Write, stdout};
use std::ops::ControlFlow;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum, value_parser};
use epitome_aws::status::{
    EndpointStatus, Job, LastHour, LogLine, Logs, describe, jobs, measure, names,
};
use epitome_aws::{ControlPlane, Polling};

use self::render::MeasuredEndpoint;
use super::seconds::Seconds;
use crate::failure::{self, Usage};
use crate::state_lines::StateLines;
use crate::{aws, interrupt};

/// Show endpoints, their last hour, jobs and logs
///
/// Without a name, shows all endpoints of the account in the region. With the name of an endpoint
/// or a job, shows only that one.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Name of an endpoint or a job
    name: Option<String>,
    /// Show training and transform jobs in place of endpoints
    #[arg(long, conflicts_with = "name")]
    jobs: bool,
    /// Show at most this many jobs of each kind, up to 100
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20,
        value_parser = value_parser!(u8).range(1..=100),
        requires = "jobs"
    )]
    limit: u8,
    /// Show the last lines of the log
    #[arg(long, requires = "name", conflicts_with = "stop")]
    logs: bool,
    /// Number of lines of the log to show
    #[arg(long, value_name = "N", default_value_t = 50, requires = "logs")]
    lines: usize,
    /// Also show new lines as they come, until Ctrl-C
    #[arg(long, requires = "logs")]
    follow: bool,
    /// Stop the job of this name
    #[arg(long, requires = "name")]
    stop: bool,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Time between two checks for new lines
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::new(5), requires = "follow")]
    interval: Seconds,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for people
    Text,
    /// One JSON object
    Json,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let control_plane = aws::control_plane()?;
    if arguments.jobs {
        let jobs = jobs(&control_plane, arguments.limit.into())?;
        return show_jobs(arguments, &control_plane, &jobs);
    }
    let Some(name) = &arguments.name else {
        let names = names(&control_plane, None)?;
        let mut endpoints = Vec::new();
        for name in &names {
            endpoints.extend(describe(&control_plane, name)?);
        }
        return show_endpoints(arguments, &control_plane, endpoints);
    };
    if arguments.stop {
        return stop(&control_plane, name);
    }
    if let Some(endpoint) = describe(&control_plane, name)? {
        if arguments.logs {
            return show_log(arguments, Logs::of_endpoint(&control_plane, name));
        }
        return show_endpoints(arguments, &control_plane, vec![endpoint]);
    }
    let found = Job::find(&control_plane, name)?;
    match found.first() {
        Some(job) if arguments.logs => {
            show_log(arguments, Logs::of_job(&control_plane, job.kind.log_group(), name))
        }
        Some(_) => show_jobs(arguments, &control_plane, &found),
        None => bail!(Usage(format!(
            "there is no endpoint or job '{name}' in {}: 'epitome status' lists endpoints, \
             'epitome status --jobs' jobs",
            control_plane.region()
        ))),
    }
}

fn show_endpoints(
    arguments: &Arguments,
    control_plane: &ControlPlane,
    endpoints: Vec<EndpointStatus>,
) -> Result<()> {
    let variants: Vec<(&str, &str)> = endpoints
        .iter()
        .flat_map(|it| it.variants.iter().map(|variant| (&*it.name, &*variant.name)))
        .collect();
    let count = variants.len();
    // The rest is also shown without permission for CloudWatch.
    let mut hours = measure(control_plane, &variants)
        .unwrap_or_else(|error| {
            failure::tell(&anyhow::Error::from(error).context("the last hour is not shown"));
            vec![LastHour::default(); count]
        })
        .into_iter();
    let measured: Vec<MeasuredEndpoint> = endpoints
        .into_iter()
        .map(|endpoint| {
            let hours = hours.by_ref().take(endpoint.variants.len()).collect();
            MeasuredEndpoint { endpoint, hours }
        })
        .collect();
    let out = &mut stdout().lock();
    if arguments.format == Format::Json {
        let endpoints: Vec<_> = measured.iter().map(render::endpoint_json).collect();
        return json(out, control_plane, "endpoints", &endpoints);
    }
    if measured.is_empty() {
        eprintln!("There are no endpoints in {}", control_plane.region());
        return Ok(());
    }
    Ok(render::endpoints(out, &measured, arguments.name.is_some())?)
}

fn show_jobs(arguments: &Arguments, control_plane: &ControlPlane, jobs: &[Job]) -> Result<()> {
    let out = &mut stdout().lock();
    if arguments.format == Format::Json {
        let jobs: Vec<_> = jobs.iter().map(render::job_json).collect();
        return json(out, control_plane, "jobs", &jobs);
    }
    if jobs.is_empty() {
        eprintln!("There are no jobs in {}", control_plane.region());
        return Ok(());
    }
    Ok(render::jobs(out, jobs)?)
}

fn json(
    out: &mut dyn Write,
    control_plane: &ControlPlane,
    field: &str,
    items: &[serde_json::Value],
) -> Result<()> {
    let object = serde_json::json!({"region": control_plane.region(), field: items});
    writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
    Ok(out.flush()?)
}

fn show_log(arguments: &Arguments, mut logs: Logs<'_>) -> Result<()> {
    let is_json = arguments.format == Format::Json;
    let mut written = Ok(());
    let mut put = |line: LogLine| {
        let mut out = stdout().lock();
        written = render::log_line(&mut out, &line, is_json).and_then(|()| out.flush());
        // Stops where standard output is closed.
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let last = logs.last(arguments.lines)?;
    if last.is_empty() && arguments.lines > 0 && !arguments.follow {
        eprintln!("There are no lines of the last 30 days");
    }
    let goes_on = last.into_iter().try_for_each(&mut put).is_continue();
    if goes_on && arguments.follow {
        let polling = Polling { interval: arguments.interval.0, progress: &StateLines::new() };
        match interrupt::during(|| logs.follow(polling, &mut put)) {
            // Ctrl-C is the normal end.
            Err(error) if error.is_interrupted() => {}
            ended => ended?,
        }
    }
    Ok(written?)
}

fn stop(control_plane: &ControlPlane, name: &str) -> Result<()> {
    let found = Job::find(control_plane, name)?;
    let Some(job) = found.iter().find(|job| !job.status.has_ended()).or(found.first()) else {
        bail!(Usage(format!(
            "there is no job '{name}' in {}: 'epitome status --jobs' lists them, and 'epitome \
             undeploy' removes an endpoint",
            control_plane.region()
        )));
    };
    job.stop(control_plane)?;
    let left = "what it has done by then stays";
    eprintln!("Stopping {} job {name}: {left}", job.kind.word());
    Ok(())
}
