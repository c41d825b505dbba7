//! Tests of hostile requests and clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::TEXT;
use super::client::{self, Server, bundle};

/// JSON lines with different parameters.
fn lines_with_seeds(count: usize) -> String {
    (0..count)
        .map(|seed| format!("{{\"inputs\":\"a b c\",\"parameters\":{{\"seed\":{seed}}}}}\n"))
        .collect()
}

#[test]
fn a_request_of_many_parameters_stops_neither_ping_nor_sigterm() {
    let mut server = Server::tiny(&[]);
    let address = server.address;
    let body = lines_with_seeds(40_000);
    let head = format!(
        "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/jsonlines\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let hostile: Vec<_> = (0..2)
        .map(|_| {
            let request = head.clone() + &body;
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            })
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(server.get("/ping").status, 200);
    }
    for hostile in hostile {
        let answer = hostile.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let lines = [("Content-Type", "application/jsonlines")];
    let few = server.post("/invocations", &lines, lines_with_seeds(20).as_bytes());
    assert_eq!((few.status, few.text().lines().count()), (200, 20));
    server.terminate();
    assert!(server.wait(Duration::from_secs(25)).success());
}

/// Naive parsing of these bodies would take hundreds or thousands of megabytes.
#[test]
fn no_body_takes_more_than_four_times_its_size() {
    const SIZE: usize = 12 << 20;
    /// Memory limit of a request of ordinary size.
    const SMALL: u64 = 24 << 20;
    let filled = |start: &str, piece: &str, end: &str| {
        let count = (SIZE - start.len() - end.len()) / piece.len();
        format!("{start}{}{end}", piece.repeat(count))
    };
    let cases = [
        ("application/json", filled("{\"inputs\":\"a b\",\"x\":[1", ",1", "]}"), 200),
        ("application/json", filled("{\"inputs\":\"a b\",\"x\":[[]", ",[]", "]}"), 200),
        (
            "application/json",
            filled("{\"inputs\":\"a b\",\"parameters\":{\"bad_words_ids\":[[1]", ",[1]", "]}}"),
            400,
        ),
        ("application/json", filled("{\"inputs\":[\"a\"", ",\"a\"", "]}"), 413),
        ("application/jsonlines", filled("", "\"a\"\n", ""), 413),
        ("text/csv", filled("inputs", ",", "\n"), 200),
        ("text/csv", filled("inputs\na", ",", "\n"), 400),
    ];
    let user = r#"{"role":"user","content":"a b"}"#;
    let part = r#"{"type":"text","text":"a"}"#;
    let parts = format!(r#"{{"messages":[{{"role":"user","content":[{part}"#);
    let chats = [
        (filled(&format!("{{\"messages\":[{user}"), &format!(",{user}"), "]}"), 200),
        (filled(&parts, &format!(",{part}"), "]}]}"), 200),
        (filled(&format!("{{\"messages\":[{user}],\"tools\":[1"), ",1", "]}"), 400),
    ];
    let cases =
        cases.map(|(content_type, body, status)| ("/invocations", content_type, body, status));
    let chats =
        chats.map(|(body, status)| ("/v1/chat/completions", "application/json", body, status));
    for (path, content_type, body, status) in cases.into_iter().chain(chats) {
        let server = Server::tiny(&[("EPITOME_THREADS", "1")]);
        assert_eq!(server.invoke(&json!({"inputs": TEXT})).status, 200);
        let before = server.peak_memory();
        let answer = server.post(path, &[("Content-Type", content_type)], body.as_bytes());
        let start = &body[..40];
        assert_eq!(answer.status, status, "{start}: {}", answer.text());
        let taken = server.peak_memory() - before;
        assert!(taken < 4 * SIZE as u64 + SMALL, "{start}: {} MB", taken >> 20);
    }
}

#[test]
fn bodies_that_hold_all_memory_leave_room_for_small_ones() {
    let server =
        Server::tiny(&[("SAGEMAKER_MAX_PAYLOAD_IN_MB", "1"), ("EPITOME_MAX_IN_FLIGHT", "1")]);
    let head = "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    let large = vec![b' '; 900_000];
    let mut holding = None;
    // A body that is still arriving may lose its place to the one that will be refused.
    client::until(|| {
        let mut slow = server.connect();
        slow.write_all(head.as_bytes()).unwrap();
        slow.write_all(&large).unwrap();
        holding = Some(slow);
        std::thread::sleep(Duration::from_millis(100));
        server.post("/invocations", &[], &large).status == 429
    });
    let refused = server.post("/invocations", &[], &large);
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert_eq!(server.invoke(&json!({"inputs": TEXT})).status, 200);
    drop(holding);
    client::until(|| server.post("/invocations", &[], &large).status == 400);
}

#[test]
fn a_half_closed_client_is_answered() {
    let server = Server::tiny(&[]);
    let parameters = json!({"num_beams": 4, "min_length": 40, "max_length": 48});
    let body = json!({"inputs": vec![TEXT; 40], "parameters": parameters}).to_string();
    let request = format!(
        "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = server.send_raw(request.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json().as_array().unwrap().len(), 40);
}

#[test]
fn a_half_sent_head_does_not_hold_sigterm() {
    let mut server = Server::tiny(&[]);
    let mut half = server.connect();
    half.write_all(b"POST /invocations HTTP/1.1\r\nHost: local").unwrap();
    let _idle = server.connect();
    assert_eq!(server.get("/ping").status, 200);
    server.terminate();
    // Much less than the 25 seconds that requests have.
    assert!(server.wait(Duration::from_secs(15)).success());
}

#[cfg(unix)]
#[test]
fn idle_connections_leave_when_there_are_too_many() {
    let server = Server::with_files(&bundle(), 200);
    client::until(|| server.get("/ping").status == 200);
    let idle: Vec<TcpStream> = (0..400).map(|_| server.connect()).collect();
    assert_eq!(server.get("/ping").status, 200);
    assert_eq!(server.invoke(&json!({"inputs": TEXT})).status, 200);
    drop(idle);
}

#[cfg(unix)]
#[test]
fn busy_connections_leave_room_for_ping() {
    let server = Server::with_files(&bundle(), 200);
    client::until(|| server.get("/ping").status == 200);
    let mut slow = Vec::new();
    // Repeats until all places are taken: a client that has sent nothing may lose its place to the
    // next.
    client::until(|| {
        let mut client = server.connect();
        let _ = client.write_all(
            b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        );
        slow.push(client);
        client::try_get(server.address, "/info").is_ok_and(|info| info.status == 503)
    });
    assert_eq!(server.get("/ping").status, 200);
}
