//! Endpoints, jobs and log lines, for people and for scripts.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use epitome_aws::JobStatus;
use epitome_aws::status::{EndpointStatus, Job, LastHour, LogLine, VariantStatus};
use serde_json::{Value, json};

use crate::table;

/// Stands for an unknown value.
const NONE: &str = "-";

/// An endpoint, with the last hour of each of its variants.
pub(super) struct MeasuredEndpoint {
    pub(super) endpoint: EndpointStatus,
    pub(super) hours: Vec<LastHour>,
}

/// Writes a line for each variant. An endpoint that was named also gets what went wrong.
pub(super) fn endpoints(
    out: &mut dyn Write,
    endpoints: &[MeasuredEndpoint],
    is_named: bool,
) -> io::Result<()> {
    let heading = [
        "ENDPOINT", "VARIANT", "STATUS", "SINCE", "RUNS ON", "SCALING", "WEIGHT", "REQUESTS",
        "LATENCY", "P99", "4XX", "5XX",
    ];
    let mut rows = vec![heading.map(str::to_owned)];
    for MeasuredEndpoint { endpoint, hours } in endpoints {
        for (variant, hour) in endpoint.variants.iter().zip(hours) {
            rows.push([
                endpoint.name.clone(),
                variant.name.clone(),
                endpoint.status.clone(),
                since(endpoint.created),
                runs_on(variant, endpoint.async_output.is_some()),
                variant.scaling.map_or(NONE.into(), |(min, max)| format!("{min} to {max}")),
                variant.weight.map_or(NONE.into(), |weight| weight.to_string()),
                count(hour.invocations),
                time(hour.model_latency),
                time(hour.model_latency_p99),
                count(hour.client_errors),
                count(hour.server_errors),
            ]);
        }
        if endpoint.variants.is_empty() {
            let mut row = [(); 12].map(|()| NONE.to_owned());
            row[0].clone_from(&endpoint.name);
            row[2].clone_from(&endpoint.status);
            row[3] = since(endpoint.created);
            rows.push(row);
        }
    }
    table::write(out, &rows)?;
    if is_named {
        for MeasuredEndpoint { endpoint, hours } in endpoints {
            for (variant, hour) in endpoint.variants.iter().zip(hours) {
                let overhead = time(hour.overhead_latency);
                writeln!(
                    out,
                    "{}: model {}, SageMaker adds {overhead}",
                    variant.name, variant.model
                )?;
            }
            if let Some(output) = &endpoint.async_output {
                writeln!(out, "answers: {output}")?;
            }
            if let Some(failure) = &endpoint.failure {
                writeln!(out, "failure: {failure}")?;
            }
        }
    }
    Ok(())
}

pub(super) fn endpoint_json(measured: &MeasuredEndpoint) -> Value {
    let MeasuredEndpoint { endpoint, hours } = measured;
    let variants = endpoint.variants.iter().zip(hours);
    let variants = variants.map(|(variant, hour)| {
        let LastHour {
            invocations,
            model_latency,
            model_latency_p99,
            overhead_latency,
            client_errors,
            server_errors,
        } = hour;
        json!({
            "name": variant.name,
            "model": variant.model,
            "weight": variant.weight,
            "instance_type": variant.instance_type,
            "instances": variant.instances.map(|(now, wanted)| {
                json!({"current": now, "desired": wanted})
            }),
            "serverless": variant.serverless.map(|(memory, concurrency, provisioned)| json!({
                "memory_mb": memory,
                "concurrency": concurrency,
                "provisioned_concurrency": provisioned,
            })),
            "scaling": variant.scaling.map(|(min, max)| json!({"min": min, "max": max})),
            "last_hour": {
                "invocations": invocations,
                "model_latency_seconds": model_latency,
                "model_latency_p99_seconds": model_latency_p99,
                "overhead_latency_seconds": overhead_latency,
                "errors_4xx": client_errors,
                "errors_5xx": server_errors,
            },
        })
    });
    json!({
        "name": endpoint.name,
        "status": endpoint.status,
        "failure": endpoint.failure,
        "created": endpoint.created,
        "modified": endpoint.modified,
        "async_output": endpoint.async_output,
        "variants": variants.collect::<Value>(),
    })
}

pub(super) fn jobs(out: &mut dyn Write, jobs: &[Job]) -> io::Result<()> {
    let heading = ["JOB", "KIND", "STATUS", "BEGAN", "TOOK", "RUNS ON", "FAILURE"];
    let mut rows = vec![heading.map(str::to_owned)];
    for job in jobs {
        let now = now();
        let took = job.created.map(|created| job.ended.unwrap_or(now) - created);
        let instances = job.instances.as_ref();
        rows.push([
            job.name.clone(),
            job.kind.word().to_owned(),
            status(&job.status).to_owned(),
            since(job.created),
            took.map_or(NONE.into(), span),
            instances.map_or(NONE.into(), |(kind, count)| format!("{count} x {kind}")),
            job.failure.clone().unwrap_or_default(),
        ]);
    }
    table::write(out, &rows)
}

pub(super) fn job_json(job: &Job) -> Value {
    json!({
        "name": job.name,
        "kind": job.kind.word(),
        "status": status(&job.status),
        "created": job.created,
        "ended": job.ended,
        "instance_type": job.instances.as_ref().map(|(kind, _)| kind),
        "instance_count": job.instances.as_ref().map(|(_, count)| count),
        "failure": job.failure,
    })
}

pub(super) fn log_line(out: &mut dyn Write, line: &LogLine, is_json: bool) -> io::Result<()> {
    if is_json {
        let (time, stream) = (line.time, &line.stream);
        return writeln!(out, "{}", json!({"time": time, "stream": stream, "text": line.text}));
    }
    writeln!(out, "{}", line.text.trim_end())
}

fn status(status: &JobStatus) -> &str {
    match status {
        JobStatus::InProgress => "InProgress",
        JobStatus::Completed => "Completed",
        JobStatus::Failed => "Failed",
        JobStatus::Stopping => "Stopping",
        JobStatus::Stopped => "Stopped",
        JobStatus::Other(other) => other,
    }
}

fn runs_on(variant: &VariantStatus, is_async: bool) -> String {
    let kind = variant.instance_type.as_deref().unwrap_or("instances");
    let suffix = if is_async { ", async" } else { "" };
    match (variant.instances, variant.serverless) {
        (Some((now, wanted)), _) if now == wanted => format!("{now} x {kind}{suffix}"),
        (Some((now, wanted)), _) => format!("{now} of {wanted} x {kind}{suffix}"),
        (None, Some((memory, concurrency, None))) => format!("{memory} MB x {concurrency}"),
        (None, Some((memory, concurrency, Some(ready)))) => {
            format!("{memory} MB x {concurrency}, {ready} ready")
        }
        (None, None) => NONE.into(),
    }
}

fn count(number: Option<f64>) -> String {
    number.map_or(NONE.into(), |number| format!("{number:.0}"))
}

fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => NONE.into(),
        Some(seconds) if seconds < 10.0 => format!("{:.0} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Time since a moment, for people.
fn since(moment: Option<f64>) -> String {
    moment.map_or(NONE.into(), |moment| format!("{} ago", span(now() - moment)))
}

/// A duration, for people.
fn span(seconds: f64) -> String {
    match seconds.max(0.0) {
        it if it < 120.0 => format!("{it:.0} s"),
        it if it < 7200.0 => format!("{:.0} min", it / 60.0),
        it if it < 172_800.0 => format!("{:.0} h", it / 3600.0),
        it => format!("{:.0} days", it / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_latencies_are_short() {
        let spans = [5.0, 300.0, 10_000.0, 400_000.0].map(span);
        assert_eq!(spans, ["5 s", "5 min", "3 h", "5 days"]);
        assert_eq!([Some(0.25), Some(61.0), None].map(time), ["250 ms", "61.0 s", "-"]);
    }
}
