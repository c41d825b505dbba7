//! The log of an endpoint or a job: its last lines, and new ones.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::error::Result;
use crate::polling::Polling;
use crate::service::Service;

/// Periods in which lines are searched, in milliseconds: an hour, a day, a month.
const BACK: [u64; 3] = [3_600_000, 86_400_000, 30 * 86_400_000];

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Time of the line, in milliseconds since 1970.
    pub time: u64,
    /// Stream of the line: a variant and its instance, or a job's instance.
    pub stream: String,
    /// Text of the line.
    pub text: String,
}

/// The log of an endpoint or a job.
pub struct Logs<'a> {
    control_plane: &'a ControlPlane,
    group: String,
    /// Prefix of the names of the streams.
    prefix: Option<String>,
    /// Earliest time of the next lines, in milliseconds since 1970.
    from: u64,
    /// Ids of the lines of exactly that time that were read already.
    seen: BTreeSet<String>,
}

impl<'a> Logs<'a> {
    /// The log of an endpoint.
    pub fn of_endpoint(control_plane: &'a ControlPlane, endpoint: &str) -> Self {
        Self::new(control_plane, format!("/aws/sagemaker/Endpoints/{endpoint}"), None)
    }

    /// The log of a job. All jobs of a kind share a log group.
    pub fn of_job(control_plane: &'a ControlPlane, group: &str, job: &str) -> Self {
        Self::new(control_plane, group.to_owned(), Some(format!("{job}/")))
    }

    fn new(control_plane: &'a ControlPlane, group: String, prefix: Option<String>) -> Self {
        Self { control_plane, group, prefix, from: 0, seen: BTreeSet::new() }
    }

    /// The last lines, at most `limit`.
    ///
    /// # Errors
    /// If a call fails. A log that does not exist yet has no lines.
    pub fn last(&mut self, limit: usize) -> Result<Vec<LogLine>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let periods: &[u64] = if limit == 0 { &[] } else { &BACK };
        for back in periods {
            self.from = now.saturating_sub(*back);
            let mut last = VecDeque::new();
            let _ = self.read(&mut |line| {
                if last.len() == limit {
                    last.pop_front();
                }
                last.push_back(line);
                ControlFlow::Continue(())
            })?;
            if !last.is_empty() {
                return Ok(last.into());
            }
        }
        self.from = now;
        Ok(Vec::new())
    }

    /// Passes each new line to `line`, until it breaks or the user interrupts.
    ///
    /// # Errors
    /// If a call fails, and [`Error::Interrupted`](crate::Error::Interrupted).
    pub fn follow(
        &mut self,
        polling: Polling<'_>,
        line: &mut dyn FnMut(LogLine) -> ControlFlow<()>,
    ) -> Result<()> {
        loop {
            polling.pause()?;
            if self.read(line)?.is_break() {
                return Ok(());
            }
        }
    }

    /// Passes the lines since the last call to `line`.
    fn read(
        &mut self,
        line: &mut dyn FnMut(LogLine) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let mut body = json!({"logGroupName": self.group, "startTime": self.from});
        if let Some(prefix) = &self.prefix {
            body["logStreamNamePrefix"] = prefix.as_str().into();
        }
        loop {
            let found = self.control_plane.call(Service::Logs, "FilterLogEvents", &body);
            let answer = match found {
                Ok(answer) => answer,
                Err(error) if error.is_missing() => return Ok(ControlFlow::Continue(())),
                Err(error) => return Err(error),
            };
            for event in answer["events"].as_array().into_iter().flatten() {
                if let Some(new) = self.new_line(event)
                    && line(new).is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
            }
            match answer["nextToken"].as_str() {
                Some(next) if !next.is_empty() => body["nextToken"] = next.into(),
                _ => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    /// The line of an event, unless it was read already.
    fn new_line(&mut self, event: &Value) -> Option<LogLine> {
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let time = event["timestamp"].as_u64().unwrap_or_default();
        if time > self.from {
            (self.from, self.seen) = (time, BTreeSet::new());
        }
        if time == self.from && !self.seen.insert(text("eventId")) {
            return None;
        }
        Some(LogLine { time, stream: text("logStreamName"), text: text("message") })
    }
}
