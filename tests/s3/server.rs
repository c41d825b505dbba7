//! A real S3 server on loopback, behind a proxy that can inject faults.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use base64_simd::URL_SAFE_NO_PAD;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::common::epitome;

/// Bucket of every server.
pub(crate) const BUCKET: &str = "artifacts";

const ACCESS_KEY: &str = "AKIDTEST";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A request that the proxy received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Headers by lower-case names.
    pub(crate) headers: BTreeMap<String, String>,
    /// Number of requests before this one.
    pub(crate) number: usize,
}

impl Request {
    /// Whether it requests bytes of an object from the byte `start` on.
    pub(crate) fn is_range_from(&self, start: u64) -> bool {
        let range = self.headers.get("range");
        self.method == "GET"
            && range.is_some_and(|range| range.starts_with(&format!("bytes={start}-")))
    }
}

/// The proxy's answer to a request.
#[derive(Clone)]
pub(crate) enum Reaction {
    /// Forwards the request and its answer.
    Pass,
    /// Closes the connection after this number of bytes of the answer's body.
    Cut(usize),
    /// Answers without the server: status, headers, body.
    Answer(u16, &'static str, &'static str),
    /// Forwards the answer with a changed head.
    Edit(fn(String) -> String),
}

type Plan = Arc<dyn Fn(&Request) -> Reaction + Send + Sync>;

/// An S3 server with a temporary folder. It checks signatures.
pub(crate) struct Server {
    root: TempDir,
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    _runtime: Runtime,
}

impl Server {
    /// Starts a server without faults.
    pub(crate) fn start() -> Self {
        Self::with(|_| Reaction::Pass)
    }

    /// Starts a server behind a proxy with this plan.
    pub(crate) fn with(plan: impl Fn(&Request) -> Reaction + Send + Sync + 'static) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(BUCKET)).unwrap();
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(serve(root.path().to_owned()));
        let log = Arc::default();
        let address = proxy(server, Arc::new(plan), Arc::clone(&log));
        Self { root, address, log, _runtime: runtime }
    }

    /// The file of an object. Creates its folders.
    pub(crate) fn object(&self, key: &str) -> PathBuf {
        let path = self.root.path().join(BUCKET).join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Stores an ETag, so that the server does not hash the whole object for each of its ranges.
    pub(crate) fn know_etag(&self, key: &str) {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode_to_string(text);
        let note = format!(".bucket-{}.object-{}.internal.json", encode(BUCKET), encode(key));
        fs::write(self.root.path().join(note), r#"{"e_tag": "known"}"#).unwrap();
    }

    /// Names of all files of the server, including unfinished uploads and excluding its metadata
    /// files.
    pub(crate) fn files(&self) -> Vec<String> {
        let bucket = fs::read_dir(self.root.path().join(BUCKET)).unwrap();
        let names = fs::read_dir(self.root.path()).unwrap().chain(bucket);
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != BUCKET && !name.starts_with(".bucket-")).collect()
    }

    /// URL of the server.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// The binary, with this server as S3 and without the AWS settings of the machine.
    pub(crate) fn epitome(&self) -> Command {
        let mut command = epitome();
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        command
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL_S3", self.url())
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command
    }
}

async fn serve(root: PathBuf) -> SocketAddr {
    let mut service = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
    service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = service.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(socket), service.clone());
            tokio::spawn(connection);
        }
    });
    address
}

/// Listens as long as the test runs.
fn proxy(server: SocketAddr, plan: Plan, log: Arc<Mutex<Vec<Request>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (plan, log) = (Arc::clone(&plan), Arc::clone(&log));
            // A client may close the connection early.
            thread::spawn(move || exchange(client?, server, &plan, &log));
        }
    });
    address
}

/// Handles one request and its answer. The next request needs a new connection.
fn exchange(
    mut client: TcpStream,
    server: SocketAddr,
    plan: &Plan,
    log: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let head = read_head(&mut reader)?;
    let Some(mut request) = parse(&head) else {
        return Ok(());
    };
    {
        let mut log = log.lock().unwrap();
        request.number = log.len();
        log.push(request.clone());
    }
    if request.headers.contains_key("expect") {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = request.headers.get("content-length");
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;

    let reaction = plan(&request);
    if let Reaction::Answer(status, headers, body) = reaction {
        let length = body.len();
        let body = if request.method == "HEAD" { "" } else { body };
        return write!(
            client,
            "HTTP/1.1 {status} Planned\r\n{headers}content-length: {length}\r\n\
             connection: close\r\n\r\n{body}"
        );
    }
    let mut server = TcpStream::connect(server)?;
    let lines = head.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !["expect", "connection"].contains(&name.to_lowercase().as_str())
    });
    for line in lines.filter(|line| !line.is_empty()) {
        write!(server, "{line}\r\n")?;
    }
    server.write_all(b"connection: close\r\n\r\n")?;
    server.write_all(&body)?;

    let mut answer = BufReader::new(server);
    let mut head = read_head(&mut answer)?;
    if let Reaction::Edit(edit) = reaction {
        head = edit(head);
    }
    client.write_all(head.as_bytes())?;
    let most = match reaction {
        Reaction::Cut(bytes) => bytes as u64,
        _ => u64::MAX,
    };
    io::copy(&mut answer.take(most), &mut client)?;
    Ok(())
}

/// Reads up to and including the empty line.
fn read_head(reader: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    Ok(head)
}

fn parse(head: &str) -> Option<Request> {
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let headers = lines.filter_map(|line| line.split_once(": "));
    Some(Request {
        method: first.next()?.to_owned(),
        target: first.next()?.to_owned(),
        headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
        number: 0,
    })
}
