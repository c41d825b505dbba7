//! Tests of asynchronous calls, which read their input from S3 and write their answer there.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::server::{Reaction, Request, Server};
use super::uri;
use crate::common::{self, fails};
use serde_json::{Value, json};

/// A process of `epitome serve`. It ends with this value.
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

    /// Makes an asynchronous call. Returns the head of the answer in lower case.
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

/// The object that an asynchronous call writes. Waits for it.
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
    let serving = Serving::start(&server, &common::bundle("tiny/pegasus-relu"));
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

/// An asynchronous endpoint that writes all answers to one object.
fn asynchronous(request: &Request) -> Reaction {
    const PLACE: &str = "x-amzn-sagemaker-outputlocation: s3://artifacts/answers/one\r\n";
    match request.target.ends_with("/async-invocations") {
        true => Reaction::Answer(202, PLACE, "{}"),
        false => Reaction::Pass,
    }
}

/// Writes the endpoint's answer.
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
    // Two equal documents, and a file without text.
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
    assert_eq!(calls(&server), 2);
}

/// A server with an asynchronous endpoint that writes each answer and each failure to its own
/// object, beginning with `answers/0`.
fn answers_apart() -> Server {
    let calls = AtomicUsize::new(0);
    Server::with(move |request| {
        if !request.target.ends_with("/async-invocations") {
            return Reaction::Pass;
        }
        let call = calls.fetch_add(1, Ordering::Relaxed);
        let places = ["output", "failure"].map(|kind| {
            format!("x-amzn-sagemaker-{kind}location: s3://artifacts/{kind}s/{call}\r\n")
        });
        // The server keeps its answers as long as the test runs.
        Reaction::Answer(202, places.concat().leak(), "{}")
    })
}

/// Requests the summaries of a table of five documents, three of them at a time.
fn invoke_table(server: &Server, folder: &Path) -> Command {
    let path = folder.join("table.csv");
    fs::write(&path, "text\nOne rose.\nTwo did.\nThree did.\nFour did.\nFive did.\n").unwrap();
    let mut command = invoke_later(server);
    command.args(["--flight", "3"]).arg(path);
    command
}

/// The number of documents that the endpoint received.
fn calls(server: &Server) -> usize {
    let requests = server.requests().into_iter();
    requests.filter(|call| call.target.ends_with("/async-invocations")).count()
}

/// Waits until the endpoint has received this number of documents.
fn wait_for_calls(server: &Server, count: usize) {
    let start = Instant::now();
    while calls(server) < count {
        assert!(start.elapsed() < Duration::from_secs(60), "{} calls came", calls(server));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn rows_of_a_table_are_under_way_together() {
    let server = answers_apart();
    let folder = tempfile::tempdir().unwrap();
    let mut command = invoke_table(&server, folder.path());
    let asking = std::thread::spawn(move || common::succeeds(&mut command));
    wait_for_calls(&server, 3);
    // Waits for a fourth call, which would be wrong.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(calls(&server), 3);
    for row in (0..5).rev() {
        let answer = json!([{"summary_text": format!("Summary {row}.")}]).to_string();
        fs::write(server.object(&format!("outputs/{row}")), answer).unwrap();
    }
    let (shown, _) = asking.join().unwrap();
    assert_eq!(shown, "Summary 0.\nSummary 1.\nSummary 2.\nSummary 3.\nSummary 4.\n");
    assert_eq!(calls(&server), 5);
}

#[test]
fn a_row_that_fails_leaves_no_other_under_way() {
    let server = answers_apart();
    let folder = tempfile::tempdir().unwrap();
    let mut command = invoke_table(&server, folder.path());
    let asking = std::thread::spawn(move || fails(&mut command, 1, &["1 of 1 files"]));
    wait_for_calls(&server, 3);
    fs::write(server.object("failures/0"), r#"{"error": "too long"}"#).unwrap();
    for row in 1..5 {
        let answer = r#"[{"summary_text": "A river rose."}]"#;
        fs::write(server.object(&format!("outputs/{row}")), answer).unwrap();
    }
    let said = asking.join().unwrap();
    assert!(said.contains("table.csv") && said.contains("too long"), "{said}");
    // Pending answers are collected, and nothing more is sent.
    assert_eq!(calls(&server), 3);
    assert_eq!(fs::read_dir(server.object("requests/any").parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn asynchronous_summaries_are_all_written_or_an_error_is_told() {
    let server = Server::with(|request| match request.method.as_str() {
        "DELETE" => Reaction::Answer(403, "", "<Error><Code>AccessDenied</Code></Error>"),
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
