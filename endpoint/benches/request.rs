//! Benchmarks of the endpoint. One is a whole request with HTTP, JSON, the queue and the model. The
//! other is a request without the model, which measures the server alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{env, thread};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use epitome_endpoint::settings::{SchedulingSettings, ServerSettings, Settings};
use epitome_endpoint::{BoxError, PrepareModel, PreparedModel, Server, Source};
use epitome_export::{ExportOptions, export};
use serde_json::json;

/// Number of documents in an iteration.
const DOCUMENTS: usize = 8;

/// A path below `fixtures/`.
fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)
}

/// Exports the trained model, or the checkpoint that `EPITOME_BENCH_SOURCE` names.
fn export_trained(bundle: &Path) {
    let source = env::var_os("EPITOME_BENCH_SOURCE")
        .map_or_else(|| fixture("pegasus-debian.tar.gz"), PathBuf::from);
    export(&source, bundle, &ExportOptions::default()).expect("the trained model");
}

/// Texts of documents that the model was not trained on.
fn documents() -> Vec<String> {
    let rows = csv::Reader::from_path(fixture("summaries/validation-1000.csv"));
    let rows = rows.expect("the held-out documents").into_records().take(DOCUMENTS);
    rows.map(|row| row.expect("a row")[0].to_owned()).collect()
}

/// Uses the model folder as the bundle.
struct Ready;

impl PrepareModel for Ready {
    fn prepare(&self, folder: &Path, _: &AtomicBool) -> Result<PreparedModel, BoxError> {
        Ok(PreparedModel { bundle: folder.to_owned(), scratch: None })
    }
}

/// Starts a server that lives as long as this process, and waits until it is ready.
fn start(bundle: &Path) -> Client {
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let address = free.expect("a free port");
    let settings = Settings {
        server: ServerSettings { listen: address, model: bundle.to_owned(), ..Default::default() },
        // The model has one thread, as in the benchmarks of `bench/benches`.
        scheduling: SchedulingSettings { threads: Some(NonZeroUsize::MIN), ..Default::default() },
        ..Default::default()
    };
    let source = || Source::Model(Arc::new(Ready));
    thread::spawn(move || Server::new(settings, source()).run().expect("the server"));
    loop {
        thread::sleep(Duration::from_millis(20));
        let Ok(stream) = TcpStream::connect(address) else {
            continue;
        };
        let mut client = Client::new(stream, address);
        if client.status("GET", "/ping", "") == 200 {
            return client;
        }
    }
}

/// A client with a persistent connection.
struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Client {
    fn new(stream: TcpStream, address: SocketAddr) -> Self {
        stream.set_nodelay(true).expect("a socket");
        Self { stream: BufReader::new(stream), address }
    }

    /// Sends a request, reads the whole answer, and returns its status.
    fn status(&mut self, method: &str, path: &str, body: &str) -> u16 {
        let (address, length) = (self.address, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let sent = self.stream.get_mut().write_all(request.as_bytes());
        sent.expect("the server listens");
        let mut line = String::new();
        let mut read = |line: &mut String| {
            line.clear();
            self.stream.read_line(line).expect("an answer");
        };
        read(&mut line);
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut length = 0;
        while line.trim() != "" {
            read(&mut line);
            let header = line.split_once(':');
            if let Some((_, value)) =
                header.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the whole answer");
        status.unwrap_or_else(|| panic!("no status in '{line}'"))
    }
}

fn request(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bundle = folder.path().join("bundle");
    export_trained(&bundle);
    let mut client = start(&bundle);
    let mut group = criterion.benchmark_group("request");
    group.throughput(Throughput::Elements(1));
    group.bench_function("ping", |bencher| {
        bencher.iter(|| assert_eq!(client.status("GET", "/ping", ""), 200));
    });
    let documents = documents();
    for beams in [1, 4, 8] {
        let bodies: Vec<String> = documents
            .iter()
            .map(|document| {
                json!({"inputs": document, "parameters": {"num_beams": beams}}).to_string()
            })
            .collect();
        group.throughput(Throughput::Elements(bodies.len() as u64));
        group.bench_function(
            BenchmarkId::new("invocations", format!("beams={beams}")),
            |bencher| {
                bencher.iter(|| {
                    for body in &bodies {
                        assert_eq!(client.status("POST", "/invocations", body), 200);
                    }
                });
            },
        );
    }
    group.finish();
}

/// A configuration with enough samples for a stable median. `EPITOME_BENCH=fast` shortens it.
fn criterion() -> Criterion {
    let is_fast = env::var("EPITOME_BENCH").is_ok_and(|value| value == "fast");
    let (warm_up, measure) = if is_fast { (100, 400) } else { (300, 1500) };
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(measure))
        .configure_from_args()
}

criterion_group! { name = benches; config = criterion(); targets = request }
criterion_main!(benches);
