//! Weights in half precision: half the bytes that a step reads, and next to nothing lost.
//!
//! A panel holds, for each input in turn, the weights of its outputs side by side. They are widened in registers, and
//! everything is computed in float32, each row in the same order whatever rows stand beside it.

use std::ops::Range;

use half::f16;
use ort::operator::{ComputeContext, KernelContext};

use super::activation::Activation;
use super::linear::{Format, Layer, Table};
use super::panels::{PANEL, panels};
use super::parallel::Disjoint;
use crate::simd::lanes::{LANES, Lanes, dispatch_lanes};

/// Name of the linear layer in a graph.
pub const LINEAR: &str = "LinearFp16";
/// Name of the embedding in a graph.
pub const EMBEDDING: &str = "EmbeddingFp16";

/// Most rows that pass a panel together.
const ROWS: usize = 64;
/// Bytes of an input that stay in the second-level cache while panels pass.
const ROW_BYTES: usize = 256 << 10;
/// Inputs that are summed apart, so that one addition need not wait for the one before.
const STRANDS: usize = 2;

/// Shape of the packed tensor of an `[size_out, size_in]` matrix.
pub const fn packed_shape(size_out: usize, size_in: usize) -> [usize; 3] {
    [panels(size_out), size_in, PANEL]
}

/// float16 weights of the shape [`packed_shape`], and nothing beside them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fp16;

impl Format for Fp16 {
    const LINEAR: &'static str = LINEAR;
    const COLUMNS: usize = 0;
    type Element = f16;
    type Rows = ();

    fn packed_shape(size_out: usize, size_in: usize) -> Vec<usize> {
        packed_shape(size_out, size_in).to_vec()
    }

    fn of_node(_: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self)
    }

    fn prepare(self, _: &ComputeContext, _: &[f32], _: usize, (): &mut ()) -> ort::Result<()> {
        Ok(())
    }

    unsafe fn apply(layer: &Layer<'_, Self>, (): &(), panels: Range<usize>, y: &Disjoint<'_, f32>) {
        let size_in = layer.size_in;
        let block = (ROW_BYTES / (4 * size_in)).clamp(LANES, ROWS);
        let mut products = [[0.0; PANEL]; ROWS];
        for start in (0..layer.count).step_by(block) {
            let end = (start + block).min(layer.count);
            let x = &layer.x[start * size_in..end * size_in];
            let products = &mut products[..end - start];
            for panel in panels.clone() {
                let weights = layer.packed[panel * PANEL * size_in..][..PANEL * size_in]
                    .as_chunks()
                    .0;
                let (count, bias) = layer.biases(panel);
                multiply(x, size_in, weights, &bias, layer.activation, products);
                for (row, product) in products.iter().enumerate() {
                    let at = (start + row) * layer.size_out + panel * PANEL;
                    // SAFETY: within the panel's columns, as the caller promises.
                    let y = unsafe { y.part(at..at + count) };
                    y.copy_from_slice(&product[..count]);
                }
            }
        }
    }
}

impl Table for Fp16 {
    const EMBEDDING: &'static str = EMBEDDING;

    fn row(packed: &[f16], _: &[f32], index: usize, y: &mut [f32]) {
        let panel = &packed[index / PANEL * PANEL * y.len()..];
        let weights = panel.iter().skip(index % PANEL).step_by(PANEL);
        for (y, weight) in y.iter_mut().zip(weights) {
            *y = weight.to_f32();
        }
    }
}

dispatch_lanes! {
    /// `activation(x · weightsᵀ + bias)` of a panel: `x` is `[rows, size_in]`, `products` as many rows.
    fn multiply(
        x: &[f32],
        size_in: usize,
        weights: &[[f16; PANEL]],
        bias: &[f32; PANEL],
        activation: Activation,
        products: &mut [[f32; PANEL]],
    ) = multiply_body;
}

#[inline(always)]
fn multiply_body<L: Lanes>(
    x: &[f32],
    size_in: usize,
    weights: &[[f16; PANEL]],
    bias: &[f32; PANEL],
    activation: Activation,
    products: &mut [[f32; PANEL]],
) {
    const { assert!(LANES == PANEL) };
    let tile = (L::SUMS / STRANDS).min(8);
    for (x, products) in x.chunks(tile * size_in).zip(products.chunks_mut(tile)) {
        match products.len() {
            1 => rows::<L, 1>(x, size_in, weights, products),
            2 => rows::<L, 2>(x, size_in, weights, products),
            3 => rows::<L, 3>(x, size_in, weights, products),
            4 => rows::<L, 4>(x, size_in, weights, products),
            5 => rows::<L, 5>(x, size_in, weights, products),
            6 => rows::<L, 6>(x, size_in, weights, products),
            7 => rows::<L, 7>(x, size_in, weights, products),
            _ => rows::<L, 8>(x, size_in, weights, products),
        }
        for product in products {
            for (product, bias) in product.iter_mut().zip(bias) {
                *product += bias;
            }
            activation.apply(product);
        }
    }
}

/// The products of `R` rows.
#[inline(always)]
fn rows<L: Lanes, const R: usize>(
    x: &[f32],
    size_in: usize,
    weights: &[[f16; PANEL]],
    products: &mut [[f32; PANEL]],
) {
    let (groups, last) = weights.as_chunks::<STRANDS>();
    let inputs: [&[f32]; R] = std::array::from_fn(|row| &x[row * size_in..][..size_in]);
    let grouped: [&[[f32; STRANDS]]; R] = inputs.map(|x| &x.as_chunks().0[..groups.len()]);
    let mut sums = [[L::splat(0.0); STRANDS]; R];
    for (at, group) in groups.iter().enumerate() {
        for (strand, weights) in group.iter().enumerate() {
            let weights = L::load_half(weights);
            for (sums, x) in sums.iter_mut().zip(&grouped) {
                sums[strand] = sums[strand].add_product(L::splat(x[at][strand]), weights);
            }
        }
    }
    for (strand, weights) in last.iter().enumerate() {
        let weights = L::load_half(weights);
        for (sums, x) in sums.iter_mut().zip(&inputs) {
            let x = x[groups.len() * STRANDS + strand];
            sums[strand] = sums[strand].add_product(L::splat(x), weights);
        }
    }
    let one = L::splat(1.0);
    for ([near, far], product) in sums.into_iter().zip(products) {
        near.add_product(one, far).store(product);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows, weights in panels, and the exact products of the first panel.
    fn example(count: usize, size_in: usize) -> (Vec<f32>, Vec<[f16; PANEL]>, Vec<[f64; PANEL]>) {
        let number = |index: usize| ((index * 7919 % 1009) as f32 - 504.0) / 256.0;
        let x: Vec<f32> = (0..count * size_in).map(number).collect();
        let weights: Vec<[f16; PANEL]> = (0..size_in)
            .map(|input| {
                std::array::from_fn(|output| f16::from_f32(number(input * 31 + output * 17 + 5)))
            })
            .collect();
        let exact = x.chunks(size_in).map(|x| {
            std::array::from_fn(|output| {
                let terms = x.iter().zip(&weights);
                terms
                    .map(|(&x, weights)| f64::from(x) * weights[output].to_f64())
                    .sum()
            })
        });
        let exact = exact.collect();
        (x, weights, exact)
    }

    #[test]
    fn products_are_right_and_each_rows_own() {
        let bias = std::array::from_fn(|output| output as f32 - 3.5);
        for size_in in [1, 2, 3, 64, 193] {
            let (x, weights, exact) = example(19, size_in);
            let mut all = vec![[0.0; PANEL]; 19];
            multiply(&x, size_in, &weights, &bias, Activation::Relu, &mut all);
            for (row, (product, exact)) in all.iter().zip(&exact).enumerate() {
                for ((product, exact), bias) in product.iter().zip(exact).zip(&bias) {
                    let exact = (exact + f64::from(*bias)).max(0.0);
                    let error = (f64::from(*product) - exact).abs();
                    assert!(error < 1e-5 * size_in as f64, "{product} and not {exact}");
                }
                let mut alone = [[0.0; PANEL]];
                let x = &x[row * size_in..][..size_in];
                multiply(x, size_in, &weights, &bias, Activation::Relu, &mut alone);
                assert_eq!(alone[0], *product, "row {row} alone");
            }
        }
    }

    #[test]
    fn plain_rust_finds_the_same_within_rounding() {
        let (x, weights, exact) = example(5, 77);
        let mut products = vec![[0.0; PANEL]; 5];
        multiply_body::<crate::simd::lanes::Portable>(
            &x,
            77,
            &weights,
            &[0.0; PANEL],
            Activation::Identity,
            &mut products,
        );
        for (product, exact) in products.as_flattened().iter().zip(exact.as_flattened()) {
            assert!(
                (f64::from(*product) - exact).abs() < 1e-3,
                "{product} and not {exact}"
            );
        }
    }

    #[test]
    fn rows_of_a_table_come_back() {
        let size_in = 5;
        let packed: Vec<f16> = (0..2 * PANEL * size_in)
            .map(|index| f16::from_f32(index as f32))
            .collect();
        for index in [0, 3, PANEL - 1, PANEL, 2 * PANEL - 1] {
            let mut row = vec![0.0; size_in];
            Fp16::row(&packed, &[], index, &mut row);
            for (input, &value) in row.iter().enumerate() {
                let at = (index / PANEL * size_in + input) * PANEL + index % PANEL;
                assert_eq!(value, at as f32);
            }
        }
    }
}
