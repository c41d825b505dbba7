//! Tests of `epitome train`: the real binary against a fake control plane in this process, and a
//! real S3 server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::aws::fake::Aws;
use crate::common::{fails, run, text};
use crate::s3::server::{BUCKET, Server};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Key of the packed scripts of the job `news-1`.
const SOURCE: &str = "jobs/news-1/source/sourcedir.tar.gz";

/// A control plane, an S3 server, and a folder of scripts.
struct Stage {
    aws: Aws,
    s3: Server,
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scripts = folder.path().join("source");
        fs::create_dir(&scripts).unwrap();
        fs::write(scripts.join("run_summarization.py"), "print('training')\n").unwrap();
        fs::write(scripts.join("requirements.txt"), "rouge-score\n").unwrap();
        Self { aws: Aws::start(), s3: Server::start(), folder }
    }

    fn scripts(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    /// `epitome train` with the example's settings after these lines, and with a folder of scripts.
    fn example(&self, before: &str) -> Command {
        let example = include_str!("../examples/train.toml");
        self.with_settings(&format!("{before}\n{example}"))
    }

    /// A job for the existing bucket.
    fn job(&self) -> Command {
        let example = include_str!("../examples/train.toml");
        let example = example.replace("s3://summaries/\"", &format!("s3://{BUCKET}/jobs\""));
        let mut command = self.with_settings(&format!("job_name = 'news-1'\n{example}"));
        command.args(["--interval", "0.02"]);
        command
    }

    fn with_settings(&self, settings: &str) -> Command {
        let file = self.folder.path().join("job.toml");
        fs::write(&file, settings).unwrap();
        let mut command = self.train();
        command.arg(file);
        command
    }

    fn train(&self) -> Command {
        let mut command = self.s3.epitome();
        command.env_remove("SAGEMAKER_ROLE").env("AWS_ENDPOINT_URL", self.aws.url()).arg("train");
        command
    }

    /// Plans the descriptions of the job that AWS gives, one per call.
    fn plan(&self, states: impl IntoIterator<Item = Value>) {
        self.aws.state().next_job = states.into_iter().collect();
    }

    /// The names of the files that were packed.
    fn sent(&self) -> Vec<String> {
        let archive = fs::File::open(self.s3.object(SOURCE)).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(archive));
        let entries = archive.entries().unwrap();
        let name = |entry: tar::Entry<'_, _>| entry.path().unwrap().display().to_string();
        entries.map(|entry| name(entry.unwrap())).collect()
    }
}

fn state(status: &str, secondary: &str) -> Value {
    json!({"TrainingJobStatus": status, "SecondaryStatus": secondary})
}

fn completed() -> Value {
    let mut job = state("Completed", "Completed");
    job["ModelArtifacts"] =
        json!({"S3ModelArtifacts": "s3://artifacts/jobs/news-1/output/model.tar.gz"});
    job
}

/// The output of a dry run.
#[track_caller]
fn request(command: &mut Command) -> Value {
    let output = run(command.arg("--dry-run"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut call: Value = serde_json::from_slice(&output.stdout).unwrap();
    call["CreateTrainingJob"].take()
}

#[test]
fn the_example_asks_for_what_the_estimator_asks_for() {
    let stage = Stage::new();
    let recorded = include_str!("../fixtures/aws/requests.json");
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    assert_eq!(
        request(&mut stage.example("job_name = 'summaries-1'")),
        recorded["train"][0]["body"]
    );
    // The same settings from flags alone. A dry run needs no credentials.
    let mut flags = stage.train();
    flags
        .env_remove("AWS_ACCESS_KEY_ID")
        .args(["--job-name", "summaries-1"])
        .args(["--role", "arn:aws:iam::123456789012:role/service-role/training"])
        .args(["--transformers-version", "4.6", "--pytorch-version", "1.7"])
        .args(["--instance-type", "ml.p3.2xlarge"])
        .args(["--entry-point", "run_summarization.py", "--source-dir"])
        .arg(stage.scripts())
        .args(["--output-path", "s3://summaries/"])
        .args(["--input", "train=s3://summaries/data/train"])
        .args(["--input", "validation=s3://summaries/data/validation"]);
    for setting in [
        "model_name_or_path=google/pegasus-large",
        "do_train=true",
        "do_eval=true",
        "per_device_train_batch_size=2",
        "learning_rate=5e-5",
        "max_source_length=512",
        "train_file=/opt/ml/input/data/train/train.csv",
        "validation_file=/opt/ml/input/data/validation/validation.csv",
        "text_column=text",
        "summary_column=summary",
        "output_dir=/opt/ml/model",
    ] {
        flags.args(["--hyperparameter", setting]);
    }
    assert_eq!(request(&mut flags), recorded["train"][0]["body"]);

    let mut spot = stage.example(
        "subnets = ['subnet-1']\nsecurity_group_ids = ['sg-1']\n\
         metric_definitions.loss = \"'loss': ([0-9.]+)\"",
    );
    spot.args(["--job-name", "summaries-2", "--use-spot-instances"])
        .args(["--max-run", "36000", "--max-wait", "72000"])
        .args(["--checkpoint-s3-uri", "s3://summaries/checkpoints"])
        .args(["--checkpoint-local-path", "/opt/ml/checkpoints"])
        .args(["--volume-size", "100", "--instance-count", "2"])
        .args(["--output-path", "s3://summaries/models"])
        .args(["--code-location", "s3://summaries/code"])
        .args(["--env", "WANDB_DISABLED=true"])
        .args(["--tag", "project=summaries"]);
    assert_eq!(request(&mut spot), recorded["train_spot"][0]["body"]);

    // The role of the environment is only a default.
    const OTHER: &str = "arn:aws:iam::1:role/other";
    let role = |settings: &str| {
        let mut command = stage.with_settings(settings);
        request(command.env("SAGEMAKER_ROLE", OTHER))["RoleArn"].clone()
    };
    let example = include_str!("../examples/train.toml");
    assert_eq!(role(example), recorded["train"][0]["body"]["RoleArn"]);
    assert_eq!(role(&example.replace("\nrole", "\n# role")), OTHER);

    assert!(stage.aws.state().calls.is_empty());
    assert!(stage.s3.requests().is_empty());
}

#[test]
fn the_example_is_printed_as_it_is_shipped() {
    let stage = Stage::new();
    let mut command = stage.train();
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/train.toml"));
    let program = &request(&mut command)["HyperParameters"]["sagemaker_program"];
    assert_eq!(program, "\"run_summarization.py\"");
}

#[test]
fn a_job_is_sent_with_its_scripts_and_followed_to_its_model() {
    let stage = Stage::new();
    let expected = request(&mut stage.job());
    stage.plan([state("InProgress", "Starting"), state("InProgress", "Training"), completed()]);
    stage.aws.state().log = vec![
        "Training Env:",
        "{'loss': 2.3125, 'learning_rate': 4.5e-05, 'epoch': 0.5}",
        "  eval_rouge1             =    45.2301",
    ];
    let output = run(&mut stage.job());
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(text(&output.stdout), "news-1\n");
    for words in [
        "Started training job news-1",
        "Starting",
        "loss 2.3125  learning_rate 4.5e-5  epoch 0.5",
        "eval_rouge1 45.2301",
        "Its model: s3://artifacts/jobs/news-1/output/model.tar.gz",
    ] {
        assert_eq!(stderr.matches(words).count(), 1, "'{words}' in {stderr}");
    }
    assert!(!stderr.contains("Training Env"), "{stderr}");
    assert_eq!(stage.sent(), ["requirements.txt", "run_summarization.py"]);
    // The calls for the log equal those of boto3.
    let recorded = include_str!("../fixtures/aws/requests.json");
    let recorded: Value =
        serde_json::from_str(&recorded.replace("summaries-1/", "news-1/")).unwrap();
    for (number, operation) in ["DescribeLogStreams", "GetLogEvents"].iter().enumerate() {
        let state = stage.aws.state();
        let mut calls = state.calls.iter();
        let first = calls.find(|call| call.operation == *operation).unwrap();
        assert_eq!(recorded["logs"][number]["body"], first.body);
    }
    let made = stage.aws.changes();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].body, expected);
    assert_eq!(
        made[0].body["HyperParameters"]["sagemaker_submit_directory"],
        json!(format!("\"s3://{BUCKET}/{SOURCE}\""))
    );

    // The name is taken now. Nothing is sent that would replace the scripts of the first job.
    let before = stage.s3.requests().len();
    fails(&mut stage.job(), 2, &["'news-1' already", "--job-name"]);
    assert!(stage.aws.changes().is_empty());
    assert_eq!(stage.s3.requests().len(), before);
}

#[test]
fn jobs_that_end_otherwise_say_so() {
    let mut failed = state("Failed", "Failed");
    failed["FailureReason"] = "AlgorithmError: CUDA out of memory".into();
    for (end, words) in [
        (failed, "training job 'news-1' failed: AlgorithmError: CUDA out of memory"),
        (state("Stopped", "Stopped"), "left no artifact"),
    ] {
        let stage = Stage::new();
        stage.plan([state("InProgress", "Training"), end]);
        stage.aws.state().log = vec!["a traceback"];
        let output = run(stage.job().arg("--logs"));
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.lines().any(|line| line == "a traceback"), "{stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(last.contains(words), "{last}");
    }
    let stage = Stage::new();
    let limit = json!({"__type": "ResourceLimitExceeded", "message": "The limit is 0."});
    stage.aws.state().faults.push_back(("CreateTrainingJob", 400, limit));
    fails(&mut stage.job(), 1, &["The limit is 0", "higher quota"]);
}

#[test]
fn a_job_that_nobody_waits_for_is_only_started() {
    let stage = Stage::new();
    stage.plan([state("InProgress", "Starting")]);
    let output = run(stage.job().arg("--no-wait"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "news-1\n");
}

/// Tests of Unix signals.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_following_and_not_the_job() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let stage = Stage::new();
    stage.plan([state("InProgress", "Training")]);
    let mut command = stage.job();
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with("Training")));
    crate::common::signal(child.id(), "INT");
    let last = lines.last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{last}");
    for words in
        ["training job 'news-1' goes on", "epitome export --training-job news-1 --wait", "--stop"]
    {
        assert!(last.contains(words), "'{words}' in {last}");
    }
    let calls = &stage.aws.state().calls;
    assert!(calls.iter().all(|call| call.operation != "StopTrainingJob"));
}

#[test]
fn scripts_of_a_repository_are_recorded_by_their_commit() {
    let stage = Stage::new();
    let repo = stage.folder.path().join("repo");
    let inside = repo.join("examples/summarization");
    fs::create_dir_all(&inside).unwrap();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .current_dir(&repo)
            .args(["-c", "user.name=a", "-c", "user.email=a@b.c"])
            .args(arguments);
        let output = run(&mut command);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch", "main"]);
    let commit = |name: &str| {
        fs::write(inside.join(name), name).unwrap();
        git(&["add", "."]);
        git(&["commit", "--quiet", "--message", name]);
        git(&["rev-parse", "HEAD"])
    };
    fs::create_dir(repo.join("source")).unwrap();
    fs::write(repo.join("source/run_summarization.py"), "").unwrap();
    let first = commit("run_summarization.py");
    git(&["tag", "v1"]);
    let second = commit("later.py");

    let of_repo = |more: &[&str]| {
        let mut command = stage.job();
        command.arg("--git-repo").arg(&repo).args(more);
        if !more.contains(&"--source-dir") {
            command.args(["--source-dir", "examples/summarization"]);
        }
        command
    };
    let tags = |request: &Value| {
        let tags = request["Tags"].as_array().unwrap().clone();
        let tags = tags.iter().map(|tag| {
            let text = |name: &str| tag[name].as_str().unwrap().to_owned();
            (text("Key"), text("Value"))
        });
        tags.collect::<std::collections::BTreeMap<_, _>>()
    };
    for (reference, found) in [
        (vec![], &second),
        (vec!["--git-branch", "v1"], &first),
        (vec!["--git-commit", &first[..9]], &first),
    ] {
        let tags = tags(&request(&mut of_repo(&reference)));
        assert_eq!(tags["epitome:git-commit"], **found, "{reference:?}");
        assert_eq!(tags["epitome:git-repo"], repo.display().to_string());
    }
    // With --git-repo, the source_dir of the file is inside the repository.
    let of_file = request(stage.job().arg("--git-repo").arg(&repo));
    assert_eq!(tags(&of_file)["epitome:git-commit"], second);
    stage.plan([completed()]);
    let output = run(&mut of_repo(&["--git-branch", "v1"]));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(stage.sent(), ["run_summarization.py"]);

    let unknown = "0123456789abcdef0123456789abcdef01234567";
    let cases: [(&[&str], i32, &str); 4] = [
        (&["--git-commit=--exec=evil"], 2, "is not a commit"),
        (&["--git-commit", unknown], 1, "cannot be fetched"),
        (&["--git-branch", "gone"], 1, "gone"),
        (&["--source-dir", "/etc"], 2, "is not within the repository"),
    ];
    for (more, code, words) in cases {
        fails(of_repo(more).arg("--dry-run"), code, &[words]);
    }
}

#[test]
fn what_cannot_be_is_told_before_anything_is_sent() {
    let stage = Stage::new();
    let file = stage.folder.path().join("job.toml");
    fs::write(&file, "role = 'arn:aws:iam::1:role/a'\n\ninstance_typ = 'ml'\n").unwrap();
    fails(stage.train().arg(&file), 2, &["line 3", "job.toml", "instance_typ", "instance_type"]);
    fails(
        stage.train().arg(stage.folder.path().join("none.toml")),
        1,
        &["cannot read the settings", "none.toml"],
    );
    let cases: [(&[&str], &str); 7] = [
        (&["--entry-point", "../job.toml"], "is not below source_dir"),
        (&["--checkpoint-local-path", "/opt/ml/kept"], "give both"),
        (&["--entry-point", "gone.py"], "gone.py' does not exist"),
        (&["--output-path", "/tmp"], "output_path must be an s3://"),
        (&["--job-name", "a_b"], "cannot name a job"),
        (&["--max-wait", "10"], "use_spot_instances"),
        (&["--git-commit", "abc"], "give --git-repo too"),
    ];
    for (more, words) in cases {
        fails(stage.job().args(more), 2, &[words]);
    }
    let output = run(stage.job().args(["--transformers-version", "9"]));
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.starts_with("epitome: there is no HuggingFace container of transformers 9, "));
    assert!(said.contains("\n  4.56.2        2.8.0    py312\n"), "{said}");
    fails(&mut stage.train(), 2, &["output_path is not given"]);
    assert!(stage.aws.state().calls.is_empty());
    assert!(stage.s3.requests().is_empty());
}

#[test]
fn a_script_alone_is_packed_alone() {
    let stage = Stage::new();
    let example = include_str!("../examples/train.toml");
    let alone = example
        .replace("\nsource_dir", "\n# source_dir")
        .replace("\"run_summarization", "\"source/run_summarization");
    stage.plan([completed()]);
    let mut command = stage.with_settings(&alone);
    command
        .args(["--job-name", "news-1", "--interval", "0.02"])
        .args(["--output-path", &format!("s3://{BUCKET}/jobs")]);
    let output = run(&mut command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(stage.sent(), ["run_summarization.py"]);
    let made = stage.aws.changes();
    assert_eq!(made[0].body["HyperParameters"]["sagemaker_program"], "\"run_summarization.py\"");
}
