//! Fuzzes bodies of requests. No body may cause a panic, or be charged for more memory than it
//! holds.
//!
//! `EPITOME_FUZZ_SECONDS` makes it run longer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use epitome_runtime::batching::Demand;

use super::content_encoding::Coding;
use super::invocation::{Rules, TransformJob};
use super::json::chat::Style;
use super::request::{parse, parse_chat};
use crate::blocking_pool::Stop;
use crate::error::ApiError;
use crate::in_flight::Budget;
use crate::media::Format;

/// Bodies to mutate.
const SEEDS: &[&[u8]] = &[
    br#"{"inputs":"A town.","parameters":{"num_beams":4,"length_penalty":0.6},"stream":false}"#,
    br#"{"inputs":["a","b\u00e9\ud83d\ude00"],"options":{"use_cache":true},"x":[1,-2.5e3,null]}"#,
    br#"{"inputs":"a","parameters":{"bad_words_ids":[[1],[2,3]],"stop_strings":["a","b"]}}"#,
    b"{\"inputs\":\"a\"}\n\n\"b\"\r\n{\"inputs\":[\"c\"],\"parameters\":{\"seed\":1}}\n",
    b"id,inputs,other\n1,\"a, \"\"b\"\"\",x\n2,c\r\n3,\"d\ne\",y\n",
    b"\x93NUMPY\x01\x00\x3c\x00{'descr': '<U2', 'fortran_order': False, 'shape': (2,), }  \n\
      a\0\0\0b\0\0\0\xe9\0\0\0\0\0\0\0",
    br#"{"inputs":"a","parameters":{"generate_parameters":{"num_beams":2},"truncation":false,
        "stop_sequence":"x","return_tensors":true,"stop":["."],"return_type":0}}"#,
    br#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"a"}],
        "stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"tools":[]}"#,
    br#"{"messages":[{"content":[{"type":"text","text":"a\u00e9"},{"text":"b","type":"text"},
        {"type":"image_url","image_url":{"url":"x"}}],"role":"user"}],"n":2,"num_beams":4}"#,
    b"\xef\xbb\xbfplain text \xf0\x9f\x98\x80",
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabV\xca\xcc+(-)V\xb2RrT\xaa\x05\x00\xc1\xa4",
    b"\x78\x9c\xabV\xca\xcc+(-)V\xb2RrT\xaa\x05\x00",
];
/// Tokens to insert.
const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b",",
    b":",
    b"\n",
    b"\r",
    b"\"inputs\":",
    b"\"parameters\":",
    b"\"stream\":true",
    b"null",
    b"1e999",
    b"-0",
    b"18446744073709551616",
    b"\\ud800",
    b"\\u0000",
    b"inputs",
    b"\"messages\":",
    b"\"prompt\":",
    b"{\"role\":\"user\",\"content\":",
    b"\"num_beams\":",
    b"\"max_length\":5,",
    b"\0",
    b"\xff",
    b"[[[[[[[[[[[[[[[[",
    b"   ",
];
const FORMATS: [Format; 5] =
    [Format::Json, Format::JsonLines, Format::Csv, Format::Text, Format::Npy];
/// Requests outside and inside of transform jobs.
const JOBS: [Option<TransformJob>; 3] = [
    None,
    Some(TransformJob { many_records: true, answers_errors: true }),
    Some(TransformJob { many_records: false, answers_errors: true }),
];
const MAX_BODY: usize = 1 << 16;

#[test]
fn bodies() {
    let seconds = std::env::var("EPITOME_FUZZ_SECONDS");
    let seconds = seconds.map_or(1.0, |seconds| seconds.parse().expect("a number of seconds"));
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut random = fastrand::Rng::with_seed(15);
    let (mut bodies, mut taken) = (0u64, 0u64);
    while Instant::now() < end {
        let body = change(&mut random);
        for format in FORMATS {
            for job in JOBS {
                taken += u64::from(read(Reader::Invocation(format, job), &body).is_ok());
            }
        }
        for style in [Style::Chat, Style::Text] {
            taken += u64::from(read(Reader::Completion(style), &body).is_ok());
        }
        for coding in [Coding::Gzip, Coding::Deflate] {
            let mut charge = Budget::new(0, MAX_BODY).open();
            let decoded = coding.decode(&body, MAX_BODY, &mut charge, &Stop::never());
            assert!(decoded.map_or(0, |decoded| decoded.len()) <= MAX_BODY);
        }
        bodies += 1;
    }
    println!("{bodies} bodies, of which {taken} readings were taken");
    assert!(taken > 0, "the fuzzer makes nothing but garbage");
}

/// A reader of bodies.
#[derive(Clone, Copy)]
enum Reader {
    Invocation(Format, Option<TransformJob>),
    Completion(Style),
}

fn read(reader: Reader, body: &[u8]) -> Result<(), ApiError> {
    let transform = match reader {
        Reader::Invocation(_, transform) => transform,
        Reader::Completion(_) => None,
    };
    let rules = Rules {
        stop: &Stop::never(),
        max_documents: 64,
        demand: &|_| Ok(Demand { rows: 1, tokens: 0, longest: 20 }),
        first_token: &|text| Ok(text.chars().next().map(u32::from)),
        transform,
    };
    let bytes = Bytes::copy_from_slice(body);
    let read = match reader {
        Reader::Invocation(format, _) => parse(format, &bytes, &rules),
        Reader::Completion(style) => {
            parse_chat(style, &bytes, &rules).map(|(invocation, _)| invocation)
        }
    };
    match &read {
        Ok(invocation) => {
            let documents = invocation.groups.iter().flat_map(|group| &group.documents);
            let bytes: usize = documents.clone().map(|document| document.text.len()).sum();
            assert!(bytes <= body.len());
            assert_eq!(documents.count(), invocation.documents);
            assert!(invocation.documents <= 64);
            let of_inputs: usize = invocation.inputs.iter().map(|inputs| inputs.documents).sum();
            assert_eq!(of_inputs, invocation.documents);
            assert!(invocation.inputs.len() <= 64);
        }
        Err(error) => {
            assert!(error.status().is_client_error(), "{error}");
            assert!(error.to_string().len() < 1000, "{error}");
            assert!(error.without_texts().len() < 1000);
        }
    }
    read.map(drop)
}

/// A body with some bytes changed, removed, doubled, or inserted from another body.
fn change(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut body = SEEDS[random.usize(..SEEDS.len())].to_vec();
    for _ in 0..random.usize(..6) {
        let at = random.usize(..=body.len());
        let length = random.usize(..=(body.len() - at).min(40));
        match random.u8(..6) {
            0 => body[at..at + length].iter_mut().for_each(|byte| *byte = random.u8(..)),
            1 => drop(body.drain(at..at + length)),
            2 => {
                let piece = body[at..at + length].to_vec();
                let times = random.usize(1..20);
                drop(body.splice(at..at, piece.repeat(times)));
            }
            3 => {
                let other = SEEDS[random.usize(..SEEDS.len())];
                let from = random.usize(..other.len());
                drop(body.splice(at..at, other[from..].iter().copied()));
            }
            _ => {
                let token = TOKENS[random.usize(..TOKENS.len())];
                drop(body.splice(at..at, token.iter().copied()));
            }
        }
        body.truncate(MAX_BODY);
    }
    body
}
