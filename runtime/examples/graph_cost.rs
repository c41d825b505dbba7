//! Measures the graphs of a bundle: time to load, encoder time, and time of a decoder step by
//! number of beams.
//!
//! ```text
//! cargo run --release -p epitome-runtime --example graph_cost -- BUNDLE [THREADS [SOURCE]]
//! ```

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use epitome_runtime::bundle::Bundle;
use epitome_runtime::session::{self, SessionOptions};

/// Number of timed steps for each number of beams.
const STEPS: usize = 24;
/// Number of untimed steps before these, which map the weights.
const WARMUP: usize = 4;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn main() -> epitome_runtime::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("BUNDLE [THREADS [SOURCE]]");
    let mut number =
        |default| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (threads, length) = (number(1), number(512));
    let bundle = Bundle::open(&folder)?;
    let options = SessionOptions {
        threads: NonZeroUsize::new(threads).expect("one thread at least"),
        ..SessionOptions::default()
    };
    let start = Instant::now();
    let (mut encoder, mut decoder) = session::load(&bundle, &options)?;
    let load = start.elapsed();
    let source: Vec<u32> = (0..length as u32).map(|token| 110 + token * 7 % 900).collect();
    let start = Instant::now();
    let memory = encoder.encode(&source[..length.min(32)])?;
    decoder.start_with(vec![memory], 1)?.step_all(&[5], &[0])?;
    println!(
        "load {:.0} ms, first token of 32 source tokens after {:.0} ms more",
        load.as_secs_f64() * 1e3,
        start.elapsed().as_secs_f64() * 1e3
    );
    let mut times = Vec::new();
    for _ in 0..4 {
        let start = Instant::now();
        encoder.encode(&source)?;
        times.push(start.elapsed());
    }
    println!("encoder, {length} tokens: {:.1} ms", median(times));
    for beams in [1, 4, 8] {
        let memory = encoder.encode(&source)?;
        let mut decoding = decoder.start_with(vec![memory], beams)?;
        let tokens: Vec<u32> = (0..beams as u32).map(|beam| 200 + beam).collect();
        let parents: Vec<u32> = (0..beams as u32).rev().collect();
        let mut times = Vec::new();
        for step in 0..WARMUP + STEPS {
            let start = Instant::now();
            decoding.step_all(&tokens, &parents)?;
            if step >= WARMUP {
                times.push(start.elapsed());
            }
        }
        println!("decoder step, {beams} beams: {:.2} ms", median(times));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("Rss")) {
        println!("{line}");
    }
    Ok(())
}
