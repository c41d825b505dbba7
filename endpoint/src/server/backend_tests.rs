//! Tests of other endpoints, files and token counts over real sockets.

use std::sync::Mutex;

use axum::body::Body;
use axum::extract::State;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use super::tests::{ask, ask_with, blocking, context, serve_app};
use super::*;
use crate::deployed::{EndpointCall, EndpointError};
use crate::local_mode::asynchronous;
use crate::objects::MAX_RUNNING;
use crate::path_name::Name;

/// Returns the body. The endpoint `broken` fails at once or in the middle.
#[derive(Default)]
struct Echo {
    calls: Mutex<Vec<EndpointCall>>,
}

impl Endpoints for Echo {
    fn names(&self) -> (Vec<String>, Option<String>) {
        (vec!["new".into(), "old".into()], Some("the list may be incomplete".into()))
    }

    fn invoke(
        &self,
        call: &EndpointCall,
        piece: &mut dyn FnMut(&str, &[u8]) -> bool,
    ) -> Result<(), EndpointError> {
        self.calls.lock().unwrap().push(call.clone());
        let failed = || {
            let message = "num_beams must be at least 1".into();
            Err(EndpointError { status: Some(400), message })
        };
        if call.stream {
            piece("text/event-stream", b"data: 1\n\n");
            return failed();
        }
        match call.endpoint.as_str() {
            "broken" => failed(),
            "gone" => Err(EndpointError { status: None, message: "no such endpoint".into() }),
            "page" => {
                piece("text/html", b"<script>");
                Ok(())
            }
            _ => {
                piece("application/json", &call.body);
                Ok(())
            }
        }
    }
}

fn app(echo: &Arc<Echo>) -> App {
    let mut settings = Settings::default();
    settings.contract.max_body = 100;
    let context = context(settings);
    // Plain text is read in this process.
    let extractor = Extractor::new("/nowhere", Vec::new());
    let backend = Arc::new(Deployed::new(context.clone(), echo.clone()));
    App { context, backend, registry: None, async_calls: None, documents: Some(extractor) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_passed_on_to_the_endpoint_that_they_name() {
    let echo = Arc::new(Echo::default());
    let address = serve_app(app(&echo)).await;
    let invoke = async |headers: &'static str| {
        let ask = move || {
            ask_with(address, "POST", "/invocations", headers, &json!({"inputs": "a"}).to_string())
        };
        blocking(ask).await
    };
    let body = json!({"inputs": "a"}).to_string();
    assert!(invoke("").await.1.contains(&body));
    let to = |name: &'static str| match name {
        "old" => "X-Amzn-SageMaker-Target-Model: old\r\n",
        "broken" => "X-Amzn-SageMaker-Target-Model: broken\r\n",
        "gone" => "X-Amzn-SageMaker-Target-Model: gone\r\n",
        "page" => "X-Amzn-SageMaker-Target-Model: page\r\n",
        _ => "X-Amzn-SageMaker-Target-Model: ../x\r\n",
    };
    invoke(to("old")).await;
    let asked: Vec<String> =
        echo.calls.lock().unwrap().iter().map(|call| call.endpoint.clone()).collect();
    assert_eq!(asked, ["new", "old"]);
    for (name, status) in [("broken", " 400 "), ("gone", " 502 "), ("../x", " 404 ")] {
        let (head, body) = invoke(to(name)).await;
        assert!(head.lines().next().unwrap().contains(status), "{name}: {head} {body}");
    }
    let (head, _) = invoke(to("page")).await;
    assert!(head.contains("application/octet-stream") && head.contains("nosniff"), "{head}");
    let (head, body) = invoke("Accept: text/event-stream\r\n").await;
    assert!(head.contains("text/event-stream"), "{head}");
    assert!(body.contains("data: 1") && body.contains("\"error\":"), "{body}");
    let long = "a".repeat(101);
    let (status, _) = blocking(move || ask(address, "POST", "/invocations", &long)).await;
    assert_eq!(status, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_page_asks_besides() {
    let address = serve_app(app(&Arc::default())).await;
    let get = |path: &'static str| blocking(move || ask(address, "GET", path, ""));
    let (status, info) = get("/info").await;
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(
        (status, &info["backend"], &info["documents"]),
        (200, &json!("deployed"), &true.into())
    );
    assert_eq!(info["models"][1]["name"], "old");
    assert_eq!(get("/models").await.0, 404);
    let description: Value = serde_json::from_str(&get("/openapi.json").await.1).unwrap();
    let security = |path: &str| description["paths"][path]["get"]["security"].clone();
    for path in ["/", "/ping", "/health/live", "/health/ready"] {
        assert_eq!(security(path), json!([]), "{path} needs no key");
    }
    assert_eq!(security("/info"), Value::Null);

    let (status, count) = blocking(move || ask(address, "POST", "/tokens", "a b")).await;
    assert_eq!((status, count.as_str()), (200, "null"), "nobody here knows");

    let upload = |headers: &'static str, body: &'static str| {
        blocking(move || ask_with(address, "POST", "/documents", headers, body))
    };
    let (_, document) = upload("", "The text.").await;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["documents"][0]["sections"][0]["text"], "The text.");
    let (head, body) = upload("X-Epitome-File-Name: a%20b.txt\r\n", "").await;
    assert!(head.starts_with("HTTP/1.1 422 ") && body.contains("'a b.txt' is empty"), "{body}");
    let (head, _) = upload("Origin: https://evil.example\r\n", "a").await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let long = "a".repeat(101);
    let (status, _) = blocking(move || ask(address, "POST", "/documents", &long)).await;
    assert_eq!(status, 413);
}

/// A slow bucket: number of running calls, its maximum, and the written objects.
#[derive(Default)]
struct Bucket(Mutex<(usize, usize, Vec<String>)>);

impl Objects for Bucket {
    fn get(&self, _address: &str, _limit: usize) -> Result<Vec<u8>, String> {
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        state.1 = state.1.max(state.0);
        drop(state);
        std::thread::sleep(Duration::from_millis(20));
        Ok(b"{}".to_vec())
    }

    fn put(&self, address: &str, _bytes: &[u8]) -> Result<(), String> {
        let mut state = self.0.lock().unwrap();
        state.0 -= 1;
        state.2.push(address.into());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_asynchronous_calls_run_at_a_time_and_the_end_waits_for_all() {
    const CALLS: usize = 3 * MAX_RUNNING;
    let bucket = Arc::new(Bucket::default());
    let mut app = app(&Arc::default());
    app.async_calls = Some(AsyncCalls::new(bucket.clone()));
    let app = Arc::new(app);
    for _ in 0..CALLS {
        let request = Request::post("/")
            .header("X-Amzn-SageMaker-InputLocation", "s3://bucket/key")
            .body(Body::empty())
            .unwrap();
        let name = Ok(Name("any".into()));
        let accepted = asynchronous::invocations(State(app.clone()), name, request).await;
        assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    }
    app.async_calls.as_ref().unwrap().answered().await;
    let state = bucket.0.lock().unwrap();
    assert_eq!((state.0, state.2.len()), (0, CALLS));
    assert!(state.1 <= MAX_RUNNING, "{} at a time", state.1);
    assert!(state.2.iter().all(|address| address.ends_with(".out")), "{:?}", state.2);
}
