//! Tests of training and transform jobs, whose inputs and outputs are objects.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::server::Server;
use super::{KEY, manifest, put_tiny, uri, works};
use crate::aws::fake::Aws;
use crate::common::{fails, fixture, run, succeeds, text};
use serde_json::{Value, json};

/// `epitome export --training-job` with a control plane that gives these states of a job.
fn export_job(server: &Server, states: Vec<Value>, output: &Path) -> Command {
    let aws = Aws::start();
    aws.state().jobs.insert("tuning".into(), states.into());
    let mut command = server.epitome();
    command
        .args(["export", "--no-verify", "--training-job", "tuning", "--output"])
        .arg(output)
        .env("AWS_ENDPOINT_URL_SAGEMAKER", aws.url());
    command
}

fn job(status: &str, artifact: &str) -> Value {
    json!({
        "TrainingJobStatus": status,
        "SecondaryStatus": status,
        "ModelArtifacts": {"S3ModelArtifacts": artifact},
    })
}

#[test]
fn a_training_job_is_followed_to_its_artifact() {
    let server = Server::start();
    put_tiny(&server);
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    for status in ["Completed", "Stopped"] {
        let states = vec![job("InProgress", ""), job(status, &uri(KEY))];
        let mut command = export_job(&server, states, &bundle);
        let output = run(command.args(["--wait", "--interval", "0.02"]));
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert!(stderr.contains("InProgress"), "{stderr}");
        assert_eq!(stderr.contains("was stopped"), status == "Stopped", "{stderr}");
        assert_eq!(manifest(&bundle)["source"]["name"], uri(KEY));
    }
}

#[test]
fn a_training_job_that_does_not_compress_leaves_a_prefix() {
    let server = Server::start();
    for entry in fs::read_dir(fixture("tiny/pegasus-relu")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        fs::copy(&path, server.object(&format!("job/output/model/{name}"))).unwrap();
    }
    let mut plain = job("Completed", &uri("job/output/model"));
    plain["OutputDataConfig"] = json!({"CompressionType": "NONE"});
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    works(&mut export_job(&server, vec![plain], &bundle));
    assert_eq!(manifest(&bundle)["source"]["name"], uri("job/output/model/"));
}

#[test]
fn a_training_job_without_an_artifact_says_why() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let mut failed = job("Failed", "");
    failed["FailureReason"] = "AlgorithmError: CUDA out of memory".into();
    let cases: [(Value, &[&str]); 5] = [
        (failed, &["'tuning' failed: AlgorithmError: CUDA out of memory"]),
        (job("InProgress", ""), &["not over yet (InProgress)", "--wait"]),
        (job("Completed", ""), &["left no artifact", "SM_MODEL_DIR"]),
        (job("Deleting", ""), &["its status is Deleting"]),
        (job("Completed", &uri(KEY)), &[&uri(KEY), "does not exist"]),
    ];
    for (state, words) in cases {
        let code = if words.contains(&"does not exist") { 2 } else { 1 };
        let mut command = export_job(&server, vec![state], &folder.path().join("bundle"));
        fails(&mut command, code, words);
    }
    let aws = Aws::start();
    let mut unknown = server.epitome();
    unknown
        .args(["export", "--training-job", "nobody", "--output"])
        .arg(folder.path().join("bundle"))
        .env("AWS_ENDPOINT_URL_SAGEMAKER", aws.url());
    fails(&mut unknown, 1, &["no training job 'nobody'", "eu-west-1"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// `epitome transform` of `docs` to `out` in the job `nightly`.
fn transform(server: &Server, aws: &Aws) -> Command {
    let mut command = server.epitome();
    command
        .args(["transform", "--job-name", "nightly", "--model", &uri("model.tar.gz")])
        .args(["--image", "1.dkr.ecr.eu-west-1.amazonaws.com/epitome"])
        .args(["--role", "arn:aws:iam::1:role/a", "--interval", "0.02"])
        .args(["--input", &uri("docs"), "--output", &uri("out")])
        .env("AWS_ENDPOINT_URL", aws.url());
    command
}

/// The calls of a command that change something, without their bodies.
fn changes(aws: &Aws) -> Vec<String> {
    aws.changes().into_iter().map(|call| call.operation).collect()
}

#[test]
fn what_failed_of_a_job_is_told_by_whoever_follows_it() {
    let (server, aws) = (Server::start(), Aws::start());
    let error = r#"{"error": "too long"}"#;
    for (key, body) in [
        ("docs/a.jsonl", "{}"),
        ("docs/b.jsonl", "{}"),
        ("docs/c.jsonl", "{}"),
        ("out/a.jsonl.out", error),
        // This file was not part of the job.
        ("out/c.jsonl.out", error),
        ("out/nightly.manifest", r#"[{"prefix": "s3://artifacts/docs/"}, "a.jsonl", "b.jsonl"]"#),
    ] {
        fs::write(server.object(key), body).unwrap();
    }
    let source = json!({"S3DataType": "ManifestFile", "S3Uri": uri("out/nightly.manifest")});
    let job = |status: &str| {
        json!({
            "TransformJobStatus": status,
            "FailureReason": "The container broke",
            "ModelName": "nightly-0123abcd",
            "CreationTime": 1.5,
            "TransformInput": {"DataSource": {"S3DataSource": source}},
        })
    };
    let states = ["InProgress", "InProgress", "Failed"].map(job);
    aws.state().transform_jobs.insert("nightly".into(), states.into());
    let output = run(&mut transform(&server, &aws));
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for words in [
        "is on its way",
        "The job failed: The container broke",
        "a.jsonl:1: too long",
        "b.jsonl: no output",
        "2 of 3 files have no summary",
    ] {
        assert!(stderr.contains(words), "'{words}' is missing in: {stderr}");
    }
    assert!(!stderr.contains("c.jsonl"), "{stderr}");
    assert_eq!(changes(&aws), ["DeleteModel"]);
    assert!(!server.object("out/nightly.manifest").exists());

    // The same command with permission to run failures again, under a free name.
    aws.state().transform_jobs.insert("nightly-again-1".into(), [job("Failed")].into());
    let output = run(transform(&server, &aws).args(["--retry", "1"]));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(aws.state().transform_jobs.contains_key("nightly-again-2"));
    let manifest = fs::read(server.object("out/nightly-again-2.manifest")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest, json!([{"prefix": uri("docs/")}, "b.jsonl"]));
}

#[test]
fn the_container_hears_how_long_a_request_may_take() {
    let (server, aws) = (Server::start(), Aws::start());
    fs::write(server.object("docs/a.jsonl"), "{}").unwrap();
    let deadline = |flags: &[&str]| {
        let (shown, _) = succeeds(transform(&server, &aws).arg("--dry-run").args(flags));
        let call = shown.lines().find(|line| line.contains("EPITOME_DEADLINE"));
        call.map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(deadline(&[]), "");
    let said = deadline(&["--timeout", "1800"]);
    assert!(said.contains(r#""EPITOME_DEADLINE": "1790""#), "{said}");
    let said = deadline(&["--timeout", "1800", "--env", "EPITOME_DEADLINE=60"]);
    assert!(said.contains(r#""EPITOME_DEADLINE": "60""#), "{said}");
}

#[test]
fn a_job_that_is_refused_takes_only_its_own_model_along() {
    let (server, aws) = (Server::start(), Aws::start());
    fs::write(server.object("docs/a.jsonl"), "{}").unwrap();
    let invalid = |message: &str| json!({"__type": "ValidationException", "message": message});
    let limit = json!({"__type": "ResourceLimitExceeded", "message": "The limit is 0."});
    let refused = ("CreateTransformJob", 400, limit);
    let there = ("CreateModel", 400, invalid("Cannot create already existing model"));
    aws.state().faults.extend([there, refused.clone()]);
    fails(&mut transform(&server, &aws), 1, &["The limit is 0"]);
    assert_eq!(changes(&aws), ["CreateModel", "CreateTransformJob"]);

    let denied = ("DeleteModel", 400, invalid("no permission"));
    aws.state().faults.extend([refused, denied]);
    fails(&mut transform(&server, &aws), 1, &["The limit is 0"]);
    assert_eq!(changes(&aws), ["CreateModel", "CreateTransformJob", "DeleteModel"]);
}
