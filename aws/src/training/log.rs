//! The log of a training job, and its metrics.

use std::collections::BTreeMap;

use serde_json::json;

use crate::control_plane::ControlPlane;
use crate::error::Result;
use crate::service::Service;
use crate::status::JobKind;

/// Reads the log of a job from all its instances.
pub(super) struct JobLog<'a> {
    control_plane: &'a ControlPlane,
    job: &'a str,
    /// Token of the next line, for each stream.
    streams: BTreeMap<String, Option<String>>,
}

impl<'a> JobLog<'a> {
    /// The log of a job from its start.
    pub(super) fn new(control_plane: &'a ControlPlane, job: &'a str) -> Self {
        Self { control_plane, job, streams: BTreeMap::new() }
    }

    /// Passes every new line to `line`.
    ///
    /// # Errors
    /// If a call fails. A job that has not begun to log has no lines.
    pub(super) fn read(&mut self, line: &mut dyn FnMut(&str)) -> Result<()> {
        let body = json!({
            "logGroupName": JobKind::Training.log_group(),
            "logStreamNamePrefix": format!("{}/", self.job),
            "orderBy": "LogStreamName",
        });
        let answer = match self.control_plane.call(Service::Logs, "DescribeLogStreams", &body) {
            Ok(answer) => answer,
            Err(error) if error.is_missing() => return Ok(()),
            Err(error) => return Err(error),
        };
        for stream in answer["logStreams"].as_array().into_iter().flatten() {
            if let Some(name) = stream["logStreamName"].as_str() {
                self.streams.entry(name.into()).or_default();
            }
        }
        for (name, token) in &mut self.streams {
            read_stream(self.control_plane, name, token, line)?;
        }
        Ok(())
    }
}

fn read_stream(
    control_plane: &ControlPlane,
    stream: &str,
    token: &mut Option<String>,
    line: &mut dyn FnMut(&str),
) -> Result<()> {
    loop {
        let mut body = json!({
            "logGroupName": JobKind::Training.log_group(),
            "logStreamName": stream,
            "startFromHead": true,
        });
        if let Some(token) = token {
            body["nextToken"] = token.as_str().into();
        }
        let answer = control_plane.call(Service::Logs, "GetLogEvents", &body)?;
        for event in answer["events"].as_array().into_iter().flatten() {
            line(event["message"].as_str().unwrap_or_default());
        }
        // AWS returns the same token at the end of the stream.
        let next = answer["nextForwardToken"].as_str().map(str::to_owned);
        if next.is_none() || next == *token {
            return Ok(());
        }
        *token = next;
    }
}

/// The metrics in a line of a transformers training log: `{'loss': 2.31, 'epoch': 0.5}`, or
/// `eval_rouge1 = 45.2` at the end of the script.
pub fn metrics(line: &str) -> Vec<(String, f64)> {
    let line = line.trim();
    if let (Some(start), Some(end)) = (line.find('{'), line.rfind('}'))
        && start < end
    {
        let fields = &line[start + 1..end];
        let all: Option<Vec<_>> = fields.split(',').map(field).collect();
        return all.unwrap_or_default();
    }
    let pair = line.split_once(" = ").and_then(|(name, value)| {
        let name = name.trim();
        let is_metric =
            ["train_", "eval_", "predict_", "epoch"].iter().any(|start| name.starts_with(start));
        is_metric.then_some((name.to_owned(), number(value)?))
    });
    pair.into_iter().collect()
}

fn field(field: &str) -> Option<(String, f64)> {
    let (name, value) = field.split_once(':')?;
    let name = name.trim().trim_matches(['\'', '"']);
    Some((name.to_owned(), number(value.trim().trim_matches(['\'', '"']))?))
}

fn number(text: &str) -> Option<f64> {
    text.trim().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::metrics;

    #[test]
    fn metrics_are_found_in_what_the_trainer_prints() {
        let named = |line: &str| -> Vec<String> {
            metrics(line).iter().map(|(name, value)| format!("{name}={value}")).collect()
        };
        assert_eq!(
            named("{'loss': 2.3125, 'learning_rate': 4.5e-05, 'epoch': 0.5}"),
            ["loss=2.3125", "learning_rate=0.000045", "epoch=0.5"]
        );
        assert_eq!(named("[1,mpirank:0]<stdout>:{'loss': '1.5'}"), ["loss=1.5"]);
        assert_eq!(named("  eval_rouge1             =    45.2301"), ["eval_rouge1=45.2301"]);
        assert_eq!(named("  train_samples           =     203,577"), ["train_samples=203577"]);
        for line in ["", "Training Env:", "{\"a\": {\"b\": 1}}", "lr = fast", "}{", "model = 3"] {
            assert!(metrics(line).is_empty(), "{line}");
        }
    }
}
