//! The server under test, and a client that sends exact bytes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{self, Exported};

/// Time limit of every step.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bundle of a tiny checkpoint that all tests share.
pub(crate) fn bundle() -> PathBuf {
    common::bundle("tiny/pegasus-relu")
}

/// A bundle of a tiny checkpoint for one test, which may change it.
pub(crate) fn own_bundle() -> Exported {
    Exported::of("tiny/pegasus-relu")
}

/// Waits for a condition.
pub(crate) fn until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it did not come to pass in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The value of a metric without labels.
pub(crate) fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} in {metrics}")).trim().parse().unwrap()
}

/// The body of a successful answer as text.
pub(crate) fn text_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// A process of `epitome serve`. It ends with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server of a tiny model, and waits until it is ready.
    pub(crate) fn tiny(environment: &[(&str, &str)]) -> Self {
        Self::start(&bundle(), environment)
    }

    /// Starts a server, and waits until it is ready.
    pub(crate) fn start(model: &Path, environment: &[(&str, &str)]) -> Self {
        let server = Self::start_any(model, environment);
        until(|| {
            let ping = server.get("/ping");
            assert!(ping.status == 200 || ping.text().contains("being loaded"), "{}", ping.text());
            ping.status == 200
        });
        server
    }

    /// Starts a server, and waits until it listens.
    pub(crate) fn start_any(model: &Path, environment: &[(&str, &str)]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_epitome")), model, environment)
    }

    /// Starts a server with a limit of open files.
    pub(crate) fn with_files(model: &Path, files: usize) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_epitome")]);
        Self::run(shell, model, &[])
    }

    fn run(mut command: Command, model: &Path, environment: &[(&str, &str)]) -> Self {
        let mut child = command
            .args(["serve", "--port", "0", "--model"])
            .arg(model)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let address = loop {
            let mut line = String::new();
            assert!(
                lines.read_line(&mut line).unwrap() > 0,
                "the server ended: {}",
                log.lock().unwrap()
            );
            log.lock().unwrap().push_str(&line);
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["message"] == "listening" {
                break entry["address"].as_str().unwrap().parse().unwrap();
            }
        };
        let reader = Some(read(lines, log.clone()));
        Self { child, address, log, reader }
    }

    /// Peak memory of the server in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.unwrap().trim().strip_suffix("kB").unwrap().trim();
        kilobytes.parse::<u64>().unwrap() << 10
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address).expect("the server accepts")
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send("POST", path, headers, body)
    }

    pub(crate) fn invoke(&self, body: &Value) -> Answer {
        let headers = [("Content-Type", "application/json")];
        self.post("/invocations", &headers, body.to_string().as_bytes())
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let extra: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        exchange(self.address, &format!("{method} {path} HTTP/1.1\r\n{extra}"), body)
            .expect("an answer")
    }

    /// Sends exactly these bytes, closes the sending side, and reads the answer to the end.
    pub(crate) fn send_raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        Answer::read(&answer).unwrap_or_else(|| panic!("no HTTP answer: {text:?}"))
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&mut self) {
        common::signal(self.child.id(), "TERM");
    }

    /// Kills the supervised server, as the system would.
    pub(crate) fn kill_child(&self) {
        let children = self.children();
        assert!(!children.trim().is_empty(), "it has no child");
        for child in children.split_whitespace() {
            common::signal(child.parse().unwrap(), "KILL");
        }
        until(|| self.children() != children);
    }

    fn children(&self) -> String {
        let parent = self.child.id().to_string();
        let found = Command::new("ps").args(["-o", "pid=", "--ppid", &parent]).output();
        String::from_utf8(found.expect("ps runs").stdout).unwrap()
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self, patience: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < patience, "the server goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops the server gracefully. Returns the whole log.
    pub(crate) fn stop(mut self) -> String {
        self.terminate();
        assert!(self.wait(PATIENCE).success());
        self.reader.take().unwrap().join().unwrap();
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut lines: BufReader<ChildStderr>, log: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            log.lock().unwrap().push_str(&std::mem::take(&mut line));
        }
    })
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a request that may get no answer.
pub(crate) fn try_get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    exchange(address, &format!("GET {path} HTTP/1.1\r\n"), b"")
}

/// Posts JSON.
pub(crate) fn post(address: SocketAddr, path: &str, body: &[u8]) -> io::Result<Answer> {
    exchange(address, &format!("POST {path} HTTP/1.1\r\n"), body)
}

fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> io::Result<Answer> {
    let mut stream = connect(address)?;
    let length = body.len();
    let head =
        format!("{head}Host: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Answer::read(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Self> {
        const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut bytes = bytes;
        while let Some(rest) = bytes.strip_prefix(INTERIM) {
            bytes = rest;
        }
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Self { status, headers, body: bytes[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = join_chunks(&answer.body)?;
        }
        Some(answer)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn join_chunks(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let start = end + 2;
        body.extend_from_slice(bytes.get(start..start + size)?);
        bytes = bytes.get(start + size + 2..)?;
    }
}
