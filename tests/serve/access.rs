//! Tests of access control and of malformed requests.

use std::io::Write;

use serde_json::{Value, json};

use super::TEXT;
use super::client::{Server, bundle};

#[test]
fn pages_elsewhere_and_foreign_hosts_are_refused_on_loopback() {
    let server = Server::tiny(&[("EPITOME_ALLOW_ORIGIN", "https://app.example")]);
    let body = json!({"inputs": TEXT}).to_string();
    let with = |origin| server.post("/invocations", &[("Origin", origin)], body.as_bytes());
    assert_eq!(with("https://evil.example").status, 403);
    assert_eq!(with("null").status, 403);
    assert_eq!(with("http://localhost").status, 200, "its own page");
    let allowed = with("https://app.example");
    let header = allowed.header("access-control-allow-origin");
    assert_eq!((allowed.status, header), (200, Some("https://app.example")));
    let preflight = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST")];
    let preflight = server.send("OPTIONS", "/invocations", &preflight, b"");
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("content-type"));

    let host = |hosts: &str| {
        server
            .send_raw(format!("GET /ping HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").as_bytes())
    };
    assert_eq!(host("Host: evil.example\r\n").status, 403);
    assert_eq!(host("Host: localhost\r\nHost: localhost\r\n").status, 400);
    assert_eq!(host("").status, 400);
    assert_eq!(host("Host: 127.0.0.1:99\r\n").status, 200);
    let target =
        b"GET http://evil.example/ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(server.send_raw(target).status, 403);
}

#[test]
fn a_key_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "secret\n").unwrap();
    let server = Server::tiny(&[("EPITOME_API_KEY_FILE", file.to_str().unwrap())]);
    let body = json!({"inputs": TEXT}).to_string();
    let with = |headers| server.post("/invocations", headers, body.as_bytes());
    let refused = with(&[]);
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    assert_eq!(with(&[("Authorization", "Bearer other")]).status, 401);
    assert_eq!(with(&[("Authorization", "Bearer secret")]).status, 200);
    assert_eq!(server.get("/ping").status, 200);
    assert_eq!(server.get("/metrics").status, 401);
    assert!(!server.stop().contains("secret"));
}

#[test]
fn beyond_loopback_without_a_key_is_said_once() {
    let warning = "everyone who reaches this address";
    for (environment, said) in [
        (&[("EPITOME_HOST", "0.0.0.0")][..], 1),
        (&[("EPITOME_HOST", "0.0.0.0"), ("EPITOME_API_KEY", "secret")], 0),
        (&[("EPITOME_HOST", "0.0.0.0"), ("EPITOME_AUTHENTICATED_UPSTREAM", "true")], 0),
        (&[], 0),
    ] {
        let log = Server::tiny(environment).stop();
        assert_eq!(log.matches(warning).count(), said, "{log}");
    }
}

#[test]
fn models_lie_in_the_folder_of_models_and_every_spelling_is_one() {
    let models = tempfile::tempdir().unwrap();
    let model = bundle();
    let inside = models.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    for file in std::fs::read_dir(&model).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), inside.join(file.file_name())).unwrap();
    }
    let server = Server::start(models.path(), &[("SAGEMAKER_MULTI_MODEL", "true")]);
    let load = |url: String| {
        let body = json!({"model_name": "m", "url": url}).to_string();
        server.post("/models", &[], body.as_bytes())
    };
    let outside = load(model.display().to_string());
    assert_eq!(outside.status, 400, "{}", outside.text());
    assert_eq!(load("/etc".into()).text(), load("/nowhere".into()).text());
    assert_eq!(load(format!("{}/../inside/..", inside.display())).status, 424);
    let body = json!({"inputs": TEXT}).to_string();
    for spelling in ["inside", "./inside", "inside/", "inside/.", ".//inside"] {
        let target = [("X-Amzn-SageMaker-Target-Model", spelling)];
        assert_eq!(server.post("/invocations", &target, body.as_bytes()).status, 200);
    }
    let models = server.get("/models").json();
    assert_eq!(models["models"].as_array().unwrap().len(), 1, "{models}");
    let outside = [("X-Amzn-SageMaker-Target-Model", "../inside")];
    assert_eq!(server.post("/invocations", &outside, body.as_bytes()).status, 404);
}

#[test]
fn errors_of_heads_are_json_and_short() {
    let server = Server::tiny(&[]);
    let path = server.post("/endpoints/%ff/invocations", &[], b"{}");
    assert_eq!(path.status, 400);
    assert_eq!(path.header("content-type"), Some("application/json"));
    assert!(path.json()["Message"].is_string());
    let accept = format!("image/{}", "p".repeat(30_000));
    let refused = server.post("/invocations", &[("Accept", &accept)], br#"{"inputs":"a"}"#);
    assert_eq!(refused.status, 406);
    assert!(refused.body.len() < 800, "{}", refused.text());
    let accept = format!("image/{}", "p".repeat(300_000));
    let mut stream = server.connect();
    // The server may close the connection before everything is sent.
    let _ = write!(stream, "GET /ping HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
    assert_eq!(server.get("/ping").status, 200);
}

#[test]
fn what_means_nothing_is_named_and_parameters_in_the_wrong_place_are_refused() {
    let server = Server::tiny(&[]);
    let body = json!({"inputs": TEXT, "options": {"use_cache": false}, "id": 1, "ä": 2});
    let answer = server.invoke(&body);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-epitome-ignored"), Some("id, ?"));
    let plain = server.invoke(&json!({"inputs": TEXT, "options": {}}));
    assert_eq!(plain.header("x-epitome-ignored"), None);
    let misplaced = server.invoke(&json!({"inputs": TEXT, "max_length": 5}));
    let message = misplaced.json()["message"].as_str().unwrap().to_owned();
    assert_eq!(misplaced.status, 400);
    assert!(message.contains("{\"parameters\": {\"max_length\": ...}}"), "{message}");
    let lines = [("Content-Type", "application/json")];
    let lines = server.post("/invocations", &lines, b"{\"inputs\":\"a\"}\n{\"inputs\":\"b\"}");
    assert!(lines.text().contains("application/jsonlines"), "{}", lines.text());
}

#[test]
fn compressed_bodies_are_read() {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    let server = Server::tiny(&[("SAGEMAKER_MAX_PAYLOAD_IN_MB", "1")]);
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    let body = json!({"inputs": TEXT}).to_string();
    let answer = server.post("/invocations", &headers, &gzip(body.as_bytes()));
    let plain: Value = server.invoke(&json!({"inputs": TEXT})).json();
    assert_eq!(answer.json(), plain);
    let bomb = gzip(&vec![b' '; 2 << 20]);
    assert_eq!(server.post("/invocations", &headers, &bomb).status, 413);
    let unknown = [("Content-Encoding", "br")];
    let unknown = server.post("/invocations", &unknown, b"x");
    assert_eq!(unknown.status, 415);
    assert_eq!(unknown.header("accept-encoding"), Some("gzip, deflate"));
}

#[test]
fn a_refused_value_is_not_logged() {
    let server = Server::tiny(&[]);
    let body = json!({"inputs": TEXT, "parameters": {"stop_strings": ["a secret", 3]}});
    assert_eq!(server.invoke(&body).status, 400);
    let log = server.stop();
    assert!(log.contains("stop_strings") && !log.contains("a secret"), "{log}");
}
