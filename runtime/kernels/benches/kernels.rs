//! Benchmarks of the kernels on one thread: linear layers by weight format and rows, and attention.
//!
//! ```text
//! cargo bench -p epitome-kernels -- linear/int8
//! ```

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use epitome_kernels::activation::Activation;
use epitome_kernels::attention::cross_attention::{CrossAttention, KeyOrValue, Source, pack};
use epitome_kernels::attention::self_attention::{Pattern, SelfAttention};
use epitome_kernels::attention::{StoredKv, padded_positions};
use epitome_kernels::float::{Fp16, Fp32};
use epitome_kernels::int4::Int4;
use epitome_kernels::int8::Int8;
use epitome_kernels::linear::{Layer, WeightFormat};
use epitome_kernels::panels::{PANEL, panels};
use epitome_kernels::parallel::SingleThread;

/// Inputs of a layer, as in the feed-forward block of distilbart.
const SIZE_IN: usize = 1024;
/// Outputs of a layer, as in the feed-forward block of distilbart.
const SIZE_OUT: usize = 4096;
/// Numbers of rows: one beam, four beams, and a short source.
const ROWS: [usize; 3] = [1, 4, 128];

fn linear<F: WeightFormat>(criterion: &mut Criterion, name: &str, format: F, weight: F::Element) {
    let mut group = criterion.benchmark_group(format!("linear/{name}"));
    let packed_size = F::packed_shape(SIZE_OUT, SIZE_IN).iter().product();
    let packed = vec![weight; packed_size];
    let columns = vec![0.01; F::COLUMNS * panels(SIZE_OUT) * PANEL];
    for rows in ROWS {
        let x: Vec<f32> = (0..rows * SIZE_IN).map(|i| (i % 17) as f32 - 8.0).collect();
        let mut y = vec![0.0; rows * SIZE_OUT];
        let mut activations = F::Activations::default();
        let layer = Layer {
            format,
            x: &x,
            rows,
            packed: &packed,
            columns: &columns,
            bias: None,
            size_in: SIZE_IN,
            size_out: SIZE_OUT,
            activation: Activation::Gelu,
        };
        group.throughput(Throughput::Elements((rows * SIZE_IN * SIZE_OUT) as u64));
        group.bench_function(BenchmarkId::from_parameter(rows), |bencher| {
            bencher.iter(|| {
                let Ok(()) = layer.multiply(&SingleThread, &mut activations, black_box(&mut y));
            });
        });
    }
}

fn formats(criterion: &mut Criterion) {
    linear(criterion, "fp32", Fp32::default(), 0.5);
    linear(criterion, "fp16", Fp16::default(), half::f16::ONE);
    linear(criterion, "int8", Int8::new(7), 3);
    linear(criterion, "int4", Int4::new(7), 0x33);
}

fn self_attention(criterion: &mut Criterion) {
    attention(criterion, ("self-attention", 512), Pattern::Full);
    let window = Pattern::Window { before: 512, after: 512 };
    attention(criterion, ("window-attention", 4096), window);
}

fn attention(criterion: &mut Criterion, (name, source): (&str, usize), pattern: Pattern) {
    let (heads, size) = (16, 64);
    let numbers: Vec<f32> = (0..source * heads * size).map(|i| (i % 13) as f32 / 9.0).collect();
    let mask = vec![1; source];
    let mut attended = vec![0.0; numbers.len()];
    for (arithmetic, [split, round]) in
        [("fp32", [false, false]), ("split", [true, false]), ("rounded", [false, true])]
    {
        let attention = SelfAttention {
            queries: &numbers,
            keys: &numbers,
            values: &numbers,
            mask: &mask,
            batch: 1,
            queries_of_document: source,
            source,
            heads,
            kv_heads: heads,
            size,
            pattern,
            bias: None,
            globals: None,
            scale: 0.125,
            softcap: None,
            split,
            round,
        };
        let id = format!("{name}/{arithmetic}");
        criterion.bench_function(&id, |bencher| {
            bencher.iter(|| {
                let Ok(()) = attention.attend(&SingleThread, black_box(&mut attended));
            });
        });
    }
}

/// Cross-attention of the rows of one document. Keys and values change with every call, as they do
/// from layer to layer, so that they are not in a cache.
fn cross_attention<E: StoredKv>(criterion: &mut Criterion, name: &str) {
    let (heads, size) = (16, 64);
    for source in [512, 8192] {
        let layers = (1 << 16) / source;
        let numbers: Vec<f32> = (0..source * heads * size).map(|i| (i % 13) as f32 / 9.0).collect();
        let slots = padded_positions(source);
        let [keys, values] = [KeyOrValue::Key, KeyOrValue::Value].map(|part| {
            let mut packed = vec![E::default(); heads * slots * part.row::<E>(size)];
            let dims = [1, source, heads, size];
            let Ok(()) = pack(&SingleThread, &numbers, dims, part, &mut packed);
            vec![packed; layers]
        });
        for rows in [1, 4, 8] {
            let mut attended = vec![0.0; rows * heads * size];
            let sources = [Source { first_row: 0, rows, first_slot: 0, length: source }];
            let mut layer = 0;
            let id = format!("cross-attention/{name}/{source}/{rows}");
            criterion.bench_function(&id, |bencher| {
                bencher.iter(|| {
                    layer = (layer + 1) % layers;
                    let attention = CrossAttention {
                        queries: &numbers[..rows * heads * size],
                        keys: &keys[layer],
                        values: &values[layer],
                        sources: &sources,
                        heads,
                        kv_heads: heads,
                        size,
                        scale: 0.125,
                        softcap: None,
                    };
                    let Ok(()) = attention.attend(&SingleThread, black_box(&mut attended), None);
                });
            });
        }
    }
}

fn cross_attentions(criterion: &mut Criterion) {
    cross_attention::<f32>(criterion, "fp32");
    cross_attention::<half::f16>(criterion, "fp16");
    cross_attention::<i8>(criterion, "int8");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(1500));
    targets = formats, self_attention, cross_attentions
}
criterion_main!(benches);
