//! How an endpoint moves over to new settings, and when it goes back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::polling::Polling;
use crate::service::Service;

/// How an endpoint moves over to new settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Names of CloudWatch alarms: one that goes off takes the change back.
    pub alarms: Vec<String>,
    /// Share of the instances that change first, in percent; all at once where none is given.
    pub canary: Option<u8>,
    /// How long the alarms are watched after a change of traffic.
    pub bake: Duration,
}

impl Rollout {
    /// `DeploymentConfig`; none where AWS's own way is taken.
    pub(super) fn describe(&self) -> Option<Value> {
        if self.alarms.is_empty() && self.canary.is_none() {
            return None;
        }
        let mut routing = json!({
            "Type": if self.canary.is_some() { "CANARY" } else { "ALL_AT_ONCE" },
            "WaitIntervalInSeconds": self.bake.as_secs(),
        });
        if let Some(percent) = self.canary {
            routing["CanarySize"] = json!({"Type": "CAPACITY_PERCENT", "Value": percent});
        }
        let mut config = json!({"BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": 0,
        }});
        if !self.alarms.is_empty() {
            let alarms: Value = self.alarms.iter().map(|name| json!({"AlarmName": name})).collect();
            config["AutoRollbackConfiguration"] = json!({"Alarms": alarms});
        }
        Some(config)
    }

    /// Watches the alarms for as long as a change is watched, and returns the first that goes off.
    pub(super) fn watch(
        &self,
        control_plane: &ControlPlane,
        polling: Polling<'_>,
    ) -> Result<Option<String>> {
        if self.alarms.is_empty() {
            return Ok(None);
        }
        let end = Instant::now() + self.bake;
        loop {
            let body = json!({"AlarmNames": self.alarms});
            let answer = control_plane.call(Service::CloudWatch, "DescribeAlarms", &body)?;
            let alarms = answer["MetricAlarms"].as_array().into_iter().flatten();
            let alarms = alarms.chain(answer["CompositeAlarms"].as_array().into_iter().flatten());
            let mut known = Vec::new();
            for alarm in alarms {
                let name = alarm["AlarmName"].as_str().unwrap_or_default();
                if alarm["StateValue"] == "ALARM" {
                    return Ok(Some(name.to_owned()));
                }
                known.push(name.to_owned());
            }
            if let Some(unknown) = self.alarms.iter().find(|name| !known.contains(name)) {
                return Err(Error::Failed(format!(
                    "there is no alarm '{unknown}' in {}: check its name and region",
                    control_plane.region()
                )));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            polling.progress.state(&format!("watching {}", self.alarms.join(", ")));
            polling.pause()?;
        }
    }
}
