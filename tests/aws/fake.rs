//! A fake control plane of AWS. It checks signatures, stores resources, and fails on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value, json};

/// A received call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) operation: String,
    pub(crate) body: Value,
}

/// The state of the fake, and its planned answers.
#[derive(Default)]
pub(crate) struct State {
    /// All calls in order.
    pub(crate) calls: Vec<Call>,
    /// Answers that replace the next answer of an operation, once each.
    pub(crate) faults: VecDeque<(&'static str, u16, Value)>,
    /// States of endpoints from now on until they settle, and the reason of a failure.
    pub(crate) script: VecDeque<&'static str>,
    pub(crate) failure: Option<&'static str>,
    /// Whether the next update is rolled back.
    pub(crate) rolls_back: bool,
    /// Descriptions of training jobs, one per call; the last one stays.
    pub(crate) jobs: BTreeMap<String, VecDeque<Value>>,
    /// Descriptions of the training job that is created next.
    pub(crate) next_job: VecDeque<Value>,
    /// Descriptions of batch transform jobs, one per call; the last one stays.
    pub(crate) transform_jobs: BTreeMap<String, VecDeque<Value>>,
    /// Lines in the log of every job and endpoint.
    pub(crate) log: Vec<&'static str>,
    /// Models by name.
    pub(crate) models: BTreeMap<String, Value>,
    pub(crate) configs: BTreeMap<String, Value>,
    pub(crate) endpoints: BTreeMap<String, Value>,
    pub(crate) targets: BTreeMap<String, Value>,
    pub(crate) policies: BTreeMap<String, Value>,
    /// Last weights of variants, and the state of every alarm.
    pub(crate) weights: Value,
    pub(crate) alarm: &'static str,
}

/// The server. It ends with the test's process.
pub(crate) struct Aws {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Aws {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    let _ = serve(stream, &shared);
                });
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The calls since the last time, except those that only read.
    pub(crate) fn changes(&self) -> Vec<Call> {
        let calls = std::mem::take(&mut self.state().calls);
        let looks = ["Describe", "List", "Get", "Filter"];
        let is_look = |call: &Call| looks.iter().any(|start| call.operation.starts_with(start));
        calls.into_iter().filter(|call| !is_look(call)).collect()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, answer) = match check(&line, &headers) {
            Err(problem) => {
                (403, json!({"__type": "InvalidSignatureException", "message": problem}))
            }
            Ok(operation) => {
                let body = serde_json::from_slice(&body).unwrap();
                let mut state = state.lock().unwrap();
                state.calls.push(Call { operation: operation.clone(), body });
                state.answer(&operation)
            }
        };
        let answer = answer.to_string();
        write!(
            writer,
            "HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.1\r\n\
         Content-Length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

/// The operation of a call that AWS would accept.
fn check(line: &str, headers: &BTreeMap<String, String>) -> Result<String, String> {
    let header = |name: &str| headers.get(name).ok_or(format!("no {name}"));
    if line.trim_end() != "POST / HTTP/1.1" {
        return Err(format!("{line} is no call"));
    }
    let (target, operation) = header("x-amz-target")?.split_once('.').ok_or("no operation")?;
    let (service, version) = match target {
        "SageMaker" => ("sagemaker", "1.1"),
        "Logs_20140328" => ("logs", "1.1"),
        "AnyScaleFrontendService" => ("application-autoscaling", "1.1"),
        "GraniteServiceVersion20100801" => ("monitoring", "1.0"),
        other => return Err(format!("no service {other}")),
    };
    if header("content-type")? != &format!("application/x-amz-json-{version}") {
        return Err("wrong content-type".into());
    }
    let date = header("x-amz-date")?;
    let day = date.get(..8).ok_or("no date")?;
    let authorization = header("authorization")?;
    let credential =
        format!("AWS4-HMAC-SHA256 Credential=AKIDTEST/{day}/eu-west-1/{service}/aws4_request,");
    if !authorization.starts_with(&credential) {
        return Err(format!("signed as {authorization}"));
    }
    for name in ["host", "x-amz-date", "x-amz-target", "content-type"] {
        if !authorization.contains(name) {
            return Err(format!("{name} is not signed"));
        }
    }
    let signature = authorization.rsplit("Signature=").next().unwrap_or_default();
    if signature.len() != 64 {
        return Err("no signature".into());
    }
    if header("x-amz-security-token").is_ok_and(|token| token != "token") {
        return Err("wrong token".into());
    }
    Ok(operation.to_owned())
}

type Answer = (u16, Value);

fn missing(what: &str) -> Answer {
    let message = format!("Could not find {what}.");
    (400, json!({"__type": "ValidationException", "message": message}))
}

impl State {
    fn answer(&mut self, operation: &str) -> Answer {
        if let Some(at) = self.faults.iter().position(|fault| fault.0 == operation) {
            let (_, status, body) = self.faults.remove(at).unwrap();
            return (status, body);
        }
        let body = self.calls.last().unwrap().body.clone();
        let name = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let ok = (200, json!({}));
        match operation {
            "CreateModel" => {
                self.models.insert(name("ModelName"), body);
                ok
            }
            "CreateEndpointConfig" => {
                self.configs.insert(name("EndpointConfigName"), body);
                ok
            }
            "DescribeModel" => found(&self.models, &name("ModelName")),
            "DescribeEndpointConfig" => found(&self.configs, &name("EndpointConfigName")),
            "ListModels" => list(&self.models, "Models", "ModelName", &name("NameContains")),
            "ListEndpointConfigs" => {
                list(&self.configs, "EndpointConfigs", "EndpointConfigName", &name("NameContains"))
            }
            "DeleteModel" => removed(&mut self.models, &name("ModelName")),
            "DeleteEndpointConfig" => removed(&mut self.configs, &name("EndpointConfigName")),
            "CreateEndpoint" => {
                self.endpoints.insert(name("EndpointName"), body);
                ok
            }
            "UpdateEndpoint" => {
                if !self.rolls_back {
                    self.endpoints.insert(name("EndpointName"), body);
                }
                ok
            }
            "ListEndpoints" => {
                // One item per page.
                let at: usize = body["NextToken"].as_str().map_or(0, |at| at.parse().unwrap());
                let name = self.endpoints.keys().nth(at).map(|name| json!({"EndpointName": name}));
                let next = (at + 1 < self.endpoints.len()).then(|| (at + 1).to_string());
                (200, json!({"Endpoints": Vec::from_iter(name), "NextToken": next}))
            }
            "DescribeEndpoint" => self.describe_endpoint(&name("EndpointName")),
            "DeleteEndpoint" => {
                self.script.clear();
                removed(&mut self.endpoints, &name("EndpointName"))
            }
            "RegisterScalableTarget" => {
                self.targets.insert(name("ResourceId"), body);
                ok
            }
            "PutScalingPolicy" => {
                self.policies.insert(name("PolicyName"), body);
                ok
            }
            "DeleteScalingPolicy" => removed(&mut self.policies, &name("PolicyName")),
            "PutMetricAlarm" | "DeleteAlarms" => ok,
            "DeregisterScalableTarget" => {
                self.policies.clear();
                removed(&mut self.targets, &name("ResourceId"))
            }
            "DescribeScalableTargets" => {
                let targets: Vec<_> = self.targets.values().collect();
                (200, json!({"ScalableTargets": targets}))
            }
            "DescribeScalingPolicies" => {
                let policies: Vec<_> = self.policies.values().collect();
                (200, json!({"ScalingPolicies": policies}))
            }
            "DescribeAlarms" => {
                let alarm = json!({"AlarmName": body["AlarmNames"][0], "StateValue": self.alarm});
                (200, json!({"MetricAlarms": [alarm]}))
            }
            "UpdateEndpointWeightsAndCapacities" => {
                self.weights = body["DesiredWeightsAndCapacities"].clone();
                ok
            }
            "StopTrainingJob" => ok,
            "CreateTrainingJob" => {
                let states = std::mem::take(&mut self.next_job);
                self.jobs.insert(name("TrainingJobName"), states);
                ok
            }
            "CreateTransformJob" => {
                let done = json!({"TransformJobStatus": "Completed"});
                self.transform_jobs.insert(name("TransformJobName"), [done].into());
                ok
            }
            "DescribeTrainingJob" => next_state(&mut self.jobs, &name("TrainingJobName")),
            "DescribeTransformJob" => {
                next_state(&mut self.transform_jobs, &name("TransformJobName"))
            }
            "DescribeLogStreams" => {
                let stream = format!("{}algo-1", name("logStreamNamePrefix"));
                (200, json!({"logStreams": [{"logStreamName": stream}]}))
            }
            "GetLogEvents" => {
                let from: usize =
                    body["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
                let events: Vec<_> =
                    self.log[from..].iter().map(|line| json!({"message": line})).collect();
                (200, json!({"events": events, "nextForwardToken": self.log.len().to_string()}))
            }
            "FilterLogEvents" => {
                let from = body["startTime"].as_u64().unwrap();
                // One line per second, in the future.
                let lines = (4_000_000_000_000_u64..).step_by(1000).zip(&self.log);
                let events: Vec<_> = lines
                    .filter(|(time, _)| *time >= from)
                    .map(|(time, line)| {
                        json!({"timestamp": time, "eventId": time.to_string(), "message": line})
                    })
                    .collect();
                (200, json!({"events": events}))
            }
            other => (400, json!({"__type": "UnknownOperationException", "message": other})),
        }
    }

    fn describe_endpoint(&mut self, name: &str) -> Answer {
        let Some(endpoint) = self.endpoints.get(name) else {
            return missing(&format!("endpoint \"{name}\""));
        };
        let status = match self.script.len() {
            0 => "InService",
            // The last state stays.
            1 => self.script[0],
            _ => self.script.pop_front().unwrap(),
        };
        let mut answer = Map::new();
        answer.insert("EndpointStatus".into(), status.into());
        let config = endpoint["EndpointConfigName"].clone();
        let configured = config.as_str().and_then(|config| self.configs.get(config));
        let mut variants = configured.map_or(json!([]), |it| it["ProductionVariants"].clone());
        for (at, variant) in variants.as_array_mut().unwrap().iter_mut().enumerate() {
            let given = self.weights.get(at).map(|weight| &weight["DesiredWeight"]);
            variant["DesiredWeight"] = given.unwrap_or(&variant["InitialVariantWeight"]).clone();
        }
        answer.insert("ProductionVariants".into(), variants);
        answer.insert("EndpointConfigName".into(), config);
        if let Some(failure) = self.failure {
            answer.insert("FailureReason".into(), failure.into());
        }
        (200, answer.into())
    }
}

/// The next description of a job; the last one stays.
fn next_state(jobs: &mut BTreeMap<String, VecDeque<Value>>, name: &str) -> Answer {
    match jobs.get_mut(name) {
        None => {
            let message = "Requested resource not found.";
            (400, json!({"__type": "ValidationException", "message": message}))
        }
        Some(states) if states.len() > 1 => (200, states.pop_front().unwrap()),
        Some(states) => (200, states[0].clone()),
    }
}

fn found(things: &BTreeMap<String, Value>, name: &str) -> Answer {
    things.get(name).map_or_else(|| missing(name), |thing| (200, thing.clone()))
}

fn removed(things: &mut BTreeMap<String, Value>, name: &str) -> Answer {
    things.remove(name).map_or_else(|| missing(name), |_| (200, json!({})))
}

/// All items whose name contains `part`.
fn list(things: &BTreeMap<String, Value>, field: &str, name: &str, part: &str) -> Answer {
    let items: Vec<_> =
        things.keys().filter(|key| key.contains(part)).map(|key| json!({name: key})).collect();
    (200, json!({field: items}))
}
