//! Benchmarks of the work before the first summary: tokenizing, exporting and loading.

mod common;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use epitome_bench::fixtures;
use epitome_bench::models::Exported;
use epitome_runtime::Summarizer;

/// Number of copies of the documents in one long text.
const REPEATS: [usize; 2] = [1, 16];

fn tokenizer(criterion: &mut Criterion) {
    let model = common::trained();
    let summarizer = Summarizer::open(model.exported.path()).expect("the bundle");
    let text: String =
        common::documents(8).into_iter().map(|document| document.text + "\n").collect();
    let mut group = criterion.benchmark_group("tokenizer");
    for repeats in REPEATS {
        let text = text.repeat(repeats);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(
            BenchmarkId::new("encode", format!("documents={}", 8 * repeats)),
            |bencher| {
                bencher.iter(|| summarizer.tokenizer().encode(&text).expect("tokens"));
            },
        );
    }
    let tokens = summarizer.tokenizer().encode(&text).expect("tokens").ids;
    group.throughput(Throughput::Elements(tokens.len() as u64));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| summarizer.tokenizer().decode(&tokens).expect("a text"));
    });
    group.finish();
}

fn export(criterion: &mut Criterion) {
    let source = fixtures::trained();
    let mut group = criterion.benchmark_group("export");
    if let Ok(file) = source.metadata() {
        group.throughput(Throughput::Bytes(file.len()));
    }
    group.bench_function("trained", |bencher| {
        bencher.iter(|| Exported::of(&source).expect("exported"));
    });
    group.finish();
}

fn load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    for model in [common::trained(), common::shaped()] {
        group.bench_function(model.name, |bencher| {
            bencher.iter(|| Summarizer::open(model.exported.path()).expect("the bundle"));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = common::criterion(); targets = tokenizer, export, load }
criterion_main!(benches);
