//! Benchmarks of the search alone, over mock logits of a vocabulary of 96,103, without ONNX
//! Runtime.

mod common;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use epitome_bench::mock_logits::{MockSearch, plain_search, processed_search};
use epitome_runtime::GenerationParameters;

const STEPS: usize = 8;

fn search(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("search-loop");
    for (name, parameters) in
        [("plain", plain_search(STEPS)), ("processors", processed_search(STEPS))]
    {
        for beams in [1, 2, 4, 8] {
            let search = MockSearch::new(&GenerationParameters {
                num_beams: Some(beams),
                ..parameters.clone()
            });
            let search = std::cell::RefCell::new(search);
            group.throughput(Throughput::Elements(STEPS as u64));
            group.bench_function(BenchmarkId::new(name, format!("beams={beams}")), |bencher| {
                bencher.iter_batched(
                    || search.borrow_mut().restore(),
                    |()| search.borrow_mut().run(),
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

criterion_group! { name = benches; config = common::criterion(); targets = search }
criterion_main!(benches);
