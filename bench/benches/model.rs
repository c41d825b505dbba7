//! Benchmarks of the two graphs alone: the encoder by source length, and a decoder step by beams
//! and cache length.

mod common;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use epitome_runtime::Summarizer;

/// Number of timed steps at one cache length before the cache is filled again.
const STEPS: usize = 8;
/// Number of source tokens that a decoder step attends to.
const SOURCE: usize = 128;

/// Token ids of a source. Their values do not influence the time.
fn source(length: usize) -> Vec<u32> {
    (0..length as u32).map(|token| 110 + token % 90).collect()
}

fn encoder(criterion: &mut Criterion, model: &common::Model) {
    let mut summarizer = Summarizer::open(model.exported.path()).expect("the bundle");
    let longest = summarizer.bundle().manifest().max_source_tokens;
    let (encoder, _) = summarizer.sessions();
    let mut group = criterion.benchmark_group(format!("encoder/{}", model.name));
    for length in [16, 64, 128, 256, 512, 1024] {
        if length > longest {
            break;
        }
        let source = source(length);
        group.throughput(Throughput::Elements(length as u64));
        group.bench_function(BenchmarkId::new("source", length), |bencher| {
            bencher.iter(|| encoder.encode(&source).expect("a memory"));
        });
    }
    group.finish();
}

fn decoder_step(criterion: &mut Criterion, model: &common::Model) {
    let mut summarizer = Summarizer::open(model.exported.path()).expect("the bundle");
    let positions = summarizer.bundle().manifest().shape.max_target_positions;
    let longest = positions.unwrap_or(usize::MAX);
    let source = source(SOURCE);
    let (encoder, decoder) = summarizer.sessions();
    let mut group = criterion.benchmark_group(format!("decoder-step/{}", model.name));
    for beams in [1, 2, 4, 8] {
        for cached in [0, 32, 128] {
            // Filling the cache takes longer than the timed steps.
            if cached + STEPS > longest || (common::fast() && cached > 32) {
                break;
            }
            let tokens = vec![111; beams];
            let parents: Vec<u32> = (0..beams as u32).collect();
            let timed = |iterations: u64| {
                let mut left = iterations;
                let mut elapsed = Duration::ZERO;
                while left > 0 {
                    let memory = encoder.encode(&source).expect("a memory");
                    let decoding = decoder.start_with(vec![memory], beams);
                    let mut decoding = decoding.expect("a decoding");
                    for _ in 0..cached {
                        decoding.step_all(&tokens, &parents).expect("a step");
                    }
                    let steps = left.min(STEPS as u64);
                    let start = Instant::now();
                    for _ in 0..steps {
                        decoding.step_all(&tokens, &parents).expect("a step");
                    }
                    elapsed += start.elapsed();
                    left -= steps;
                }
                elapsed
            };
            let mut timed = timed;
            group.throughput(Throughput::Elements(beams as u64));
            let id = BenchmarkId::from_parameter(format!("beams={beams}/cached={cached}"));
            group.bench_function(id, |bencher| bencher.iter_custom(&mut timed));
        }
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    for model in [common::trained(), common::shaped()] {
        encoder(criterion, &model);
        decoder_step(criterion, &model);
    }
}

criterion_group! { name = benches; config = common::criterion(); targets = all }
criterion_main!(benches);
