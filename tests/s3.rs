//! Artifacts from S3 and bundles to it: the real binary, a real server that checks signatures, and
//! a proxy between them that does what networks do.

#![cfg(feature = "aws")]

mod common;
#[path = "aws/fake.rs"]
#[allow(dead_code, reason = "tests of other commands use the rest of it")]
mod fake;
#[path = "s3/server.rs"]
mod server;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{fails, fixture, run, text};
use fake::Aws;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use server::{BUCKET, Deed, Request, Server};

/// A trained model of 15 MB, which is two ranges.
const ARTIFACT: &str = "pegasus-debian.tar.gz";
const KEY: &str = "job/output/model.tar.gz";

const NO_SUCH_KEY: &str = "<Error><Code>NoSuchKey</Code></Error>";

/// Bytes of a range.
const RANGE: u64 = 8 << 20;

fn uri(key: &str) -> String {
    format!("s3://{BUCKET}/{key}")
}

/// Puts the artifact of a tiny model, which is one range.
fn put_tiny(server: &Server) {
    let file = fs::File::create(server.object(KEY)).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    tar.append_dir_all(".", fixture("tiny/pegasus-relu")).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
}

fn put_artifact(server: &Server) {
    fs::copy(fixture(ARTIFACT), server.object(KEY)).unwrap();
}

/// `epitome export`, quick: what it writes is verified elsewhere.
fn export(server: &Server, source: &str, output: impl AsRef<Path>) -> Command {
    let mut command = server.epitome();
    command.args(["export", "--no-verify", source, "--output"]);
    command.arg(output.as_ref());
    command
}

fn works(command: &mut Command) {
    let output = run(command);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Exporting the object fails, and leaves nothing where the bundle would be.
#[track_caller]
fn export_fails(server: &Server, code: i32, words: &[&str]) {
    let target = tempfile::tempdir().unwrap();
    let output = target.path().join("bundle");
    fails(&mut export(server, &uri(KEY), &output), code, words);
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
}

fn manifest(bundle: &Path) -> Value {
    serde_json::from_slice(&fs::read(bundle.join("manifest.json")).unwrap()).unwrap()
}

/// The same model from here and from S3 makes the same bundle.
fn same_but_for_the_name(here: &Path, there: &Path, name: &str) {
    let (mut here, there) = (manifest(here), manifest(there));
    assert_eq!(there["source"]["name"], name);
    here["source"]["name"] = there["source"]["name"].clone();
    assert_eq!(here, there);
}

#[test]
fn an_archive_on_s3_makes_the_bundle_that_it_makes_on_the_disk() {
    let server = Server::start();
    put_artifact(&server);
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let artifact = fixture(ARTIFACT);
    works(&mut export(&server, artifact.to_str().unwrap(), &here));
    works(&mut export(&server, &uri(KEY), &there));
    same_but_for_the_name(&here, &there, &uri(KEY));
    let names = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 2, "nothing else is left");
    // Both ranges were of the version that was looked at first.
    let requests = server.requests();
    for start in [0, RANGE] {
        let range = requests.iter().find(|request| request.is_range_from(start));
        assert!(range.unwrap().headers.contains_key("if-match"));
    }
}

/// An adapter on S3 or on the disk, and its base there too: an archive or a prefix.
#[test]
fn the_base_of_an_adapter_is_fetched() {
    let server = Server::start();
    put_tiny(&server);
    let [adapter, base] = ["adapters/head", "tiny/pegasus-relu"].map(fixture);
    for (folder, name) in [(&adapter, "adapter"), (&base, "base")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            fs::copy(&path, server.object(&format!("job/{name}/{file}"))).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let merged = |source: &str, base: &str, output: &str| {
        let output = folder.path().join(output);
        works(export(&server, source, &output).args(["--base", base]));
        manifest(&output)["files"].clone()
    };
    let [adapter, base] = [&adapter, &base].map(|path| path.to_str().unwrap());
    let here = merged(adapter, base, "here");
    assert_eq!(merged(adapter, &uri(KEY), "archive"), here);
    assert_eq!(merged(adapter, &uri("job/base/"), "prefix"), here);
    assert_eq!(merged(&uri("job/adapter/"), &uri("job/base/"), "both"), here);
    let mut absent = export(&server, adapter, folder.path().join("absent"));
    fails(absent.args(["--base", &uri("job/absent.tar.gz")]), 2, &["job/absent.tar.gz"]);
}

#[test]
fn of_a_prefix_only_what_a_checkpoint_needs_is_fetched() {
    // S3 knows no folders; this server would answer for one as for an object.
    let server = Server::with(|request| match request.target.split('?').next() {
        Some("/artifacts/job/model") => Deed::Answer(404, "", NO_SUCH_KEY),
        _ => Deed::Pass,
    });
    let checkpoint = fixture("tiny/pegasus-relu");
    for entry in fs::read_dir(&checkpoint).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        fs::copy(&path, server.object(&format!("job/model/{name}"))).unwrap();
    }
    for other in ["training_args.bin", "checkpoint-500/optimizer.pt", "code/config.json"] {
        fs::write(server.object(&format!("job/model/{other}")), "not needed").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("here");
    works(&mut export(&server, checkpoint.to_str().unwrap(), &here));
    for (prefix, output) in [("job/model/", "a"), ("job/model", "b"), ("job/", "c")] {
        let there = folder.path().join(output);
        works(&mut export(&server, &uri(prefix), &there));
        same_but_for_the_name(&here, &there, &uri(prefix));
    }
    let fetched = |name: &str| {
        let requests = server.requests();
        requests.iter().any(|request| request.target.contains(name))
    };
    assert!(fetched("config.json") && fetched("model.safetensors"));
    assert!(!fetched("training_args") && !fetched("optimizer") && !fetched("code"));
}

#[test]
fn a_bundle_is_sent_whole_and_the_same_each_time() {
    let server = Server::start();
    put_artifact(&server);
    works(&mut export(&server, &uri(KEY), uri("bundles/")));
    let sent = fs::read(server.object("bundles/model.tar.gz")).unwrap();
    assert!(sent.len() as u64 > RANGE, "more than one part");

    // What SageMaker unpacks is a bundle.
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    tar::Archive::new(GzDecoder::new(sent.as_slice())).unpack(&bundle).unwrap();
    works(server.epitome().arg("inspect").arg("--check").arg(&bundle));
    assert_eq!(manifest(&bundle)["source"]["name"], uri(KEY));

    // The next one takes its place.
    works(&mut export(&server, &uri(KEY), uri("bundles/model.tar.gz")));
    let again = fs::read(server.object("bundles/model.tar.gz")).unwrap();
    assert!(sent == again, "the same bundle makes the same archive");
}

#[test]
fn a_small_bundle_is_put_at_once() {
    let server = Server::start();
    put_tiny(&server);
    for _ in 0..2 {
        works(&mut export(&server, &uri(KEY), uri("tiny.tar.gz")));
    }
    let puts: Vec<_> =
        server.requests().into_iter().filter(|request| request.method == "PUT").collect();
    assert_eq!(puts.len(), 2);
    assert_eq!(puts[0].headers["if-none-match"], "*");
    assert!(puts[1].headers.contains_key("if-match"), "the one that was looked at");
}

#[test]
fn what_is_no_bundle_is_left_alone() {
    let server = Server::start();
    put_tiny(&server);
    let before = fs::read(server.object(KEY)).unwrap();
    let mut onto_itself = export(&server, &uri(KEY), uri("job/output/"));
    fails(&mut onto_itself, 2, &[&uri(KEY), "exists and is not a bundle"]);
    assert_eq!(fs::read(server.object(KEY)).unwrap(), before);
    let mut no_archive = export(&server, &uri(KEY), uri("bundles"));
    fails(&mut no_archive, 2, &["bundles", ".tar.gz", "ends in /"]);
}

#[test]
fn a_destination_that_somebody_else_writes_meanwhile_is_left_alone() {
    const CONFLICT: &str = "<Error><Code>PreconditionFailed</Code><Message>At least one of the \
        pre-conditions you specified did not hold</Message></Error>";
    let server = Server::with(|request| match request.method.as_str() {
        "PUT" => Deed::Answer(412, "", CONFLICT),
        _ => Deed::Pass,
    });
    put_tiny(&server);
    let mut command = export(&server, &uri(KEY), uri("bundles/"));
    fails(&mut command, 1, &["written by somebody else meanwhile"]);
}

#[test]
fn an_upload_that_fails_leaves_nothing_behind() {
    const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    // The third part is still under way when the second fails, and takes its time.
    let (arrived, last) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    let was_last = Arc::clone(&last);
    let server = Server::with(move |request| {
        if request.target.contains("partNumber=2") {
            return Deed::Answer(403, "", DENIED);
        }
        if request.target.contains("partNumber=3") {
            std::thread::sleep(Duration::from_millis(500));
            arrived.store(true, Ordering::SeqCst);
        }
        if request.method == "DELETE" {
            last.store(arrived.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        Deed::Pass
    });
    put_artifact(&server);
    let mut command = export(&server, &uri(KEY), uri("bundles/"));
    fails(&mut command, 1, &["bundles/model.tar.gz", "denied", "s3:PutObject"]);
    assert!(was_last.load(Ordering::SeqCst), "parts came after the end");
    let requests = server.requests();
    let last = requests.last().unwrap();
    assert_eq!(last.method, "DELETE", "{last:?}");
    assert!(last.target.contains("uploadId="), "{last:?}");
    assert_eq!(server.files(), ["job"]);
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    // Each of the first answers is cut at another place.
    let server = Server::with(|request| match request.number {
        number if number < 8 && request.headers.contains_key("range") => {
            Deed::Cut(100_000 * number)
        }
        _ => Deed::Pass,
    });
    put_artifact(&server);
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    works(&mut export(&server, fixture(ARTIFACT).to_str().unwrap(), &here));
    works(&mut export(&server, &uri(KEY), &there));
    same_but_for_the_name(&here, &there, &uri(KEY));
    let requests = server.requests();
    let resumed = requests.iter().filter(|request| {
        let is_start = request.is_range_from(0) || request.is_range_from(RANGE);
        request.headers.contains_key("range") && !is_start
    });
    assert!(resumed.count() > 2, "{requests:?}");
}

#[test]
fn a_connection_that_stays_broken_is_given_up() {
    let server = Server::with(|request| match request.is_range_from(RANGE) {
        true => Deed::Cut(0),
        false => Deed::Pass,
    });
    put_artifact(&server);
    export_fails(&server, 1, &["broke 6 times in a row", "at byte 8388608", &uri(KEY)]);
}

#[test]
fn an_object_that_is_changed_between_ranges_is_noticed() {
    const CHANGED: &str = "<Error><Code>PreconditionFailed</Code></Error>";
    let answers = Server::with(|request| match request.is_range_from(RANGE) {
        true => Deed::Answer(412, "", CHANGED),
        false => Deed::Pass,
    });
    // A server that does not know If-Match sends the new version.
    let ignores = Server::with(|request| match request.is_range_from(RANGE) {
        true => Deed::Edit(|head| head.replace("etag: \"", "etag: \"0")),
        false => Deed::Pass,
    });
    for server in [answers, ignores] {
        put_artifact(&server);
        export_fails(&server, 1, &[&uri(KEY), "was changed while it was being read"]);
    }
}

#[test]
fn a_wrong_length_is_noticed() {
    let server = Server::with(|request| match request.headers.contains_key("range") {
        true => Deed::Answer(200, "etag: \"0\"\r\n", "more or less"),
        false => Deed::Edit(|head| {
            let kept = head.lines().filter(|line| !line.to_lowercase().starts_with("etag"));
            let kept: Vec<_> = kept.filter(|line| !line.is_empty()).collect();
            format!("{}\r\netag: \"0\"\r\n\r\n", kept.join("\r\n"))
        }),
    });
    put_tiny(&server);
    export_fails(&server, 1, &[&uri(KEY), "wrong length", "12 bytes"]);
}

#[test]
fn what_arrives_is_held_against_the_checksum_that_is_stored() {
    // Of other bytes; a checksum goes before the ETag.
    const HEADER: &str = "x-amz-checksum-crc32: y/Q5Jg==\r\n\r\n";
    let server = Server::with(|request| match request.method.as_str() {
        "HEAD" => Deed::Edit(|head| head.replace("\r\n\r\n", "\r\n") + HEADER),
        _ => Deed::Pass,
    });
    put_tiny(&server);
    export_fails(&server, 1, &[&uri(KEY), "arrived damaged", "CRC32"]);
}

#[test]
fn what_is_not_there_is_named() {
    let server = Server::start();
    export_fails(&server, 2, &[&uri(KEY), "does not exist", "model.tar.gz"]);
    let target = tempfile::tempdir().unwrap();
    let output = target.path().join("bundle");
    for source in ["s3://nowhere/model.tar.gz", "s3://nowhere/"] {
        let mut command = export(&server, source, &output);
        fails(&mut command, 2, &["the bucket of s3://nowhere/", "does not exist"]);
    }
    fails(&mut export(&server, "s3://x", &output), 2, &["s3://x", "s3://BUCKET/KEY"]);
    // This server would make the bucket.
    let server = Server::with(|request| match request.target.starts_with("/nowhere/") {
        true => Deed::Answer(404, "", "<Error><Code>NoSuchBucket</Code></Error>"),
        false => Deed::Pass,
    });
    let mut command = export(&server, &uri(KEY), "s3://nowhere/bundles/");
    fails(&mut command, 2, &["the bucket of s3://nowhere/", "does not exist"]);
}

#[test]
fn refusals_of_s3_are_one_sentence_each() {
    struct Case(u16, &'static str, &'static str, &'static [&'static str]);
    let cases = [
        Case(
            403,
            "",
            "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
            &["access to", "was denied", "s3:GetObject"],
        ),
        Case(
            301,
            "x-amz-bucket-region: us-west-2\r\n",
            "<Error><Code>PermanentRedirect</Code><Endpoint>b.s3.amazonaws.com</Endpoint></Error>",
            &["is in the region us-west-2, not in eu-west-1", "AWS_REGION=us-west-2"],
        ),
        Case(
            400,
            "x-amz-bucket-region: us-west-2\r\n",
            "<Error><Code>AuthorizationHeaderMalformed</Code><Region>us-west-2</Region></Error>",
            &["is in the region us-west-2"],
        ),
        Case(
            400,
            "",
            "<Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>",
            &["credentials have expired"],
        ),
        Case(
            403,
            "",
            "<Error><Code>InvalidAccessKeyId</Code></Error>",
            &["does not accept the credentials (InvalidAccessKeyId)"],
        ),
        Case(
            403,
            "",
            "<Error><Code>InvalidObjectState</Code></Error>",
            &["is archived", "restore-object"],
        ),
        Case(
            400,
            "",
            "<Error><Code>NewTrouble</Code><Message>Of a new kind</Message></Error>",
            &["refused", "Of a new kind (NewTrouble)"],
        ),
    ];
    for Case(status, headers, body, words) in cases {
        let server = Server::with(move |_: &Request| Deed::Answer(status, headers, body));
        export_fails(&server, 1, words);
    }
}

#[test]
fn credentials_that_are_missing_wrong_or_expired_are_told_apart() {
    let server = Server::start();
    put_tiny(&server);
    let target = tempfile::tempdir().unwrap();
    let export = || export(&server, &uri(KEY), target.path().join("bundle"));
    let mut none = export();
    none.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    fails(&mut none, 1, &["no AWS credentials were found", "AWS_PROFILE"]);
    let mut wrong = export();
    wrong.env("AWS_SECRET_ACCESS_KEY", "another");
    fails(&mut wrong, 1, &["does not accept the credentials (SignatureDoesNotMatch)"]);
    // A profile is as good as the environment.
    let files = target.path().join("credentials");
    let (id, secret) = ("AKIDTEST", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    let profile = format!("[mine]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(&files, profile).unwrap();
    let mut profile = export();
    profile.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    profile.env("AWS_SHARED_CREDENTIALS_FILE", &files).env("AWS_PROFILE", "mine");
    works(&mut profile);
}

#[test]
fn a_server_that_does_not_answer_is_named() {
    let server = Server::start();
    let target = tempfile::tempdir().unwrap();
    let mut command = export(&server, &uri(KEY), target.path().join("bundle"));
    // Port 9 discards, where anything listens at all.
    command.env("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9");
    fails(&mut command, 1, &["S3 cannot be reached", "refused"]);
}

/// `epitome export --training-job`, with a control plane that knows these states of a job.
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

#[test]
fn prepared_data_is_sent_to_its_channels() {
    let server = Server::start();
    let data = tempfile::tempdir().unwrap();
    let prepare = || {
        let mut command = server.epitome();
        command
            .arg("prepare")
            .arg(fixture("summaries/validation-1000.csv"))
            .arg("--output")
            .arg(data.path());
        command
    };
    let output = run(prepare().args(["--upload", &uri("data")]));
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    for (channel, file) in [("train", "train.csv"), ("validation", "validation.csv")] {
        let sent = fs::read(server.object(&format!("data/{channel}/{file}"))).unwrap();
        assert_eq!(sent, fs::read(data.path().join(file)).unwrap());
        let input = format!("{channel} = \"{}\"", uri(&format!("data/{channel}")));
        assert!(stderr.contains(&input), "{stderr}");
    }
    let mut anonymous = prepare();
    anonymous.args(["--upload", &uri("data")]).env_remove("AWS_ACCESS_KEY_ID");
    fs::remove_file(data.path().join("train.csv")).unwrap();
    fails(&mut anonymous, 1, &["no AWS credentials were found"]);
    assert!(!data.path().join("train.csv").exists(), "no work is lost");
    let wrong = run(prepare().args(["--upload", "data"]));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("does not begin with s3://"));
}

#[test]
fn a_bundle_of_this_machine_is_sent_once_and_deployed() {
    let (server, aws) = (Server::start(), Aws::start());
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let checkpoint = fixture("tiny/pegasus-relu");
    works(&mut export(&server, checkpoint.to_str().unwrap(), &bundle));
    let deploy = |model: &Path, more: &[&str]| {
        let mut command = server.epitome();
        command
            .args(["deploy", "--endpoint", "news", "--interval", "0.02"])
            .args(["--image", "1.dkr.ecr.eu-west-1.amazonaws.com/epitome"])
            .args(["--role", "arn:aws:iam::1:role/a", "--model"])
            .arg(model)
            .args(more)
            .env("AWS_ENDPOINT_URL", aws.url());
        command
    };
    let upload = ["--upload", &uri("bundles")];
    let mut dry = deploy(&bundle, &upload);
    works(dry.arg("--dry-run"));
    assert!(server.requests().is_empty());

    let puts = || {
        let requests = server.requests();
        requests.iter().filter(|sent| sent.method == "PUT").count()
    };
    let deployed = || {
        let models = aws.state().models.clone();
        assert_eq!(models.len(), 1);
        let model = models.into_values().next().unwrap();
        let url = model["PrimaryContainer"]["ModelDataUrl"].as_str().unwrap();
        url.strip_prefix(&uri("")).unwrap().to_owned()
    };
    works(&mut deploy(&bundle, &upload));
    let first = deployed();
    assert!(first.starts_with("bundles/") && first.ends_with("/model.tar.gz"));
    let sent = fs::read(server.object(&first)).unwrap();
    let unpacked = folder.path().join("unpacked");
    tar::Archive::new(GzDecoder::new(sent.as_slice())).unpack(&unpacked).unwrap();
    assert_eq!(manifest(&unpacked), manifest(&bundle));

    // The same again sends and changes nothing; another bundle goes beside the first.
    assert_eq!(puts(), 1);
    let output = run(&mut deploy(&bundle, &upload));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("is there already"), "{stderr}");
    assert!(stderr.contains("has these settings already"), "{stderr}");
    assert_eq!(puts(), 1);
    let other = fixture("tiny/pegasus-gelu");
    works(&mut export(&server, other.to_str().unwrap(), &bundle));
    works(&mut deploy(&bundle, &upload));
    assert_eq!(puts(), 2);
    assert_ne!(deployed(), first);
    assert!(server.object(&first).is_file());

    fails(&mut deploy(&bundle, &[]), 2, &["must be on S3", "--upload"]);
    fails(&mut deploy(Path::new("s3://artifacts/model.tar.gz"), &upload), 2, &["is on S3 already"]);
    fails(&mut deploy(&checkpoint, &upload), 2, &["manifest.json"]);
}

/// Linux tells how much memory a process took at most.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_archive() {
    const MEGABYTE: usize = 1_000_000;
    // More than the memory that is allowed; EPITOME_ARTIFACT_MB=2300 is as large as pegasus-large.
    let size = std::env::var("EPITOME_ARTIFACT_MB").map_or(320, |text| text.parse().unwrap());
    let server = Server::start();
    let file = fs::File::create(server.object(KEY)).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::none()));
    let mut append = |name: &str, bytes: usize, contents: &mut dyn Read| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes as u64);
        tar.append_data(&mut header, name, contents).unwrap();
    };
    append("config.json", 2, &mut "{}".as_bytes());
    append("pytorch_model.bin", size * MEGABYTE, &mut Noise(1).take((size * MEGABYTE) as u64));
    tar.into_inner().unwrap().finish().unwrap();
    server.know_etag(KEY);

    // The weights are none, which shows only when all is unpacked.
    let target = tempfile::tempdir().unwrap();
    let log = target.path().join("log");
    let mut command = export(&server, &uri(KEY), target.path().join("bundle"));
    command.stderr(fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        peak = kilobytes.map_or(peak, |kilobytes| peak.max(kilobytes.parse::<usize>().unwrap()));
        std::thread::sleep(Duration::from_millis(10));
    }
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains("epitome: pytorch_model.bin"), "{log}");
    println!("{size} MB were unpacked in {peak} kB of memory");
    assert!((10_000..200_000).contains(&peak), "{peak} kB");
}

/// Bytes that do not compress.
struct Noise(u64);

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for bytes in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            bytes.copy_from_slice(&self.0.to_le_bytes()[..bytes.len()]);
        }
        Ok(buffer.len())
    }
}

/// Signals of Unix.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_download_that_hangs() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let server = Server::with(|request| {
        if request.is_range_from(RANGE) {
            std::thread::sleep(Duration::from_secs(20));
        }
        Deed::Pass
    });
    put_artifact(&server);
    let target = tempfile::tempdir().unwrap();
    let mut command = export(&server, &uri(KEY), target.path().join("bundle"));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert_eq!(first, format!("Fetching and unpacking {} ...", uri(KEY)));
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.unwrap().success());
    let rest: Vec<_> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert_eq!(rest, ["epitome: interrupted"]);
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
}

/// `epitome serve` in a process of its own; it ends with this value.
struct Serving {
    process: Child,
    address: String,
}

impl Serving {
    fn start(server: &Server, model: &Path) -> Self {
        let mut command = server.epitome();
        command.args(["serve", "--port", "0", "--model"]).arg(model).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines.find_map(|line| {
            let entry: Value = serde_json::from_str(&line.unwrap()).unwrap_or_default();
            Some(entry["address"].as_str()?.to_owned())
        });
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.expect("it listens") }
    }

    /// Asks for an asynchronous call: the head of the answer in small letters.
    fn call(&self, headers: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "POST /endpoints/news/async-invocations HTTP/1.1\r\nHost: localhost\r\n\
             Connection: close\r\nContent-Length: 0\r\n{headers}\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The object that an asynchronous call writes, once it is there.
fn written(server: &Server, answer: &str, location: &str) -> String {
    let line = answer.lines().find_map(|line| line.strip_prefix(location));
    let address = line.unwrap_or_else(|| panic!("{location} in {answer}")).trim();
    let key = address.strip_prefix(&uri("")).unwrap();
    let start = Instant::now();
    loop {
        match fs::read_to_string(server.object(key)) {
            Ok(text) if !text.is_empty() => return text,
            _ => assert!(start.elapsed() < Duration::from_secs(60), "{key} does not appear"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn asynchronous_calls_read_and_write_objects() {
    let server = Server::start();
    let body = json!({"inputs": "A river rose after a week of rain."});
    fs::write(server.object("inputs/one.json"), body.to_string()).unwrap();
    fs::write(server.object("inputs/bad.json"), "{").unwrap();
    let bundle = common::Exported::of("tiny/pegasus-relu");
    let serving = Serving::start(&server, &bundle.path());
    let call = |key: &str| {
        let location = format!("X-Amzn-SageMaker-InputLocation: {}\r\n", uri(key));
        let answer =
            serving.call(&(location + "X-Amzn-SageMaker-Content-Type: application/json\r\n"));
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        assert!(answer.contains("\"InferenceId\""), "{answer}");
        answer
    };
    let (output, failure) =
        ("x-amzn-sagemaker-outputlocation:", "x-amzn-sagemaker-failurelocation:");
    let summary = written(&server, &call("inputs/one.json"), output);
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert!(summary[0]["generated_text"].is_string(), "{summary}");
    let refused = written(&server, &call("inputs/bad.json"), failure);
    assert!(refused.contains("not JSON"), "{refused}");
    let missing = written(&server, &call("inputs/none.json"), failure);
    assert!(missing.contains("inputs/none.json"), "{missing}");
    let wrong = serving.call("X-Amzn-SageMaker-InputLocation: https://a/b\r\n");
    assert!(wrong.contains("ValidationError") && wrong.contains("s3://BUCKET/KEY"), "{wrong}");
}

/// `epitome transform` of `docs` to `out`, as the job `nightly`.
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

/// The changes that a command made, without their bodies.
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
        // The job was not for this one.
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

    // Once more, with leave to run what failed: under a name that is free.
    aws.state().transform_jobs.insert("nightly-again-1".into(), [job("Failed")].into());
    let output = run(transform(&server, &aws).args(["--retry", "1"]));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(aws.state().transform_jobs.contains_key("nightly-again-2"));
    let manifest = fs::read(server.object("out/nightly-again-2.manifest")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest, json!([{"prefix": uri("docs/")}, "b.jsonl"]));
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

/// An asynchronous endpoint, all of whose answers come to one object.
fn asynchronous(request: &Request) -> Deed {
    const PLACE: &str = "x-amzn-sagemaker-outputlocation: s3://artifacts/answers/one\r\n";
    match request.target.ends_with("/async-invocations") {
        true => Deed::Answer(202, PLACE, "{}"),
        false => Deed::Pass,
    }
}

/// The endpoint has answered.
fn answer(server: &Server) {
    fs::write(server.object("answers/one"), r#"[{"summary_text": "A river rose."}]"#).unwrap();
}

fn invoke_later(server: &Server) -> Command {
    let mut command = server.epitome();
    command.args(["invoke", "--async", "--endpoint", "later", "--interval", "0.05"]);
    command.args(["--endpoint-url", &server.url(), "--upload", &uri("requests")]);
    command
}

#[test]
fn asynchronous_requests_are_kept_until_their_summaries_are_written() {
    let server = Server::with(asynchronous);
    let folder = tempfile::tempdir().unwrap();
    // Two equal documents, and something without text.
    for name in ["a.txt", "b.txt"] {
        fs::write(folder.path().join(name), "After a week of rain a river rose.").unwrap();
    }
    fs::write(folder.path().join("program.bin"), b"\x7fELF\x02\x01\x01\0\0\0").unwrap();
    let summaries = folder.path().join("summaries");
    let ask = |timeout: &str| {
        let mut command = invoke_later(&server);
        command.args(["--timeout", timeout, "--output-dir"]).arg(&summaries).arg(folder.path());
        command
    };
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let requests = || names(server.object("requests/any").parent().unwrap()).len();
    fails(&mut ask("0.2"), 1, &["2 of 3 files have no summary"]);
    assert_eq!(requests(), 2);
    assert_eq!(names(&summaries), [".epitome-async.jsonl"]);

    answer(&server);
    let (_, said) = common::succeeds(&mut ask("60"));
    assert!(said.contains("Summarized 2 of 3 files"), "{said}");
    assert!(said.contains("1 of 3 files, which have no text"), "{said}");
    assert_eq!(names(&summaries), ["a.txt.txt", "b.txt.txt"]);
    assert_eq!(fs::read_to_string(summaries.join("a.txt.txt")).unwrap(), "A river rose.\n");
    assert_eq!(requests(), 0);
    let calls = server.requests().into_iter();
    assert_eq!(calls.filter(|call| call.target.ends_with("/async-invocations")).count(), 2);
}

#[test]
fn asynchronous_summaries_are_all_written_or_an_error_is_told() {
    let server = Server::with(|request| match request.method.as_str() {
        "DELETE" => Deed::Answer(403, "", "<Error><Code>AccessDenied</Code></Error>"),
        _ => asynchronous(request),
    });
    answer(&server);
    let folder = tempfile::tempdir().unwrap();
    let twins = ["a", "b"].map(|name| folder.path().join(name).join("x.txt"));
    for path in &twins {
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(path, "After a week of rain a river rose.").unwrap();
    }
    let (shown, said) = common::succeeds(invoke_later(&server).args(&twins));
    assert_eq!(shown, "A river rose.\nA river rose.\n");
    assert_eq!(said.matches("a request stays on S3").count(), 1, "{said}");

    let target = folder.path().join("summaries");
    fails(
        invoke_later(&server).args(&twins).arg("--output-dir").arg(&target),
        2,
        &["would both be", "x.txt.txt"],
    );
    assert!(!target.exists());

    if let Ok(full) = fs::File::options().write(true).open("/dev/full") {
        fails(
            invoke_later(&server).args(&twins).stdout(full),
            1,
            &["cannot write to standard output"],
        );
    }
}
