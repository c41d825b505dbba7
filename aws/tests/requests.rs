//! Compares the requests to AWS with those of AWS's Python SDKs
//! (`fixtures/aws/record_requests.py`).

use std::collections::BTreeMap;

use std::time::Duration;

use epitome_aws::autoscaling::{Scaling, Target};
use epitome_aws::deployment::{
    AsyncOutput, DataCapture, DeploymentSpec, Hosting, Package, Rollout, Variant,
};
use epitome_aws::training::TrainingSpec;
use epitome_aws::transform::{Format, Input, TransformSpec};
use epitome_aws::{Error, ModelSpec, Step, VARIANT};
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::123456789012:role/service-role/training";
const IMAGE: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/epitome:latest";
const REGION: &str = "eu-west-1";
const KEY: &str = "arn:aws:kms:eu-west-1:123456789012:key/0";

type Call = (String, Value);

/// The recorded calls of a case: operations and bodies.
fn recorded(case: &str) -> Vec<Call> {
    let all = include_str!("../../fixtures/aws/requests.json");
    let all: Value = serde_json::from_str(all).unwrap();
    let calls = all[case].as_array().unwrap_or_else(|| panic!("no case {case}"));
    let call = |call: &Value| {
        let target = call["target"].as_str().unwrap();
        let operation = target.split_once('.').unwrap().1;
        (operation.to_owned(), call["body"].clone())
    };
    calls.iter().map(call).collect()
}

/// The training job of the tutorial, as in `record_requests.py`.
fn tutorial(name: &str) -> Value {
    json!({
        "job_name": name,
        "role": ROLE,
        "entry_point": "run_summarization.py",
        "source_dir": "source",
        "instance_type": "ml.p3.2xlarge",
        "transformers_version": "4.6.1",
        "pytorch_version": "1.7.1",
        "py_version": "py36",
        "output_path": "s3://summaries/",
        "inputs": {
            "train": "s3://summaries/data/train",
            "validation": "s3://summaries/data/validation",
        },
        "hyperparameters": {
            "model_name_or_path": "google/pegasus-large",
            "do_train": true,
            "do_eval": true,
            "per_device_train_batch_size": 2,
            "learning_rate": 5e-5,
            "max_source_length": 512,
            "train_file": "/opt/ml/input/data/train/train.csv",
            "validation_file": "/opt/ml/input/data/validation/validation.csv",
            "text_column": "text",
            "summary_column": "summary",
            "output_dir": "/opt/ml/model",
        },
    })
}

fn with(mut settings: Value, more: &Value) -> TrainingSpec {
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    serde_json::from_value(settings).unwrap()
}

#[test]
fn training_jobs_are_what_the_estimator_asks_for() {
    let spot = json!({
        "use_spot_instances": true,
        "max_run": 36000,
        "max_wait": 72000,
        "checkpoint_s3_uri": "s3://summaries/checkpoints",
        "checkpoint_local_path": "/opt/ml/checkpoints",
        "volume_size": 100,
        "instance_count": 2,
        "output_path": "s3://summaries/models",
        "code_location": "s3://summaries/code",
        "environment": {"WANDB_DISABLED": "true"},
        "tags": {"project": "summaries"},
        "metric_definitions": {"loss": "'loss': ([0-9.]+)"},
        "subnets": ["subnet-1"],
        "security_group_ids": ["sg-1"],
    });
    let image = json!({
        "image_uri": IMAGE,
        "transformers_version": null,
        "pytorch_version": null,
        "py_version": null,
    });
    let newer = json!({
        "inputs": {"train": "s3://summaries/data/train"},
        "transformers_version": "4.49.0",
        "pytorch_version": "2.5.1",
        "py_version": "py311",
    });
    let several = |instance_type: &str, distribution: Value| {
        json!({
            "inputs": {"train": "s3://summaries/data/train"},
            "instance_type": instance_type,
            "instance_count": 2,
            "distribution": distribution,
        })
    };
    let smdistributed =
        several("ml.p3.16xlarge", json!({"smdistributed": {"dataparallel": {"enabled": true}}}));
    let mut torch = several("ml.p4d.24xlarge", json!({"torch_distributed": {"enabled": true}}));
    let mut closed = json!({
        "debugger_hook_config": false,
        "metric_definitions": {"loss": "'loss': ([0-9.]+)"},
        "subnets": ["subnet-1"],
        "security_group_ids": ["sg-1"],
        "output_kms_key": KEY,
        "volume_kms_key": KEY,
        "keep_alive_period_in_seconds": 1800,
        "encrypt_inter_container_traffic": true,
        "enable_network_isolation": true,
        "max_retry_attempts": 2,
        "input_mode": "FastFile",
        "disable_output_compression": true,
    });
    for settings in [&mut torch, &mut closed] {
        let newer = newer.as_object().unwrap().clone();
        settings.as_object_mut().unwrap().extend(newer);
    }
    let mpi = json!({
        "enabled": true,
        "processes_per_host": 8,
        "custom_mpi_options": "--NCCL_DEBUG INFO",
    });
    for (case, name, more) in [
        ("train", "summaries-1", json!({})),
        ("train_spot", "summaries-2", spot),
        ("train_image", "summaries-3", image),
        ("train_smdistributed", "distributed-1", smdistributed),
        ("train_torch_distributed", "distributed-2", torch),
        ("train_mpi", "distributed-3", several("ml.p3.16xlarge", json!({"mpi": mpi}))),
        ("train_closed", "closed-1", closed),
    ] {
        let request = with(tutorial(name), &more).request(REGION).unwrap();
        let recorded = recorded(case);
        assert_eq!(recorded.len(), 1);
        assert_eq!(recorded[0], ("CreateTrainingJob".to_owned(), request), "{case}");
    }
}

#[test]
fn jobs_that_cannot_be_are_refused_by_name() {
    for (more, words) in [
        (json!({"role": null}), "role is not given: set it in the file, or with --role"),
        (json!({"output_path": null}), "output_path is not given"),
        (json!({"output_path": "/tmp"}), "output_path must be an s3://BUCKET/PREFIX URL"),
        (json!({"inputs": {"train": "data"}}), "inputs.train must be an s3://"),
        (json!({"job_name": "a_b"}), "'a_b' cannot name a job"),
        (json!({"transformers_version": "9.9"}), "no HuggingFace container of transformers 9.9"),
        (json!({"max_wait": 10}), "max_wait is for use_spot_instances"),
        (json!({"max_wait": 10, "use_spot_instances": true}), "make it at least max_run"),
        (
            json!({"distribution": {"smdistributed": {"dataparallel": {"enabled": true}}}}),
            "smdistributed does not run on ml.p3.2xlarge",
        ),
        (
            json!({"distribution": {"mpi": {}, "torch_distributed": {"enabled": true}}}),
            "names several of",
        ),
    ] {
        let error = with(tutorial("a"), &more).request(REGION).unwrap_err();
        assert!(error.is_usage(), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let unknown: Result<TrainingSpec, _> = serde_json::from_value(json!({"instance_typ": "a"}));
    assert!(unknown.is_err());
}

fn model() -> ModelSpec {
    ModelSpec {
        image: IMAGE.into(),
        data: "s3://summaries/bundles/model.tar.gz".into(),
        role: ROLE.into(),
        environment: BTreeMap::from([("HF_TASK".into(), "summarization".into())]),
        network: None,
        network_isolation: false,
    }
}

fn deployment(hosting: Hosting) -> DeploymentSpec {
    DeploymentSpec {
        endpoint: "news".into(),
        variants: vec![Variant::only(model())],
        hosting,
        volume_size: None,
        download_timeout: None,
        startup_timeout: None,
        ami_version: None,
        capture: None,
        kms_key: None,
        rollout: Rollout::default(),
        tags: BTreeMap::new(),
        revision: None,
    }
}

fn project() -> BTreeMap<String, String> {
    BTreeMap::from([("project".into(), "summaries".into())])
}

fn instances(instance_type: &str, count: u32) -> Hosting {
    Hosting::Instances { instance_type: instance_type.into(), count }
}

/// Replaces names that differ between the two programs.
fn anonymous(value: &Value) -> Value {
    const OWN: [&str; 5] =
        ["ModelName", "EndpointConfigName", "EndpointName", "AlarmActions", "S3FailurePath"];
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                let is_own = OWN.contains(&name.as_str());
                let value = if is_own { json!("*") } else { anonymous(value) };
                (name.clone(), value)
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.iter().map(anonymous).collect(),
        other => other.clone(),
    }
}

fn calls(steps: &[Step]) -> Vec<Call> {
    let call = |step: &Step| (step.operation.to_owned(), anonymous(&step.body));
    steps.iter().map(call).collect()
}

fn recorded_calls(case: &str) -> Vec<Call> {
    let calls = recorded(case);
    let call = |(operation, body): Call| (operation, anonymous(&body));
    calls.into_iter().map(call).collect()
}

#[test]
fn endpoints_are_made_with_the_calls_of_the_python_sdk() {
    let serverless =
        |provisioned| Hosting::Serverless { memory: 4096, concurrency: 5, provisioned };
    let asynchronous = |output, concurrency| Hosting::Async {
        instance_type: "ml.m5.xlarge".into(),
        count: 1,
        output,
        concurrency,
    };
    let answers = AsyncOutput { answers: "s3://summaries/answers".into(), ..Default::default() };
    let notified = AsyncOutput {
        failures: Some("s3://summaries/failed".into()),
        kms_key: Some(KEY.into()),
        success_topic: Some("arn:aws:sns:eu-west-1:123456789012:done".into()),
        error_topic: Some("arn:aws:sns:eu-west-1:123456789012:failed".into()),
        include_response: true,
        ..answers.clone()
    };
    let mut tagged = deployment(instances("ml.m5.xlarge", 2));
    tagged.tags = project();
    let mut production = deployment(instances("ml.m5.xlarge", 1));
    production.variants[0].model.network = Some("subnet-1,subnet-2,sg-1".parse().unwrap());
    production.variants[0].model.network_isolation = true;
    production.kms_key = Some(KEY.into());
    production.volume_size = Some(64);
    production.download_timeout = Some(1200);
    production.startup_timeout = Some(900);
    production.ami_version = Some("al2-ami-sagemaker-inference-gpu-2".into());
    production.capture =
        Some(DataCapture { output: "s3://summaries/captured".into(), percent: 20 });
    for (case, spec) in [
        ("deploy_instance", deployment(instances("ml.m5.xlarge", 1))),
        ("deploy_tagged", tagged),
        ("deploy_serverless", deployment(serverless(None))),
        ("deploy_provisioned", deployment(serverless(Some(2)))),
        ("deploy_async", deployment(asynchronous(answers, Some(4)))),
        ("deploy_notified", deployment(asynchronous(notified, None))),
        ("deploy_production", production),
    ] {
        let steps = spec.steps().unwrap();
        assert_eq!(calls(&steps), recorded_calls(case), "{case}");
    }
    // An update creates its model like a creation does. The SDK got a model that existed.
    let steps = deployment(instances("ml.m5.2xlarge", 2)).update_steps();
    assert_eq!(calls(&steps.unwrap()[1..]), recorded_calls("update"));
}

/// Two models behind one endpoint.
fn compared(weights: [f64; 2]) -> DeploymentSpec {
    let mut spec = deployment(instances("ml.m5.xlarge", 1));
    let mut new = model();
    new.data = "s3://summaries/bundles/new.tar.gz".into();
    spec.endpoint = "compared".into();
    spec.variants = [("old", model()), ("new", new)]
        .into_iter()
        .zip(weights)
        .map(|((name, model), weight)| Variant { name: name.into(), weight, model })
        .collect();
    spec
}

#[test]
fn variants_share_an_endpoint_with_the_calls_of_the_python_sdk() {
    let steps = compared([0.9, 0.1]).steps().unwrap();
    let models = [&steps[0], &steps[1]].map(|step| step.body["ModelName"].clone());
    assert_ne!(models[0], models[1]);
    assert_eq!(calls(&steps[2..]), recorded_calls("deploy_variants"));
    let shifted = compared([0.5, 0.5]);
    assert_eq!(recorded("shift")[0].1, shifted.weights());
    // Other weights give the same configuration, since they are changed in place.
    let name = |spec: &DeploymentSpec| spec.steps().unwrap()[2].body["EndpointConfigName"].clone();
    assert_eq!(name(&shifted), name(&compared([0.9, 0.1])));
    for bad in [compared([0.0, 0.0]), compared([-1.0, 2.0]), compared([f64::NAN, 1.0])] {
        assert!(bad.steps().is_err(), "{:?}", bad.variants);
    }

    let mut careful = compared([0.9, 0.1]);
    careful.rollout =
        Rollout { alarms: vec!["errors".into()], canary: Some(10), bake: Duration::from_secs(300) };
    let steps = careful.update_steps().unwrap();
    assert_eq!(calls(&steps[3..]), recorded_calls("update_canary"));
}

#[test]
fn models_are_registered_with_the_calls_of_the_python_sdk() {
    let (model, tags) = (model(), BTreeMap::new());
    let package =
        Package { group: "summaries", model: &model, instance_type: "ml.m5.xlarge", tags: &tags };
    assert_eq!(calls(&package.steps()), recorded_calls("register"));
}

#[test]
fn transform_jobs_are_what_the_transformer_asks_for() {
    let plain = TransformSpec {
        job_name: "nightly-1".into(),
        model: model(),
        input: Input::Prefix("s3://summaries/documents/".parse().unwrap()),
        output: "s3://summaries/summaries".parse().unwrap(),
        format: Format::JsonLines,
        gzip: false,
        split: true,
        accept: "application/jsonlines".into(),
        multi_record: true,
        join: false,
        input_filter: None,
        output_filter: None,
        instance_type: "ml.m5.xlarge".into(),
        instance_count: 1,
        max_concurrent: None,
        max_payload: None,
        timeout: None,
        retries: None,
        kms_key: None,
        volume_kms_key: None,
        tags: BTreeMap::new(),
    };
    let joined = TransformSpec {
        job_name: "nightly-2".into(),
        format: Format::Csv,
        gzip: true,
        accept: "text/csv".into(),
        multi_record: false,
        join: true,
        input_filter: Some("$[1]".into()),
        output_filter: Some("$[0,-1]".into()),
        instance_count: 2,
        max_concurrent: Some(4),
        max_payload: Some(6),
        timeout: Some(600),
        retries: Some(1),
        kms_key: Some(KEY.into()),
        volume_kms_key: Some(KEY.into()),
        tags: project(),
        ..plain.clone()
    };
    assert_eq!(calls(&plain.steps().unwrap()), recorded_calls("transform"));
    let mut recorded = recorded_calls("transform_joined");
    // The container gets its environment from the model.
    recorded[0].1.as_object_mut().unwrap().remove("Environment");
    assert_eq!(calls(&joined.steps().unwrap()[1..]), recorded);

    let changed = |change: fn(&mut TransformSpec)| {
        let mut spec = plain.clone();
        change(&mut spec);
        spec
    };
    for (spec, words) in [
        (changed(|spec| spec.job_name = "a_b".into()), "cannot name a job"),
        (changed(|spec| spec.instance_type = "m5".into()), "is not an instance type"),
        (changed(|spec| (spec.join, spec.split) = (true, false)), "leave --join out"),
        (
            changed(|spec| (spec.max_payload, spec.max_concurrent) = (Some(20), Some(6))),
            "may be 100 MB",
        ),
    ] {
        let error = spec.steps().unwrap_err();
        assert!(error.is_usage() && error.to_string().contains(words), "{error}");
    }
}

#[test]
fn names_follow_from_what_they_hold() {
    let names = |spec: &DeploymentSpec| {
        let steps = spec.steps().unwrap();
        let name = |at: usize, field: &str| steps[at].body[field].as_str().unwrap().to_owned();
        (name(0, "ModelName"), name(1, "EndpointConfigName"))
    };
    let first = deployment(instances("ml.m5.xlarge", 1));
    assert_eq!(names(&first), names(&first.clone()));
    assert!(names(&first).0.starts_with("news-"));
    let larger = deployment(instances("ml.m5.4xlarge", 1));
    assert_eq!(names(&first).0, names(&larger).0, "the model is the same");
    assert_ne!(names(&first).1, names(&larger).1);
    let mut again = first.clone();
    again.revision = Some("2".into());
    assert_ne!(names(&first).0, names(&again).0);
    assert_ne!(names(&first).1, names(&again).1);
}

#[test]
fn endpoints_that_cannot_be_are_refused() {
    let valid = deployment(instances("ml.m5.xlarge", 1));
    let changed = |change: fn(&mut DeploymentSpec)| {
        let mut spec = valid.clone();
        change(&mut spec);
        spec
    };
    let serverless =
        |memory, provisioned| Hosting::Serverless { memory, concurrency: 5, provisioned };
    for (spec, words) in [
        (changed(|spec| spec.endpoint = "a_b".into()), "cannot name an endpoint"),
        (changed(|spec| spec.endpoint = "a".repeat(55)), "cannot name an endpoint"),
        (changed(|spec| spec.variants[0].model.data = "models/a".into()), "must be on S3"),
        (changed(|spec| spec.variants[0].model.role = "me".into()), "is not a role"),
        (changed(|spec| spec.variants.push(spec.variants[0].clone())), "two variants have"),
        (changed(|spec| spec.startup_timeout = Some(10)), "60 to 3600 seconds"),
        (changed(|spec| spec.rollout.canary = Some(60)), "a canary is"),
        (deployment(instances("m5.xlarge", 1)), "is not an instance type"),
        (deployment(serverless(1500, None)), "serverless endpoints have"),
        (deployment(serverless(2048, Some(9))), "is kept ready for 1 to 5 requests"),
    ] {
        let error = spec.steps().unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn scaling_is_set_with_the_calls_of_boto3() {
    let scaling = Scaling {
        variant: VARIANT.into(),
        min: 1,
        max: 4,
        target: Target::Invocations(70.0),
        scale_in_cooldown: 300,
        scale_out_cooldown: 60,
    };
    let to_zero = Scaling { min: 0, target: Target::Backlog(5.0), ..scaling.clone() };
    let provisioned = Scaling { target: Target::Provisioned(0.7), ..scaling.clone() };
    for (case, endpoint, scaling) in [
        ("autoscale", "instance", &scaling),
        ("autoscale_to_zero", "async", &to_zero),
        ("autoscale_provisioned", "provisioned", &provisioned),
    ] {
        let calls = scaling.calls(endpoint).unwrap().into_iter();
        let ours: Vec<_> =
            calls.map(|(_, operation, body)| (operation.to_owned(), anonymous(&body))).collect();
        assert_eq!(ours, recorded_calls(case), "{case}");
    }
    for bad in [
        Scaling { min: 5, ..scaling.clone() },
        Scaling { min: 0, ..scaling.clone() },
        Scaling { target: Target::Invocations(f64::NAN), ..scaling.clone() },
        Scaling { target: Target::Provisioned(1.5), ..scaling.clone() },
        Scaling { target: Target::Invocations(0.0), ..scaling },
    ] {
        assert!(bad.calls("instance").is_err(), "{bad:?}");
    }
}
