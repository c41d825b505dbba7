//! Tests of downloads from S3 and uploads to it: the real binary, a real server that checks
//! signatures, and a proxy between them that injects network faults.

mod asynchronous;
mod faults;
mod jobs;
pub(crate) mod server;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::aws::fake::Aws;
use crate::common::{fails, fixture, run, text};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;
use server::{BUCKET, Reaction, Server};

/// A trained model of 15 MB, which takes two ranges.
const ARTIFACT: &str = "pegasus-debian.tar.gz";
const KEY: &str = "job/output/model.tar.gz";

const NO_SUCH_KEY: &str = "<Error><Code>NoSuchKey</Code></Error>";

/// Size of a range in bytes.
const RANGE: u64 = 8 << 20;

fn uri(key: &str) -> String {
    format!("s3://{BUCKET}/{key}")
}

/// Uploads the artifact of a tiny model, which takes one range.
fn put_tiny(server: &Server) {
    let file = fs::File::create(server.object(KEY)).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    tar.append_dir_all(".", fixture("tiny/pegasus-relu")).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
}

fn put_artifact(server: &Server) {
    fs::copy(fixture(ARTIFACT), server.object(KEY)).unwrap();
}

/// `epitome export` without verification, which other tests cover.
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

/// Checks that exporting the object fails, and leaves nothing at the output.
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

/// A model from the disk and the same model from S3 give the same bundle.
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
    // Both ranges were of the first version.
    let requests = server.requests();
    for start in [0, RANGE] {
        let range = requests.iter().find(|request| request.is_range_from(start));
        assert!(range.unwrap().headers.contains_key("if-match"));
    }
}

/// An adapter on S3 or on the disk, with its base on S3 as an archive or a prefix.
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
    // S3 has no folders, but this server would answer for one as for an object.
    let server = Server::with(|request| match request.target.split('?').next() {
        Some("/artifacts/job/model") => Reaction::Answer(404, "", NO_SUCH_KEY),
        _ => Reaction::Pass,
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

    // The unpacked archive is a bundle.
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    tar::Archive::new(GzDecoder::new(sent.as_slice())).unpack(&bundle).unwrap();
    works(server.epitome().arg("inspect").arg("--check").arg(&bundle));
    assert_eq!(manifest(&bundle)["source"]["name"], uri(KEY));

    // The next bundle replaces it.
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
        "PUT" => Reaction::Answer(412, "", CONFLICT),
        _ => Reaction::Pass,
    });
    put_tiny(&server);
    let mut command = export(&server, &uri(KEY), uri("bundles/"));
    fails(&mut command, 1, &["written by somebody else meanwhile"]);
}

#[test]
fn an_upload_that_fails_leaves_nothing_behind() {
    const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    // The third part is still being sent when the second fails, and takes longer.
    let (arrived, last) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    let was_last = Arc::clone(&last);
    let server = Server::with(move |request| {
        if request.target.contains("partNumber=2") {
            return Reaction::Answer(403, "", DENIED);
        }
        if request.target.contains("partNumber=3") {
            std::thread::sleep(Duration::from_millis(500));
            arrived.store(true, Ordering::SeqCst);
        }
        if request.method == "DELETE" {
            last.store(arrived.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        Reaction::Pass
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

    // The same command again sends and changes nothing. Another bundle gets another address.
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

/// Linux tells the peak memory of a process.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_archive() {
    const MEGABYTE: usize = 1_000_000;
    // More than the allowed memory. With EPITOME_ARTIFACT_MB=2300 it is as large as pegasus-large.
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

    // The weights are invalid, which is only found after unpacking everything.
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
