//! `epitome page`: the real binary, without a browser.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::common::{bundle, epitome};
use serde_json::{Value, json};

const TEXT: &str = "The river rose after a week of rain and the town opened its gates.";

/// The server of the page. It ends with this value.
struct Page {
    child: Child,
    address: String,
}

impl Page {
    fn start(arguments: &[&str]) -> Self {
        Self::with(arguments, &[])
    }

    fn with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = epitome()
            .args(["page", "--no-browser", "--port", "0"])
            .args(arguments)
            .envs([("AWS_ACCESS_KEY_ID", "AKIDTEST"), ("AWS_SECRET_ACCESS_KEY", "secret")])
            .env("AWS_REGION", "eu-west-1")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.unwrap_or_else(|| panic!("an address in {line:?}")).to_owned();
        Self { child, address }
    }

    /// The head and the body of an answer.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\
             Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn get(&self, path: &str) -> String {
        let (head, body) = self.ask("GET", path, "", b"");
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head} {body}");
        body
    }

    fn post(&self, path: &str, body: &[u8]) -> Value {
        let (head, body) = self.ask("POST", path, "Content-Type: application/json\r\n", body);
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head} {body}");
        serde_json::from_str(&body).unwrap()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_page_and_all_that_it_asks() {
    let page = Page::start(&["--model", bundle("tiny/pegasus-relu").to_str().unwrap()]);
    let html = page.get("/");
    assert!(html.contains("epitome"), "{html}");
    // All files that the page and its scripts name exist, under a strict policy.
    let mut names = vec!["page/page.css".to_owned(), "page/main.js".to_owned()];
    let mut seen = 0;
    while let Some(name) = names.pop() {
        seen += 1;
        assert!(seen < 100, "the scripts import each other in circles");
        let (head, text) = page.ask("GET", &format!("/{name}"), "", b"");
        assert!(head.starts_with("HTTP/1.1 200 "), "{name}: {head}");
        assert!(head.contains("default-src 'self'"), "{head}");
        let imports = text.split("from \"./").skip(1);
        let imports = imports.map(|rest| format!("page/{}", rest.split('"').next().unwrap()));
        names.extend(imports);
    }

    // Requests wait until the model is loaded.
    let body = json!({"inputs": TEXT}).to_string();
    let answer = page.post("/invocations", body.as_bytes());
    assert!(answer[0]["summary_text"].is_string(), "{answer}");
    let info: Value = serde_json::from_str(&page.get("/info")).unwrap();
    assert_eq!((&info["backend"], &info["documents"]), (&json!("local"), &json!(true)));
    let window = info["models"][0]["max_source_tokens"].as_u64().unwrap();
    let count = page.post("/tokens", TEXT.as_bytes());
    assert_eq!((&count["window"], &count["more"]), (&json!(window), &json!(false)));
    assert!(count["tokens"].as_u64().unwrap() > 10, "{count}");
    let long = page.post("/tokens", TEXT.repeat(1000).as_bytes());
    assert!(long["tokens"].as_u64() > Some(10_000), "{long}");

    // A long text is read in parts, and a stream says so.
    assert!(info["long"].as_array().unwrap().contains(&json!("parts")), "{info}");
    let parameters = json!({"long": "parts", "num_beams": 1, "max_new_tokens": 8});
    let body =
        json!({"inputs": format!("{TEXT} ").repeat(40), "parameters": parameters, "stream": true});
    let accept = "Content-Type: application/json\r\nAccept: text/event-stream\r\n";
    let (_, events) = page.ask("POST", "/invocations", accept, body.to_string().as_bytes());
    assert!(events.contains(r#""words_read":"#) && events.contains(r#""parts":"#), "{events}");

    let documents = page.post("/documents", b"<html><body><p>Caf\xc3\xa9</p></body></html>");
    let text = &documents["documents"][0]["sections"][0]["text"];
    assert_eq!(text, "Caf\u{e9}", "{documents}");
    let (head, body) = page.ask("POST", "/documents", "", b"%PDF-1.4\n%%EOF");
    assert!(head.starts_with("HTTP/1.1 422 "), "{head} {body}");
    let (head, _) = page.ask("POST", "/documents", "Origin: https://evil.example\r\n", b"a");
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
}

#[test]
fn a_call_without_a_model_says_how_to_get_one() {
    let store = tempfile::tempdir().unwrap();
    let output = epitome()
        .args(["page", "--no-browser"])
        .env_remove("EPITOME_MODEL")
        .env("EPITOME_HOME", store.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("there is no model yet") && said.contains("epitome pull"), "{said}");
}

#[test]
#[cfg(feature = "aws")]
fn an_endpoint_is_asked_over_the_sdk() {
    // The server of the page also answers like AWS.
    let behind = Page::start(&["--model", bundle("tiny/pegasus-relu").to_str().unwrap()]);
    let url = format!("http://{}", behind.address);
    let page = Page::start(&["--endpoint", "news", "--endpoint-url", &url]);
    let info: Value = serde_json::from_str(&page.get("/info")).unwrap();
    assert_eq!(
        (&info["backend"], &info["models"][0]["name"]),
        (&json!("deployed"), &json!("news"))
    );
    let parameters = json!({"num_beams": 1, "max_new_tokens": 4});
    let body = json!({"inputs": TEXT, "parameters": parameters}).to_string();
    let alone = behind.post("/invocations", body.as_bytes());
    assert_eq!(page.post("/invocations", body.as_bytes()), alone);

    let body = json!({"inputs": TEXT, "parameters": parameters, "stream": true}).to_string();
    let accept = "Content-Type: application/json\r\nAccept: text/event-stream\r\n";
    let (head, events) = page.ask("POST", "/invocations", accept, body.as_bytes());
    assert!(head.contains("text/event-stream"), "{head}");
    assert!(events.matches("data: ").count() > 1, "{events}");

    let body = json!({"inputs": TEXT, "parameters": {"num_beams": 0}}).to_string();
    let (head, said) =
        page.ask("POST", "/invocations", "Content-Type: application/json\r\n", body.as_bytes());
    assert!(head.starts_with("HTTP/1.1 400 ") && said.contains("num_beams"), "{head} {said}");
}

#[test]
#[cfg(feature = "aws")]
fn the_accounts_endpoints_are_listed() {
    let aws = crate::aws::fake::Aws::start();
    for name in ["before", "news", "other"] {
        aws.state().endpoints.insert(name.into(), json!({"EndpointConfigName": "c"}));
    }
    let environment = [("AWS_ENDPOINT_URL", aws.url())];
    let environment = environment.each_ref().map(|(name, url)| (*name, url.as_str()));
    let page = Page::with(&["--endpoint", "news"], &environment);
    let info = || serde_json::from_str::<Value>(&page.get("/info")).unwrap();
    let names = |info: &Value| {
        let models = info["models"].as_array().unwrap();
        models.iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&info()), ["news", "before", "other"]);
    let denied = json!({"__type": "AccessDeniedException", "message": "not you"});
    aws.state().faults.push_back(("ListEndpoints", 400, denied));
    let refused = info();
    assert_eq!(names(&refused), ["news"], "the named one can be asked all the same");
    let problem = refused["problem"].as_str().unwrap();
    assert!(problem.contains("cannot be listed") && problem.contains("not you"), "{problem}");
}
