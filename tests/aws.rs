//! Tests of the commands for AWS: the real binary against a fake control plane in this process, and
//! against `epitome serve`.

pub(crate) mod fake;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{self, fails, fixture, run, succeeds, text};
use crate::serve::client::{self, Server};
use fake::{Aws, Call};
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::123456789012:role/service-role/training";
const IMAGE: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/epitome:latest";

/// The command without the AWS settings of this machine.
fn epitome() -> Command {
    let mut command = common::epitome();
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("AWS_") || name.starts_with("SAGEMAKER_") {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/nonexistent")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
    command
}

fn at(aws: &Aws) -> Command {
    let mut command = epitome();
    command
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDTEST")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    command
}

fn deploy(aws: &Aws, more: &[&str]) -> Command {
    let mut command = at(aws);
    command
        .args(["deploy", "--endpoint", "news", "--interval", "0.02"])
        .args(["--model", "s3://summaries/bundles/model.tar.gz"])
        .args(["--image", IMAGE, "--role", ROLE])
        .args(more);
    command
}

fn undeploy(aws: &Aws, more: &[&str]) -> Command {
    let mut command = at(aws);
    command.args(["undeploy", "--endpoint", "news", "--interval", "0.02"]).args(more);
    command
}

fn operations(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|call| call.operation.as_str()).collect()
}

/// The fields of a body, and the values of those that are not arbitrary names.
fn fields(body: &Value) -> Vec<(String, Value)> {
    let fields = body.as_object().unwrap().iter().map(|(name, value)| {
        let is_name = name.ends_with("Name") || name == "ResourceId";
        let value = if is_name { Value::Null } else { value.clone() };
        (name.clone(), value)
    });
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}

/// The same fields of recorded requests, in which AWS's Python SDKs remove resources.
fn recorded_fields(operation: &str) -> Vec<(String, Value)> {
    let recorded = include_str!("../fixtures/aws/requests.json");
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    let cases = ["undeploy", "autoscale_off"].map(|case| recorded[case].as_array().unwrap());
    let is_meant = |call: &&&Value| {
        let target = call["target"].as_str().unwrap();
        target.ends_with(&format!(".{operation}"))
    };
    let calls: Vec<_> = cases.into_iter().flatten().collect();
    let call = calls.iter().find(is_meant);
    fields(&call.unwrap_or_else(|| panic!("{operation} is not recorded"))["body"])
}

#[test]
fn endpoints_are_made_kept_updated_and_removed() {
    let aws = Aws::start();
    aws.state().script.extend(["Creating", "Creating", "InService"]);
    let (stdout, stderr) = succeeds(&mut deploy(&aws, &[]));
    assert_eq!(stdout, "news\n");
    assert!(stderr.contains("Creating") && stderr.contains("Created endpoint news"), "{stderr}");
    assert_eq!(
        operations(&aws.changes()),
        ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"]
    );

    // The same command again changes nothing.
    let (_, stderr) = succeeds(&mut deploy(&aws, &[]));
    assert!(stderr.contains("has these settings already"));
    assert!(aws.changes().is_empty());

    // Other instances need a new configuration for the same model. The old one is removed after the
    // update.
    aws.state().script = ["InService", "Updating", "InService"].into();
    let before: Vec<_> = aws.state().configs.keys().cloned().collect();
    let (_, stderr) = succeeds(&mut deploy(&aws, &["--instance-type", "ml.m5.2xlarge"]));
    assert!(stderr.contains("Updated endpoint news"));
    let changes = aws.changes();
    assert_eq!(
        operations(&changes),
        ["CreateEndpointConfig", "UpdateEndpoint", "DeleteEndpointConfig"]
    );
    assert_eq!(changes[2].body["EndpointConfigName"], before[0].as_str());
    assert_eq!(aws.state().models.len(), 1);
    assert_eq!(aws.state().configs.len(), 1);

    succeeds(at(&aws).args(["autoscale", "--endpoint", "news", "--max", "3"]));
    assert_eq!(operations(&aws.changes()), ["RegisterScalableTarget", "PutScalingPolicy"]);

    // Resources of others stay.
    for name in ["news-uk-0123abcd", "other"] {
        aws.state().models.insert(name.into(), json!({}));
    }
    let listed = succeeds(&mut undeploy(&aws, &["--dry-run"])).0;
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 4, "{listed}");
    assert_eq!(lines[..2], ["endpoint news", "its autoscaling"]);
    assert!(aws.changes().is_empty());
    let refused = run(&mut undeploy(&aws, &[]));
    let told = text(&refused.stderr);
    assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(2), listed), "{told}");
    assert!(told.contains("nothing was removed") && told.contains("--yes"), "{told}");
    assert!(aws.changes().is_empty());
    succeeds(&mut undeploy(&aws, &["--yes"]));
    let removals = aws.changes();
    assert_eq!(
        operations(&removals),
        ["DeregisterScalableTarget", "DeleteEndpoint", "DeleteEndpointConfig", "DeleteModel"]
    );
    for removal in &removals {
        assert_eq!(fields(&removal.body), recorded_fields(&removal.operation));
    }
    assert_eq!(aws.state().models.len(), 2);
    let (_, stderr) = succeeds(&mut undeploy(&aws, &["--yes"]));
    assert!(stderr.contains("nothing of endpoint news"));
}

#[test]
fn an_alarm_takes_a_shift_between_variants_back() {
    let aws = Aws::start();
    let compared = |weights: &str| {
        let mut command = deploy(&aws, &["--model", "new=s3://summaries/bundles/new.tar.gz"]);
        command.args(["--rollback-alarm", "errors", "--bake", "0.05"]);
        command.args(["--variant-weights", weights]);
        command
    };
    let stderr = succeeds(&mut compared("9,1")).1;
    assert!(stderr.contains("1 x ml.m5.xlarge for each model: AWS bills"), "{stderr}");
    assert_eq!(
        operations(&aws.changes()),
        ["CreateModel", "CreateModel", "CreateEndpointConfig", "CreateEndpoint"]
    );
    aws.state().alarm = "OK";
    succeeds(&mut compared("5,5"));
    assert_eq!(operations(&aws.changes()), ["UpdateEndpointWeightsAndCapacities"]);
    succeeds(&mut compared("5,5"));
    assert!(aws.changes().is_empty());

    aws.state().alarm = "ALARM";
    fails(&mut compared("1,9"), 1, &["went back to its earlier weights", "alarm errors"]);
    let changes = aws.changes();
    let weights = |call: &Call| {
        let of = |at: usize| call.body["DesiredWeightsAndCapacities"][at]["DesiredWeight"].clone();
        [of(0), of(1)]
    };
    assert_eq!(changes.iter().map(weights).collect::<Vec<_>>(), [[1, 9], [5, 5]]);

    aws.state().alarm = "OK";
    let anew = ["--instance-type", "ml.m5.2xlarge", "--canary", "20"];
    succeeds(compared("5,5").args(anew));
    let changes = aws.changes();
    let update = changes.iter().find(|call| call.operation == "UpdateEndpoint").unwrap();
    let alarms = &update.body["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"];
    assert_eq!(alarms, &json!([{"AlarmName": "errors"}]));
    fails(&mut compared("1,2,3"), 2, &["gives 3 weights for 2 models"]);
}

#[test]
fn weights_that_no_alarm_can_watch_do_not_stay() {
    let aws = Aws::start();
    let compared = |weights: &str, alarm: &str| {
        let mut command = deploy(&aws, &["--model", "new=s3://summaries/bundles/new.tar.gz"]);
        command.args(["--rollback-alarm", "errors", "--rollback-alarm", alarm, "--bake", "0.05"]);
        command.args(["--variant-weights", weights]);
        command
    };
    aws.state().alarm = "OK";
    succeeds(&mut compared("9,1", "errors"));
    aws.changes();
    // The control plane only knows the first alarm.
    fails(&mut compared("5,5", "typo"), 1, &["there is no alarm 'typo' in eu-west-1"]);
    assert!(aws.changes().is_empty());

    // The check before the change works, and the one after it fails.
    let quiet = json!({"MetricAlarms": [{"AlarmName": "errors", "StateValue": "OK"}]});
    let refusal = json!({"__type": "AccessDenied", "message": "no"});
    aws.state().faults.extend([("DescribeAlarms", 200, quiet), ("DescribeAlarms", 403, refusal)]);
    fails(&mut compared("5,5", "errors"), 1, &["AWS refused DescribeAlarms"]);
    let weights: Vec<_> = aws.state().weights.as_array().unwrap().clone();
    assert_eq!(weights[0]["DesiredWeight"], 9);
    assert_eq!(weights[1]["DesiredWeight"], 1);
}

#[test]
fn other_settings_of_the_scaling_leave_no_earlier_policy() {
    let aws = Aws::start();
    succeeds(&mut deploy(&aws, &[]));
    let scale = |more: &[&str]| {
        aws.changes();
        succeeds(at(&aws).args(["autoscale", "--endpoint", "news"]).args(more));
        aws.state().policies.keys().cloned().collect::<Vec<_>>()
    };
    aws.state().policies.insert("mine".into(), json!({"PolicyName": "mine"}));
    assert_eq!(scale(&["--target", "70"]), ["mine", "news-invocations"]);
    let to_zero = ["--min", "0", "--backlog", "5"];
    assert_eq!(scale(&to_zero), ["mine", "news-backlog", "news-wake"]);
    assert!(!operations(&aws.changes()).contains(&"DeleteAlarms"));
    assert_eq!(scale(&["--min", "1", "--backlog", "5"]), ["mine", "news-backlog"]);
    let changes = aws.changes();
    assert_eq!(
        operations(&changes),
        ["RegisterScalableTarget", "PutScalingPolicy", "DeleteScalingPolicy", "DeleteAlarms"]
    );
    assert_eq!(changes[3].body, json!({"AlarmNames": ["news-wake"]}));
}

#[test]
fn a_log_ends_where_nobody_reads_it() {
    let aws = Aws::start();
    succeeds(&mut deploy(&aws, &[]));
    aws.state().log.extend(["one", "two", "three"]);
    let log = |more: &[&str]| {
        let mut command = at(&aws);
        command.args(["status", "news", "--logs"]).args(more);
        command
    };
    let lines = |more: &[&str]| succeeds(&mut log(more)).0.lines().count();
    assert_eq!(lines(&["--lines", "0"]), 0);
    assert_eq!(lines(&["--lines", "2"]), 2);
    assert_eq!(lines(&[]), 3);

    let mut follow = log(&["--lines", "1", "--follow", "--interval", "0.02"]);
    let mut child = follow.stdout(Stdio::piped()).spawn().expect("the binary starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with("three\n"), "{line}");
    aws.state().log.push("four");
    let end = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("the log is followed though nobody reads it");
        }
        sleep(Duration::from_millis(20));
    }

    for limit in ["0", "101"] {
        let output = at(&aws).args(["status", "--jobs", "--limit", limit]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("is not in 1..=100"));
    }
}

#[test]
fn everything_that_was_deployed_goes_at_once() {
    let aws = Aws::start();
    succeeds(&mut deploy(&aws, &[]));
    let other = ["--revision", "2"];
    let mut second = at(&aws);
    second.args(["deploy", "--endpoint", "reports", "--interval", "0.02", "--image", IMAGE]);
    second.args(["--model", "s3://summaries/a.tar.gz", "--role", ROLE]).args(other);
    succeeds(&mut second);
    // A deployment that failed halfway, and resources of others.
    aws.state().endpoints.remove("reports");
    let theirs = json!({"EndpointConfigName": "theirs"});
    aws.state().endpoints.insert("theirs".into(), theirs);
    let config = json!({"ProductionVariants": [{"ModelName": "model"}]});
    aws.state().configs.insert("theirs-0123abcd".into(), config);
    let all = || {
        let mut command = at(&aws);
        command.args(["undeploy", "--all", "--interval", "0.02"]);
        command
    };
    let listed = succeeds(all().arg("--dry-run")).0;
    assert_eq!(listed.lines().count(), 5, "{listed}");
    succeeds(all().arg("--yes"));
    let state = aws.state();
    assert_eq!(state.endpoints.keys().collect::<Vec<_>>(), ["theirs"]);
    assert_eq!(state.configs.keys().collect::<Vec<_>>(), ["theirs-0123abcd"]);
    assert!(state.models.is_empty());
}

#[test]
fn what_fails_half_way_is_said_and_taken_up_again() {
    let aws = Aws::start();
    let limit =
        json!({"__type": "ResourceLimitExceeded", "message": "The account-level limit is 0."});
    aws.state().faults.push_back(("CreateEndpoint", 400, limit));
    fails(
        &mut deploy(&aws, &[]),
        1,
        &[
            "CreateEndpoint",
            "The account-level limit is 0 (ResourceLimitExceeded)",
            "higher quota",
            "there so far: model news-",
            "configuration news-",
            "run the same command again",
        ],
    );
    aws.changes();
    succeeds(&mut deploy(&aws, &[]));
    assert_eq!(operations(&aws.changes()), ["CreateEndpoint"]);
}

#[test]
fn endpoints_that_do_not_come_up_say_why() {
    let aws = Aws::start();
    aws.state().script.extend(["Creating", "Failed"]);
    aws.state().failure = Some("The primary container did not pass the ping health check.");
    fails(
        &mut deploy(&aws, &[]),
        1,
        &["endpoint news ended as Failed", "did not pass the ping health check"],
    );
    aws.changes();
    // An endpoint that was never in service cannot be updated, so it is created again. The fake's
    // script ends with the removal.
    aws.state().failure = None;
    succeeds(&mut deploy(&aws, &[]));
    assert_eq!(operations(&aws.changes()), ["DeleteEndpoint", "CreateEndpoint"]);

    aws.state().rolls_back = true;
    aws.state().failure = Some("Insufficient capacity");
    fails(
        &mut deploy(&aws, &["--instance-type", "ml.p4d.24xlarge"]),
        1,
        &["went back to its earlier settings: Insufficient capacity"],
    );
}

#[test]
fn passing_errors_are_tried_again_and_others_told() {
    let aws = Aws::start();
    let throttled = json!({"__type": "ThrottlingException", "message": "Rate exceeded"});
    {
        let mut state = aws.state();
        state.faults.push_back(("CreateModel", 400, throttled.clone()));
        state.faults.push_back(("CreateModel", 500, json!({"message": "Internal"})));
    }
    succeeds(&mut deploy(&aws, &[]));
    let tries = aws.changes();
    assert_eq!(tries.iter().filter(|call| call.operation == "CreateModel").count(), 3);

    for _ in 0..3 {
        aws.state().faults.push_back(("DescribeModel", 400, throttled.clone()));
    }
    fails(
        &mut deploy(&aws, &[]),
        1,
        &["AWS refused DescribeModel: Rate exceeded (ThrottlingException)"],
    );
    for (code, words) in [
        ("AccessDeniedException", "User: me is not authorized (AccessDeniedException)"),
        ("ExpiredTokenException", "credentials have expired"),
        (
            "UnrecognizedClientException",
            "does not accept the credentials (UnrecognizedClientException)",
        ),
    ] {
        let denied = json!({"__type": code, "message": "User: me is not authorized."});
        aws.state().faults.push_back(("DescribeModel", 400, denied));
        fails(&mut deploy(&aws, &[]), 1, &[words]);
    }
}

#[test]
fn calls_without_region_credentials_or_network_are_one_sentence() {
    let aws = Aws::start();
    fails(undeploy(&aws, &[]).env_remove("AWS_REGION"), 2, &["no AWS region is set"]);
    fails(undeploy(&aws, &[]).env("AWS_REGION", "eu west"), 2, &["'eu west' is not an AWS region"]);
    fails(
        undeploy(&aws, &[]).env_remove("AWS_ACCESS_KEY_ID"),
        1,
        &["no AWS credentials were found"],
    );
    fails(
        undeploy(&aws, &[])
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
            .env("AWS_MAX_ATTEMPTS", "1"),
        1,
        &["http://127.0.0.1:1 cannot be reached for DescribeEndpoint", "refused"],
    );
    // The URL of the service has precedence over the URL of all services. The token of a session is
    // sent.
    succeeds(
        undeploy(&aws, &["--dry-run"])
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
            .env("AWS_ENDPOINT_URL_SAGEMAKER", aws.url())
            .env("AWS_SESSION_TOKEN", "token"),
    );
}

#[test]
fn endpoints_that_others_made_are_left_alone() {
    let aws = Aws::start();
    aws.state().endpoints.insert("news".into(), json!({"EndpointConfigName": "theirs"}));
    fails(&mut undeploy(&aws, &["--yes"]), 1, &["was not deployed by this command", "theirs"]);
    assert!(aws.changes().is_empty());
}

#[test]
fn dry_runs_print_the_calls_and_make_none() {
    let aws = Aws::start();
    let (stdout, _) =
        succeeds(&mut deploy(&aws, &["--dry-run", "--serverless", "--memory", "2048"]));
    let calls: Vec<Value> =
        serde_json::Deserializer::from_str(&stdout).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(calls.len(), 3);
    let variant = &calls[1]["CreateEndpointConfig"]["ProductionVariants"][0];
    assert_eq!(variant["ServerlessConfig"], json!({"MemorySizeInMB": 2048, "MaxConcurrency": 5}));
    succeeds(at(&aws).args(["autoscale", "--endpoint", "news", "--dry-run"]));
    assert!(aws.state().calls.is_empty());
    fails(
        &mut deploy(&aws, &["--serverless", "--memory", "100"]),
        2,
        &["serverless endpoints have"],
    );
    fails(at(&aws).args(["autoscale", "--endpoint", "news", "--min", "9"]), 2, &["at least 9"]);
}

/// `invoke` with a server on this machine.
fn invoke(server: &Server, more: &[&str]) -> Command {
    let mut command = epitome();
    command
        .args(["invoke", "--endpoint", "news", "--endpoint-url"])
        .arg(format!("http://{}", server.address))
        .arg(fixture("articles/neuron.txt"))
        .args(more);
    command
}

#[test]
fn invoke_asks_an_endpoint_as_summarize_asks_a_bundle() {
    let bundle = client::bundle();
    let server = Server::start(&bundle, &[]);
    let summarize = |more: &[&str]| {
        let mut command = epitome();
        // Truncates like an endpoint.
        command.args(["summarize", "--long", "first", "--model"]).arg(&bundle);
        succeeds(command.arg(fixture("articles/neuron.txt")).args(more)).0
    };
    // A local server needs neither region nor credentials.
    let flags = ["--num-beams", "3", "--max-length", "12"];
    let (stdout, stderr) = succeeds(&mut invoke(&server, &flags));
    assert_eq!(stdout, summarize(&flags));
    assert!(stderr.contains(" ms"));

    let greedy = ["--max-length", "12", "--num-beams", "1"];
    let (streamed, _) = succeeds(invoke(&server, &greedy).arg("--stream"));
    assert_eq!(streamed, summarize(&greedy));

    let penalties = ["--length-penalty", "0.5,2", "--num-beams", "4"];
    let compared = succeeds(&mut invoke(&server, &penalties)).0;
    assert!(
        compared.contains("length_penalty 0.5") && compared.contains("length_penalty 2"),
        "{compared}"
    );
    let json = succeeds(invoke(&server, &penalties).args(["--format", "json"])).0;
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["length_penalty"], 2.0);
    assert!(lines[1]["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn invoke_needs_no_name_where_a_server_is_named() {
    let server = Server::tiny(&[]);
    let mut command = epitome();
    command.args(["invoke", "--endpoint-url"]).arg(format!("http://{}", server.address));
    let (summary, _) = succeeds(command.arg(fixture("articles/neuron.txt")));
    assert_eq!(summary.lines().count(), 1);
}

#[test]
fn invoke_tells_what_the_container_says() {
    let server = Server::tiny(&[]);
    // A request that this machine finds invalid is not sent.
    fails(&mut invoke(&server, &["--parameters", r#"{"num_beam": 2}"#]), 2, &["num_beam"]);
    // Only the container knows the number of tokens.
    fails(
        &mut invoke(&server, &["--parameters", r#"{"forced_eos_token_id": 9999999}"#]),
        1,
        &["the container answered with status 400", "forced_eos_token_id"],
    );
    fails(
        epitome()
            .args(["invoke", "--endpoint", "news", "--endpoint-url", "http://127.0.0.1:1"])
            .arg(fixture("articles/neuron.txt"))
            .env("AWS_MAX_ATTEMPTS", "1"),
        1,
        &["endpoint news cannot be reached"],
    );
    fails(
        epitome().args(["invoke", "--endpoint", "news"]).arg(fixture("articles/neuron.txt")),
        2,
        &["no AWS region is set"],
    );
}
