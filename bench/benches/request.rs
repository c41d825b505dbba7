//! A whole request through the endpoint: HTTP, JSON, the queue, the model, and back; and one that
//! the model has no part in, which is what the server itself takes.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use epitome_endpoint::settings::{SchedulingSettings, ServerSettings, Settings};
use epitome_endpoint::{BoxError, PrepareModel, PreparedModel, Server, Source};
use serde_json::json;

/// The model is a bundle already.
struct Ready;

impl PrepareModel for Ready {
    fn prepare(&self, folder: &Path, _: &AtomicBool) -> Result<PreparedModel, BoxError> {
        Ok(PreparedModel { bundle: folder.to_owned(), scratch: None })
    }
}

/// Starts a server, which lives as long as this process, and waits until it is ready.
fn start(bundle: &Path) -> Client {
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let address = free.expect("a free port");
    let settings = Settings {
        server: ServerSettings { listen: address, model: bundle.to_owned(), ..Default::default() },
        // As everywhere in the suite, the model has one thread.
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

/// A client that keeps its connection.
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
    let model = common::trained();
    let mut client = start(&model.exported.path());
    let mut group = criterion.benchmark_group("request");
    group.throughput(Throughput::Elements(1));
    group.bench_function("ping", |bencher| {
        bencher.iter(|| assert_eq!(client.status("GET", "/ping", ""), 200));
    });
    let documents = common::documents(8);
    for beams in [1, 4, 8] {
        let bodies: Vec<String> = documents
            .iter()
            .map(|document| {
                json!({"inputs": document.text, "parameters": {"num_beams": beams}}).to_string()
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

criterion_group! { name = benches; config = common::criterion(); targets = request }
criterion_main!(benches);
