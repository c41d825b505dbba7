//! Tests of many, slow and leaving clients, and of the end of the server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::TEXT;
use super::client::{self, Server, text_of};
use serde_json::{Value, json};

#[test]
fn garbage_and_slow_clients_do_not_disturb_others() {
    let server = Server::tiny(&[]);
    let mut garbage = server.connect();
    garbage.write_all(b"\x16\x03\x01\x00\xff\0\0 garbage\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = garbage.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    let mut half: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    for client in &mut half {
        client
            .write_all(
                b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
            )
            .unwrap();
    }
    let start = Instant::now();
    assert_eq!(server.get("/ping").status, 200);
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(server.invoke(&json!({"inputs": TEXT})).status, 200);
}

#[test]
fn a_client_that_sends_byte_by_byte_is_answered_and_delays_nobody() {
    let server = Server::tiny(&[]);
    let body = json!({"inputs": "A town."}).to_string();
    let whole = text_of(&server.invoke(&json!({"inputs": "A town."})));
    let mut slow = server.connect();
    let length = body.len();
    let head = format!(
        "POST /invocations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    let sending = std::thread::spawn(move || {
        for byte in (head + &body).bytes() {
            slow.write_all(&[byte]).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut answer = String::new();
        slow.read_to_string(&mut answer).unwrap();
        answer
    });
    while !sending.is_finished() {
        assert_eq!(text_of(&server.invoke(&json!({"inputs": "A town."}))), whole);
    }
    let answer = sending.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&whole), "{answer}");
}

#[test]
fn a_slow_body_ends_at_the_deadline() {
    let server = Server::tiny(&[("EPITOME_DEADLINE", "0.5")]);
    let mut slow = server.connect();
    slow.write_all(
        b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
    )
    .unwrap();
    let mut answer = vec![0; 12];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
}

/// Many more steps than in any other test.
fn endless() -> Value {
    let parameters = json!({
        "num_beams": 8, "min_length": 60, "max_length": 64, "num_return_sequences": 8
    });
    json!({"inputs": TEXT, "parameters": parameters})
}

#[test]
fn clients_that_hang_up_free_the_worker() {
    let server = Server::tiny(&[("EPITOME_QUEUE", "256"), ("EPITOME_THREADS", "1")]);
    let body =
        json!({"inputs": vec![TEXT; 500], "parameters": endless()["parameters"]}).to_string();
    let mut gone = server.connect();
    let head = format!(
        "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    gone.write_all((head + &body).as_bytes()).unwrap();
    let batches = || server.get("/metrics").text().contains("epitome_batch_documents_count 0");
    client::until(|| !batches());
    drop(gone);
    let cancelled = "epitome_requests_total{route=\"/invocations\",code=\"499\"} 1";
    client::until(|| server.get("/metrics").text().contains(cancelled));
    let metrics = server.get("/metrics").text();
    let finished: f64 = client::value(&metrics, "epitome_encode_seconds_count");
    assert!(finished < 500.0, "the work went on: {finished}");
    assert_eq!(server.invoke(&json!({"inputs": TEXT})).status, 200);
}

#[test]
fn sigterm_finishes_what_was_accepted() {
    let mut server = Server::tiny(&[]);
    let address = server.address;
    let clients: Vec<_> = (0..12)
        .map(|_| {
            std::thread::spawn(move || {
                client::post(address, "/invocations", endless().to_string().as_bytes())
            })
        })
        .collect();
    client::until(|| {
        client::value(&server.get("/metrics").text(), "epitome_batch_documents_count") > 0.0
    });
    server.terminate();
    for client in clients {
        match client.join().unwrap() {
            Ok(answer) => assert_eq!(answer.status, 200, "{}", answer.text()),
            // The request came after the server had stopped listening.
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
            }
        }
    }
    assert!(server.wait(Duration::from_secs(30)).success());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_full_queue_refuses_and_loses_nothing() {
    let server = Server::tiny(&[("EPITOME_QUEUE", "1"), ("EPITOME_BATCH_ROWS", "1")]);
    let address = server.address;
    let alone = text_of(&server.invoke(&endless()));
    let clients: Vec<_> = (0..24)
        .map(|_| {
            std::thread::spawn(move || {
                client::post(address, "/invocations", endless().to_string().as_bytes()).unwrap()
            })
        })
        .collect();
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    for answer in &answers {
        match answer.status {
            200 => assert_eq!(text_of(answer), alone),
            429 => assert!(answer.header("retry-after").is_some()),
            other => panic!("{other}: {}", answer.text()),
        }
    }
    assert!(answers.iter().any(|answer| answer.status == 200));
}
