//! Tests of the server over real sockets. A real model works behind a worker that panics at a
//! certain text.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use epitome_runtime::batching::{Demand, Goal};
use epitome_runtime::generation::GenerationConfig;
use epitome_runtime::observer::Observer;
use epitome_runtime::summarizer::{TextModel, Texts};
use epitome_runtime::tokenizer::Tokenizer;
use epitome_runtime::{GenerationParameters, LongOptions, Progress, Summary};
use serde_json::{Value, json};

use super::*;
use crate::models::{BoxError, PreparedModel};
use crate::scheduler::Engine;
use crate::settings::{Check, SchedulingSettings};

/// Time limit of every step.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Text that makes the worker panic.
const PANIC: &str = "panic";

/// A model that panics at [`PANIC`].
struct Fragile(Box<dyn Engine>);

impl Engine for Fragile {
    fn run(&mut self, texts: &mut dyn Texts) -> epitome_runtime::Result<()> {
        self.0.run(&mut FragileTexts(texts))
    }

    fn run_long(
        &mut self,
        text: &str,
        options: &LongOptions,
        parameters: &GenerationParameters,
        progress: &mut dyn Progress,
    ) -> epitome_runtime::Result<()> {
        self.0.run_long(text, options, parameters, progress)
    }

    fn tokenizer(&self) -> Option<&Tokenizer> {
        self.0.tokenizer()
    }
}

/// Texts that panic when [`PANIC`] is read.
struct FragileTexts<'a>(&'a mut dyn Texts);

impl Texts for FragileTexts<'_> {
    fn waiting(&mut self) -> Option<(usize, Demand)> {
        self.0.waiting()
    }

    fn goal(&self) -> Goal {
        self.0.goal()
    }

    fn take(&mut self) -> Option<usize> {
        self.0.take()
    }

    fn text(&self, number: usize) -> &str {
        let text = self.0.text(number);
        assert!(text != PANIC, "asked to panic");
        text
    }

    fn config(
        &self,
        number: usize,
        model: &TextModel,
    ) -> epitome_runtime::Result<Arc<GenerationConfig>> {
        self.0.config(number, model)
    }
}

impl Observer<epitome_runtime::Result<Summary>> for FragileTexts<'_> {
    fn cancelled(&mut self, number: usize) -> bool {
        self.0.cancelled(number)
    }

    fn token(&mut self, number: usize, sequence: usize, token: u32) {
        self.0.token(number, sequence, token);
    }

    fn ended(&mut self, number: usize, result: epitome_runtime::Result<Summary>) {
        self.0.ended(number, result);
    }
}

fn fragile(
    bundle: &Path,
    scheduling: &SchedulingSettings,
    threads: NonZeroUsize,
) -> Result<Box<dyn Engine>, BoxError> {
    Ok(Box::new(Fragile(summarizer(bundle, scheduling, threads)?)))
}

/// Uses the model folder as the bundle.
struct AsItIs;

impl PrepareModel for AsItIs {
    fn prepare(&self, folder: &Path, _stop: &AtomicBool) -> Result<PreparedModel, BoxError> {
        Ok(PreparedModel { bundle: folder.into(), scratch: None })
    }
}

/// Serves a model on a free port until the test ends.
pub(super) async fn start(bundle: &Path) -> SocketAddr {
    start_with(bundle, Arc::new(AsItIs)).await
}

async fn start_with(bundle: &Path, prepare: Arc<dyn PrepareModel>) -> SocketAddr {
    start_as(Settings::default(), bundle, prepare).await
}

async fn start_as(
    mut settings: Settings,
    bundle: &Path,
    prepare: Arc<dyn PrepareModel>,
) -> SocketAddr {
    settings.server.check = Check::Never;
    settings.server.model = bundle.into();
    let context = context(settings);
    let models = models(&context, prepare, fragile);
    let backend = Arc::new(LocalModels::new(context.clone(), models));
    serve_app(App { context, backend, registry: None, async_calls: None, documents: None }).await
}

pub(super) fn context(settings: Settings) -> Arc<Context> {
    let (_, shutdown) = Shutdown::new();
    Arc::new(Context {
        in_flight: Budget::new(0, settings.contract.max_body),
        settings,
        metrics: Arc::new(Metrics::new()),
        shutdown,
    })
}

/// Serves on a free port until the test ends.
pub(super) async fn serve_app(app: App) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Connections::new(routes::router(Arc::new(app)));
    tokio::spawn(async move { connections.accept_all(&listener).await });
    address
}

/// Writes a bundle of a tiny checkpoint.
fn export(bundle: &Path) {
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tiny/pegasus-relu");
    let options = epitome_export::ExportOptions::default();
    epitome_export::export(&checkpoint, bundle, &options).unwrap();
}

/// The status and the body of the answer to a request on a new connection.
pub(super) fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let (head, body) = ask_with(address, method, path, "", body);
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

/// The head and the body of the answer to a request with these header lines.
pub(super) fn ask_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &(impl AsRef<[u8]> + ?Sized),
) -> (String, String) {
    let body = body.as_ref();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_panics_costs_one_request() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    export(&bundle);
    let address = start(&bundle).await;

    let get = async |path: &'static str| blocking(move || ask(address, "GET", path, "")).await;
    let summarize = async |text: &'static str| {
        let body = json!({"inputs": text}).to_string();
        blocking(move || ask(address, "POST", "/invocations", &body)).await
    };
    let before = summarize("a b c").await;
    assert_eq!(before.0, 200, "{}", before.1);

    let (status, body) = summarize(PANIC).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["code"]), (500, &json!(500)));
    assert_eq!(body["type"], "InternalServerException");
    let message = body["message"].as_str().unwrap();
    assert!(message.contains("worker failed"), "{message}");

    // The worker opens the model again. Meanwhile the server says that it is not ready.
    let started_again = async {
        while get("/ping").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, started_again).await.unwrap();
    assert_eq!(summarize("a b c").await, before);
    let metrics = get("/metrics").await.1;
    assert!(metrics.contains("worker_panics_total 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_of_a_compressed_completion_is_found() {
    let folder = tempfile::tempdir().unwrap();
    export(&folder.path().join("mine"));
    let settings = Settings { multi_model: Some(Default::default()), ..Settings::default() };
    let address = start_as(settings, folder.path(), Arc::new(AsItIs)).await;
    let complete = async |headers: &'static str, body: Vec<u8>| {
        let ask = move || ask_with(address, "POST", "/v1/completions", headers, &body);
        blocking(ask).await
    };
    let plain = json!({"model": "mine", "prompt": "a b c", "max_tokens": 3}).to_string();
    let marked = format!("\u{feff}{plain}");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(marked.as_bytes()).unwrap();
    for (headers, body) in [
        ("", plain.into_bytes()),
        ("", marked.into_bytes()),
        ("Content-Encoding: gzip\r\n", gzip.finish().unwrap()),
    ] {
        let (head, body) = complete(headers, body).await;
        assert!(head.starts_with("HTTP/1.1 200 ") && body.contains("\"mine\""), "{head} {body}");
    }
    let (head, body) = complete("", b"{".to_vec()).await;
    assert!(head.starts_with("HTTP/1.1 400 ") && body.contains("names no `model`"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_follow_the_settings_and_refuse_what_they_cannot_follow() {
    let folder = tempfile::tempdir().unwrap();
    export(folder.path());
    let mut settings = Settings::default();
    settings.contract.default_accept = Some(crate::media::Format::Text);
    let address = start_as(settings, folder.path(), Arc::new(AsItIs)).await;
    let stream = async |headers: &'static str, parameters: Value| {
        let body = json!({"inputs": "a b c", "stream": true, "parameters": parameters}).to_string();
        blocking(move || ask_with(address, "POST", "/invocations", headers, &body)).await
    };
    let (head, body) = stream("", json!({"max_new_tokens": 3})).await;
    assert!(head.contains("text/plain; charset=utf-8"), "{head} {body}");
    let (head, _) = stream("Accept: text/event-stream\r\n", json!({"max_new_tokens": 3})).await;
    assert!(head.contains("text/event-stream"), "{head}");
    for (name, value) in
        [("truncation", false), ("return_tensors", true), ("clean_up_tokenization_spaces", true)]
    {
        let (head, body) = stream("", json!({name: value})).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{name}: {head}");
        assert!(body.contains("cannot be streamed"), "{body}");
    }
}

/// Panics until its folder holds a bundle.
struct PanicsAtFirst;

impl PrepareModel for PanicsAtFirst {
    fn prepare(&self, folder: &Path, stop: &AtomicBool) -> Result<PreparedModel, BoxError> {
        assert!(folder.join("manifest.json").is_file(), "asked to panic");
        AsItIs.prepare(folder, stop)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_loading_is_told_and_loading_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let address = start_with(&bundle, Arc::new(PanicsAtFirst)).await;
    let failed = async {
        loop {
            let (status, body) = blocking(move || ask(address, "GET", "/ping", "")).await;
            assert_eq!(status, 503, "{body}");
            if body.contains("asked to panic") {
                return;
            }
            assert!(body.contains("being loaded"), "{body}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, failed).await.unwrap();
    export(&bundle);
    let ready = async {
        while blocking(move || ask(address, "GET", "/ping", "")).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ready).await.unwrap();
}

/// Runs a function that blocks.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
