//! The rollout of new settings, and its rollback.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::polling::Polling;
use crate::service::Service;

/// Settings of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Names of CloudWatch alarms. An alarm that goes off rolls the change back.
    pub alarms: Vec<String>,
    /// Percentage of the instances that change first; all at once by default.
    pub canary: Option<u8>,
    /// Time for which the alarms are watched after a change of traffic.
    pub bake: Duration,
}

impl Rollout {
    /// The `DeploymentConfig`; `None` for AWS's default.
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

    /// Watches the alarms for the `bake` time, and returns the first that goes off.
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
            let loud = self.loud(control_plane)?;
            if loud.is_some() || Instant::now() >= end {
                return Ok(loud);
            }
            polling.progress.state(&format!("watching {}", self.alarms.join(", ")));
            polling.pause()?;
        }
    }

    /// The first alarm that is going off now.
    ///
    /// # Errors
    /// If an alarm does not exist, or AWS refuses the call.
    pub(super) fn loud(&self, control_plane: &ControlPlane) -> Result<Option<String>> {
        if self.alarms.is_empty() {
            return Ok(None);
        }
        // CloudWatch returns composite alarms only if the types are named.
        let types = ["MetricAlarm", "CompositeAlarm"];
        let body = json!({"AlarmNames": self.alarms, "AlarmTypes": types});
        let answer = control_plane.call(Service::CloudWatch, "DescribeAlarms", &body)?;
        let [metric, composite] =
            ["MetricAlarms", "CompositeAlarms"].map(|kind| answer[kind].as_array());
        let alarms: Vec<_> = metric.into_iter().chain(composite).flatten().collect();
        let is_known = |name: &&String| alarms.iter().any(|it| it["AlarmName"] == name.as_str());
        if let Some(unknown) = self.alarms.iter().find(|name| !is_known(name)) {
            return Err(Error::Failed(format!(
                "there is no alarm '{unknown}' in {}: check its name and region",
                control_plane.region()
            )));
        }
        let loud = alarms.into_iter().find(|alarm| alarm["StateValue"] == "ALARM");
        Ok(loud.and_then(|alarm| alarm["AlarmName"].as_str()).map(str::to_owned))
    }
}
