//! Endpoints elsewhere, files and counts of tokens over real sockets.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::tests::{ask, ask_with, blocking, context, serve_app};
use super::*;
use crate::deployed::{EndpointCall, EndpointError};

/// Echoes the body; fails at the endpoint `broken`, at once or in the middle.
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
