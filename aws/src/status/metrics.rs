//! Metrics of the last hour of an endpoint's variants, from CloudWatch.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::error::Result;
use crate::service::Service;

/// Period of the metrics in seconds.
const HOUR: u64 = 3600;

/// Number of queries in one call. AWS allows 500.
const QUERIES: usize = 500;

/// Metrics of each variant, with their statistics.
const METRICS: [(&str, &str); 6] = [
    ("Invocations", "Sum"),
    ("ModelLatency", "Average"),
    ("ModelLatency", "p99"),
    ("OverheadLatency", "Average"),
    ("Invocation4XXErrors", "Sum"),
    ("Invocation5XXErrors", "Sum"),
];

/// Metrics of the last hour of a variant; `None` without measurements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastHour {
    /// Number of requests.
    pub invocations: Option<f64>,
    /// Mean latency of the container in seconds. If the hour spans two periods, it is the larger of
    /// their means.
    pub model_latency: Option<f64>,
    /// 99th percentile of the container's latency in seconds, over such a period.
    pub model_latency_p99: Option<f64>,
    /// Mean latency in seconds that SageMaker adds, computed the same way.
    pub overhead_latency: Option<f64>,
    /// Number of requests with a client error.
    pub client_errors: Option<f64>,
    /// Number of requests with a server error.
    pub server_errors: Option<f64>,
}

/// The metrics of the given variants. Each is an endpoint's name and a variant's name.
///
/// # Errors
/// If AWS refuses the call.
pub fn measure(control_plane: &ControlPlane, variants: &[(&str, &str)]) -> Result<Vec<LastHour>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut all = Vec::new();
    for some in variants.chunks(QUERIES / METRICS.len()) {
        let body = json!({
            "MetricDataQueries": queries(some),
            "StartTime": now.saturating_sub(HOUR),
            // AWS excludes the end itself.
            "EndTime": now + 1,
        });
        let answer = control_plane.call(Service::CloudWatch, "GetMetricData", &body)?;
        all.extend((0..some.len()).map(|at| last_hour(&answer, at)));
    }
    Ok(all)
}

fn queries(variants: &[(&str, &str)]) -> Value {
    let query = |(at, (endpoint, variant)): (usize, &(&str, &str))| {
        let metrics = METRICS.iter().enumerate();
        let queries = metrics.map(move |(of, (metric, stat))| {
            json!({
                "Id": id(at, of),
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/SageMaker",
                        "MetricName": metric,
                        "Dimensions": [
                            {"Name": "EndpointName", "Value": endpoint},
                            {"Name": "VariantName", "Value": variant},
                        ],
                    },
                    "Period": HOUR,
                    "Stat": stat,
                },
                "ReturnData": true,
            })
        });
        queries.collect::<Vec<_>>()
    };
    variants.iter().enumerate().flat_map(query).collect()
}

fn id(variant: usize, metric: usize) -> String {
    format!("m{variant}x{metric}")
}

fn last_hour(answer: &Value, variant: usize) -> LastHour {
    let results = || answer["MetricDataResults"].as_array().into_iter().flatten();
    let values = |metric: usize| -> Vec<f64> {
        let id = id(variant, metric);
        let found = results().find(|result| result["Id"] == id.as_str());
        let values = found.and_then(|result| result["Values"].as_array());
        values.into_iter().flatten().filter_map(Value::as_f64).collect()
    };
    // The hour may span two periods. Without their counts, two means have no common mean, so the
    // larger one is taken.
    let sum = |metric| Some(values(metric)).filter(|it| !it.is_empty()).map(|it| it.iter().sum());
    let most = |metric| values(metric).into_iter().reduce(f64::max);
    // CloudWatch gives latencies in microseconds.
    let seconds = |metric| most(metric).map(|microseconds| microseconds / 1e6);
    LastHour {
        invocations: sum(0),
        model_latency: seconds(1),
        model_latency_p99: seconds(2),
        overhead_latency: seconds(3),
        client_errors: sum(4),
        server_errors: sum(5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_read_from_its_periods() {
        let answer = json!({"MetricDataResults": [
            {"Id": "m0x0", "Values": [3.0, 4.0]},
            {"Id": "m0x1", "Values": [250_000.0, 750_000.0]},
            {"Id": "m0x4", "Values": []},
            {"Id": "m1x0", "Values": [9.0]},
        ]});
        let hour = last_hour(&answer, 0);
        assert_eq!((hour.invocations, hour.model_latency), (Some(7.0), Some(0.75)));
        assert_eq!((hour.client_errors, hour.model_latency_p99), (None, None));
        assert_eq!(last_hour(&answer, 1).invocations, Some(9.0));
    }

    #[test]
    fn queries_are_those_of_boto3() {
        let recorded = include_str!("../../../fixtures/aws/requests.json");
        let recorded: Value = serde_json::from_str(recorded).unwrap();
        let mut theirs = recorded["metrics"][0]["body"]["MetricDataQueries"][0].clone();
        theirs["Id"] = "m0x0".into();
        assert_eq!(queries(&[("instance", "AllTraffic")])[0], theirs);
    }
}
