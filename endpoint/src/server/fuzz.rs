//! Fuzzes the heads of requests. Each is answered in HTTP or not at all, and the server survives.
//!
//! `EPITOME_FUZZ_SECONDS` makes it run longer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::tests::{PATIENCE, ask, blocking, start};

/// Heads to mutate.
const SEEDS: &[&str] = &[
    "GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST /invocations HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/json; \
     charset=utf-8\r\nAccept: text/*;q=0.5, application/json\r\nContent-Length: 14\r\n\r\n\
     {\"inputs\":\"a\"}",
    "POST /endpoints/a-b/invocations HTTP/1.1\r\nHost: [::1]\r\nOrigin: http://[::1]\r\n\
     Transfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n0\r\n\r\n",
    "POST /endpoints/%41/invocations-response-stream HTTP/1.0\r\n\
     X-Amzn-SageMaker-Accept: */*\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
    "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a\r\n\
     Content-Type: application/json\r\nContent-Length: 50\r\n\r\n\
     {\"messages\":[{\"role\":\"user\",\"content\":\"abcdefg\"}]}",
    "GET /v1/models/%41%2f HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n",
    "OPTIONS /info HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: null\r\n\
     Access-Control-Request-Method: POST\r\nAuthorization: Bearer \r\n\r\n",
    "GET http://localhost/metrics?a=b HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
     X-Amzn-RequestId: a\r\nConnection: close, upgrade\r\nUpgrade: h2c\r\n\r\n",
];
/// Tokens to insert.
const TOKENS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    "%",
    "%ff",
    "%00",
    "\0",
    "Host: a\r\n",
    "Host: \r\n",
    "HTTP/1.1",
    "HTTP/9.9",
    "Content-Length: 5\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Origin: \u{e9}\r\n",
    "Accept: ,;q=,*/*;q=nan\r\n",
    "..",
    "//",
    "?",
    "#",
    "Content-Encoding: gzip, br\r\n",
    "Content-Type: \"\r\n",
    "X-Amzn-SageMaker-Target-Model: ../a\r\n",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads() {
    let seconds = std::env::var("EPITOME_FUZZ_SECONDS");
    let seconds = seconds.map_or(1.0, |seconds| seconds.parse().expect("a number of seconds"));
    // There is no model, so requests for it are refused.
    let address = start(Path::new("/nowhere")).await;
    let (heads, answered) = blocking(move || {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut random = fastrand::Rng::with_seed(15);
        let (mut heads, mut answered) = (0u64, 0u64);
        while Instant::now() < end {
            let head = change(&mut random);
            answered += u64::from(is_answered(address, &head));
            heads += 1;
        }
        (heads, answered)
    })
    .await;
    println!("{heads} heads, of which {answered} were answered");
    assert!(answered > 0, "the fuzzer makes nothing but garbage");
    let (status, _) = blocking(move || ask(address, "GET", "/ping", "")).await;
    assert_eq!(status, 503);
}

fn change(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut head = SEEDS[random.usize(..SEEDS.len())].as_bytes().to_vec();
    for _ in 0..random.usize(..5) {
        let at = random.usize(..=head.len());
        let length = random.usize(..=(head.len() - at).min(20));
        match random.u8(..4) {
            0 => head[at..at + length].iter_mut().for_each(|byte| *byte = random.u8(..)),
            1 => drop(head.drain(at..at + length)),
            2 => {
                let piece = head[at..at + length].to_vec();
                let times = random.usize(1..300);
                drop(head.splice(at..at, piece.repeat(times)));
            }
            _ => {
                let token = TOKENS[random.usize(..TOKENS.len())].as_bytes();
                drop(head.splice(at..at, token.iter().copied()));
            }
        }
    }
    head
}

/// Whether a head is answered. The answer must be HTTP.
fn is_answered(address: SocketAddr, head: &[u8]) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may refuse it before all of it is sent.
    let _ = stream.write_all(head);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let kind = error.kind();
        assert_eq!(kind, std::io::ErrorKind::ConnectionReset, "{}", head.escape_ascii());
    }
    if answer.is_empty() {
        return false;
    }
    let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = status.and_then(|code| std::str::from_utf8(code).ok()?.parse::<u16>().ok());
    let shown = || format!("{} for {}", answer.escape_ascii(), head.escape_ascii());
    assert!(status.is_some_and(|status| (100..600).contains(&status)), "{}", shown());
    // Without a model, no request can fail in it.
    assert_ne!(status, Some(500), "{}", shown());
    true
}
