//! A fake of the Hugging Face hub on loopback, with the part of its API that downloads need, and a
//! second host for large files. It can inject faults.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use epitome_runtime::bundle::digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::epitome;

/// Token for private and gated models.
pub(crate) const TOKEN: &str = "hf_read";

/// A model of the hub.
#[derive(Clone, Default)]
pub(crate) struct Repository {
    /// 40 hexadecimal digits.
    pub(crate) commit: String,
    /// Branches and tags other than `main`.
    pub(crate) revisions: Vec<&'static str>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Further fields of the description.
    pub(crate) card: Value,
    /// Whether it needs the token.
    pub(crate) gated: bool,
}

impl Repository {
    /// The files of a folder below `fixtures/`, with a commit.
    pub(crate) fn of(folder: &Path) -> Self {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: std::path::PathBuf| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
        };
        Self::with(entries.map(read))
    }

    /// These files, with a commit.
    pub(crate) fn with<N: Into<String>>(files: impl IntoIterator<Item = (N, Vec<u8>)>) -> Self {
        let files: BTreeMap<String, Vec<u8>> =
            files.into_iter().map(|(name, bytes)| (name.into(), bytes)).collect();
        let names: Vec<&String> = files.keys().collect();
        let commit = digest::bytes(format!("{names:?}").as_bytes())[..40].to_owned();
        Self { commit, files, card: json!({}), ..Self::default() }
    }

    fn is_at(&self, revision: &str) -> bool {
        revision == "main" || revision == self.commit || self.revisions.contains(&revision)
    }
}

/// Whether a file is in Git LFS, which is on another host.
fn is_large(name: &str) -> bool {
    [".safetensors", ".bin", ".model"].iter().any(|end| name.ends_with(end))
}

fn etag(name: &str, bytes: &[u8]) -> String {
    let digest = digest::bytes(bytes);
    if is_large(name) { digest } else { digest[..40].to_owned() }
}

/// A received request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Headers by lower-case names.
    pub(crate) headers: BTreeMap<String, String>,
    /// Whether the second host received it.
    pub(crate) elsewhere: bool,
}

/// Status, headers and body of an answer.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// Changes the answers to some requests; `None` leaves a request alone.
pub(crate) type Harm = dyn Fn(&Request) -> Option<Harmed> + Send + Sync;

/// A changed answer.
pub(crate) enum Harmed {
    /// Another answer.
    Answer(Answer),
    /// Only this number of bytes of the true answer's body.
    Cut(usize),
    /// The true answer with other headers and body.
    Edit(fn(Answer) -> Answer),
}

struct Shared {
    repositories: BTreeMap<String, Repository>,
    requests: Mutex<Vec<Request>>,
    harm: Mutex<Box<Harm>>,
    elsewhere: SocketAddr,
}

/// The hub, and the folders of a user.
pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    home: TempDir,
}

impl Hub {
    pub(crate) fn start<'n>(repositories: impl IntoIterator<Item = (&'n str, Repository)>) -> Self {
        let repositories =
            repositories.into_iter().map(|(name, repository)| (name.to_owned(), repository));
        let [hub, elsewhere] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let address = hub.local_addr().unwrap();
        let shared = Arc::new(Shared {
            repositories: repositories.collect(),
            requests: Mutex::default(),
            harm: Mutex::new(Box::new(|_| None)),
            elsewhere: elsewhere.local_addr().unwrap(),
        });
        for (listener, is_elsewhere) in [(hub, false), (elsewhere, true)] {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let shared = Arc::clone(&shared);
                    // A client may close the connection early.
                    thread::spawn(move || shared.serve(stream, is_elsewhere));
                }
            });
        }
        Self { address, shared, home: tempfile::tempdir().unwrap() }
    }

    /// Injects faults from now on.
    pub(crate) fn harm(&self, harm: impl Fn(&Request) -> Option<Harmed> + Send + Sync + 'static) {
        *self.shared.harm.lock().unwrap() = Box::new(harm);
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }

    /// A path below the user's home.
    pub(crate) fn home(&self, path: &str) -> std::path::PathBuf {
        self.home.path().join(path)
    }

    /// The binary, for the user.
    pub(crate) fn epitome(&self) -> Command {
        let mut command = epitome();
        self.environment(&mut command);
        command
    }

    /// Makes a command use this hub and no other.
    pub(crate) fn environment(&self, command: &mut Command) {
        let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for name in variables {
            let lower = name.to_ascii_lowercase();
            if name.starts_with("HF_") || lower.ends_with("_proxy") || name == "EPITOME_MODEL" {
                command.env_remove(name);
            }
        }
        command
            .env("HF_ENDPOINT", format!("http://{}", self.address))
            .env("HF_HOME", self.home("hf"))
            .env("EPITOME_HOME", self.home("epitome"))
            .env("XDG_CONFIG_HOME", self.home("config"));
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream, elsewhere: bool) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        loop {
            let mut first = String::new();
            if reader.read_line(&mut first)? == 0 {
                return Ok(());
            }
            let mut headers = BTreeMap::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let Some((name, value)) = line.trim_end().split_once(':') else { break };
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            let mut words = first.split_whitespace().map(str::to_owned);
            let mut word = || words.next().unwrap_or_default();
            let request = Request { method: word(), target: word(), headers, elsewhere };
            self.requests.lock().unwrap().push(request.clone());
            let harmed = (self.harm.lock().unwrap())(&request);
            let (answer, cut) = match harmed {
                None => (self.answer(&request), None),
                Some(Harmed::Answer(answer)) => (answer, None),
                Some(Harmed::Edit(edit)) => (edit(self.answer(&request)), None),
                Some(Harmed::Cut(bytes)) => (self.answer(&request), Some(bytes)),
            };
            let (status, headers, body) = answer;
            let mut head = format!("HTTP/1.1 {status} Status\r\n");
            if !headers.iter().any(|(name, _)| *name == "Content-Length") {
                head.push_str(&format!("Content-Length: {}\r\n", body.len()));
            }
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            stream.write_all(format!("{head}\r\n").as_bytes())?;
            if request.method != "HEAD" {
                stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())])?;
            }
            if cut.is_some() {
                return Ok(());
            }
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        let path = request.target.split('?').next().unwrap_or_default();
        let path = path.replace("%2F", "/");
        if path == "/api/models" {
            return json_answer(&json!([]));
        }
        for (name, repository) in &self.repositories {
            let is_authorized = request.headers.get("authorization").map(String::as_str)
                == Some(&format!("Bearer {TOKEN}"));
            let locked = repository.gated && !is_authorized && !request.elsewhere;
            let api = path.strip_prefix(&format!("/api/models/{name}/"));
            let file = path.strip_prefix(&format!("/{name}/resolve/"));
            if (api.is_some() || file.is_some()) && locked {
                return refusal(403, "GatedRepo", "Access to this model is restricted");
            }
            if let Some(what) = api {
                return repository.describe(name, what);
            }
            let Some((revision, file)) = file.and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            if !repository.is_at(revision) {
                return refusal(404, "RevisionNotFound", "Invalid rev id");
            }
            let Some(bytes) = repository.files.get(file) else {
                return refusal(404, "EntryNotFound", "Entry not found");
            };
            if !is_large(file) || request.elsewhere {
                return content(request, bytes, &repository.commit, &etag(file, bytes));
            }
            let location = format!("http://{}{path}?signature=1", self.elsewhere);
            let headers = vec![
                ("Location", location),
                ("X-Repo-Commit", repository.commit.clone()),
                ("ETag", "\"of-the-pointer\"".to_owned()),
                ("X-Linked-Etag", format!("\"{}\"", etag(file, bytes))),
                ("X-Linked-Size", bytes.len().to_string()),
            ];
            return (302, headers, Vec::new());
        }
        // Without a token, the answer does not reveal whether the model exists.
        match path.contains("/resolve/") {
            true => refusal(401, "RepoNotFound", "Repository not found"),
            false => refusal(401, "", "Invalid username or password."),
        }
    }
}

impl Repository {
    /// `/api/models/NAME/revision/REVISION` and `/api/models/NAME/tree/REVISION`.
    fn describe(&self, name: &str, what: &str) -> Answer {
        let (kind, revision) = what.split_once('/').unwrap_or((what, "main"));
        if !self.is_at(revision) {
            return refusal(404, "RevisionNotFound", "Invalid rev id");
        }
        let lfs = |name: &String, bytes: &Vec<u8>| {
            let oid = etag(name, bytes);
            is_large(name).then(
                || json!({"sha256": oid, "oid": oid, "size": bytes.len(), "pointerSize": 135}),
            )
        };
        if kind == "tree" {
            let entry = |(name, bytes): (&String, &Vec<u8>)| {
                let mut entry = json!({"type": "file", "path": name, "size": bytes.len(),
                    "oid": &etag(name, bytes)[..40]});
                if let Some(lfs) = lfs(name, bytes) {
                    entry["lfs"] = lfs;
                }
                entry
            };
            return json_answer(&self.files.iter().map(entry).collect());
        }
        let sibling = |(name, bytes): (&String, &Vec<u8>)| {
            json!({"rfilename": name, "size": bytes.len(), "blobId": &etag(name, bytes)[..40],
                "lfs": lfs(name, bytes)})
        };
        json_answer(&json!({
            "id": name, "modelId": name, "sha": self.commit, "private": false,
            "gated": self.gated, "tags": [], "downloads": 0,
            "siblings": self.files.iter().map(sibling).collect::<Vec<_>>(),
            "cardData": self.card,
        }))
    }
}

fn content(request: &Request, bytes: &[u8], commit: &str, etag: &str) -> Answer {
    let mut headers = vec![
        ("X-Repo-Commit", commit.to_owned()),
        ("ETag", format!("\"{etag}\"")),
        ("Accept-Ranges", "bytes".to_owned()),
    ];
    let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
    let start = range.and_then(|range| range.split('-').next()?.parse::<usize>().ok());
    match start {
        None => {
            headers.push(("Content-Length", bytes.len().to_string()));
            (200, headers, bytes.to_vec())
        }
        Some(start) if start >= bytes.len() => (416, headers, Vec::new()),
        Some(start) => {
            let (last, all) = (bytes.len() - 1, bytes.len());
            headers.push(("Content-Range", format!("bytes {start}-{last}/{all}")));
            (206, headers, bytes[start..].to_vec())
        }
    }
}

fn json_answer(value: &Value) -> Answer {
    let headers = vec![("Content-Type", "application/json".to_owned())];
    (200, headers, value.to_string().into_bytes())
}

/// An error in the form of the hub.
pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let mut headers = vec![("X-Error-Message", message.to_owned())];
    if !code.is_empty() {
        headers.push(("X-Error-Code", code.to_owned()));
    }
    (status, headers, Vec::new())
}
