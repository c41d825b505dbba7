//! What is sent to AWS, against what AWS's Python SDKs send (`fixtures/aws/record_requests.py`).

use std::collections::BTreeMap;

use epitome_aws::Error;
use epitome_aws::autoscaling::Scaling;
use epitome_aws::deployment::{DeploymentSpec, Hosting, Step};
use epitome_aws::training::TrainingSpec;
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::123456789012:role/service-role/training";
const IMAGE: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/epitome:latest";
const REGION: &str = "eu-west-1";

type Call = (String, Value);

/// The recorded calls of a case: operations, and bodies.
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

/// The tutorial's job, as `record_requests.py` asks the estimator for it.
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
    for (case, name, more) in [
        ("train", "summaries-1", json!({})),
        ("train_spot", "summaries-2", spot),
        ("train_image", "summaries-3", image),
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
    ] {
        let error = with(tutorial("a"), &more).request(REGION).unwrap_err();
        assert!(error.is_usage(), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let unknown: Result<TrainingSpec, _> = serde_json::from_value(json!({"instance_typ": "a"}));
    assert!(unknown.is_err());
}

fn deployment(hosting: Hosting) -> DeploymentSpec {
    DeploymentSpec {
        endpoint: "news".into(),
        image: IMAGE.into(),
        model: "s3://summaries/bundles/model.tar.gz".into(),
        role: ROLE.into(),
        hosting,
        environment: BTreeMap::from([("HF_TASK".into(), "summarization".into())]),
        tags: BTreeMap::new(),
        revision: None,
    }
}

fn instances(instance_type: &str, count: u32) -> Hosting {
    Hosting::Instances { instance_type: instance_type.into(), count }
}

/// The body with names, which are everyone's own, made alike.
fn anonymous(value: &Value) -> Value {
    const OWN: [&str; 4] = ["ModelName", "EndpointConfigName", "EndpointName", "S3FailurePath"];
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
    let serverless = Hosting::Serverless { memory: 4096, concurrency: 5 };
    let asynchronous = Hosting::Async {
        instance_type: "ml.m5.xlarge".into(),
        count: 1,
        output: "s3://summaries/answers".into(),
        concurrency: Some(4),
    };
    let mut tagged = deployment(instances("ml.m5.xlarge", 2));
    tagged.tags.insert("project".into(), "summaries".into());
    for (case, spec) in [
        ("deploy_instance", deployment(instances("ml.m5.xlarge", 1))),
        ("deploy_tagged", tagged),
        ("deploy_serverless", deployment(serverless)),
        ("deploy_async", deployment(asynchronous)),
    ] {
        let steps = spec.steps().unwrap();
        assert_eq!(calls(&steps), recorded_calls(case), "{case}");
    }
    // An update makes its model as a creation does; the SDK was given one that was there.
    let steps = deployment(instances("ml.m5.2xlarge", 2)).update_steps();
    assert_eq!(calls(&steps.unwrap()[1..]), recorded_calls("update"));
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
    let odd_memory = Hosting::Serverless { memory: 1500, concurrency: 5 };
    for (spec, words) in [
        (changed(|spec| spec.endpoint = "a_b".into()), "cannot name an endpoint"),
        (changed(|spec| spec.endpoint = "a".repeat(55)), "cannot name an endpoint"),
        (changed(|spec| spec.model = "models/a".into()), "must be on S3"),
        (changed(|spec| spec.role = "me".into()), "is not a role"),
        (deployment(instances("m5.xlarge", 1)), "is not an instance type"),
        (deployment(odd_memory), "serverless endpoints have"),
    ] {
        let error = spec.steps().unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn scaling_is_set_with_the_calls_of_boto3() {
    let scaling =
        Scaling { min: 1, max: 4, target: 70.0, scale_in_cooldown: 300, scale_out_cooldown: 60 };
    let calls = scaling.calls("instance").unwrap();
    let ours: Vec<_> =
        calls.into_iter().map(|(operation, body)| (operation.to_owned(), body)).collect();
    assert_eq!(ours, recorded("autoscale"));
    for bad in [
        Scaling { min: 5, ..scaling.clone() },
        Scaling { target: f64::NAN, ..scaling.clone() },
        Scaling { target: 0.0, ..scaling },
    ] {
        assert!(bad.calls("instance").is_err(), "{bad:?}");
    }
}
