//! The product of activations and float weights.

use std::marker::PhantomData;
use std::ops::Range;

use half::f16;

use crate::activation::Activation;
use crate::cpu::features;
use crate::panels::PANEL;
use crate::parallel::Columns;
use crate::simd::lanes::{FloatElement, LANES, Lanes, Microkernel, dispatch_lanes};
use crate::simd::prefetch::{FAR, L1, L2, NoPrefetch, Prefetch, prefers_one_stream};

/// Rows of a low tile, at most. Its sums stay in registers.
const LOW_ROWS: usize = 6;
/// Panels of a low tile, if there are enough registers; otherwise it has one.
const LOW_PANELS: usize = 4;
/// Rows of a high tile, at most, which only wide registers have room for.
pub(super) const HIGH_ROWS: usize = 12;
/// Panels of a high tile.
const HIGH_PANELS: usize = 2;
/// Panels of a product, at most.
pub(super) const MAX_PANELS: usize = LOW_PANELS;
/// Sums of a tile, at most, in panels: rows times panels.
pub(super) const MAX_SUMS: usize = LOW_ROWS * LOW_PANELS;
const _: () = assert!(HIGH_ROWS * HIGH_PANELS <= MAX_SUMS);
/// Rows up to which several streams from memory are as fast as one.
const FEW_ROWS: usize = 3;

/// Distance in bytes at which weights are prefetched, unless they are one stream: 32 inputs.
const fn near<W>() -> usize {
    32 * size_of::<[W; PANEL]>()
}

/// Panels of a tile for a product of this many rows of a layer, `[size_in, size_out]`. Without
/// enough registers for the sums of several panels, many rows are multiplied with one panel, which
/// stays in a cache.
pub(super) fn panels_per_tile(rows: usize, sizes: [usize; 2]) -> usize {
    match rows {
        _ if is_one_stream(rows, sizes) => 1,
        ..=LOW_ROWS => LOW_PANELS,
        _ if features().avx512 => HIGH_PANELS,
        _ => 1,
    }
}

/// Whether the panels are read one after the other, as a single stream from memory. Only those of a
/// product of a single tile are. With very few rows, several streams are as fast.
fn is_one_stream(rows: usize, sizes: [usize; 2]) -> bool {
    rows > FEW_ROWS && rows <= HIGH_ROWS && prefers_one_stream(sizes)
}

/// Element type of float weights.
pub trait Weight: FloatElement + PartialEq {
    /// Multiplies with the best instruction set of the processor. `sums` is scratch memory.
    /// `outputs` are the columns of the panels without padding, `[rows, panels * PANEL]` at most.
    fn multiply(product: &Product<'_, Self>, sums: &mut Sums, outputs: Columns<'_, f32>);
}

impl Weight for f32 {
    fn multiply(product: &Product<'_, Self>, sums: &mut Sums, outputs: Columns<'_, f32>) {
        multiply_f32(product, sums, outputs);
    }
}

impl Weight for f16 {
    fn multiply(product: &Product<'_, Self>, sums: &mut Sums, outputs: Columns<'_, f32>) {
        multiply_f16(product, sums, outputs);
    }
}

/// The sums of a tile. Element `row * panels + panel` holds the sums of one row and one panel.
pub(super) type Sums = [[f32; PANEL]; MAX_SUMS];

/// The product `activation(x · weightsᵀ + bias)` of some panels.
pub struct Product<'a, W> {
    /// Input: `[rows, size_in]`.
    pub(super) x: &'a [f32],
    /// Inputs and outputs of the layer, which may have further panels.
    pub(super) sizes: [usize; 2],
    /// Packed weights: `[panels, size_in]`.
    pub(super) weights: &'a [[W; PANEL]],
    /// Bias of each panel.
    pub(super) biases: &'a [[f32; PANEL]],
    /// Activation function of the outputs.
    pub(super) activation: Activation,
}

dispatch_lanes! {
    fn multiply_f32(
        product: &Product<'_, f32>,
        sums: &mut Sums,
        outputs: Columns<'_, f32>,
    ) = multiply of f32;
}

dispatch_lanes! {
    fn multiply_f16(
        product: &Product<'_, f16>,
        sums: &mut Sums,
        outputs: Columns<'_, f32>,
    ) = multiply of f16;
}

#[inline(always)]
fn multiply<L: Lanes, W: Weight>(
    product: &Product<'_, W>,
    sums: &mut Sums,
    outputs: Columns<'_, f32>,
) {
    const { assert!(LANES == PANEL) };
    let [size_in, _] = product.sizes;
    let (panels, rows) = (product.biases.len(), product.x.len() / size_in);
    assert!(
        product.x.len() == rows * size_in
            && product.weights.len() == panels * size_in
            && panels <= panels_per_tile(rows, product.sizes)
            && outputs.width().div_ceil(PANEL) == panels,
        "rows and panels as long as their inputs, and columns for all"
    );
    let across_pages = features().prefetches_across_pages;
    // A value and not the constant of a type, so that tiles are not compiled for each distance.
    let distance = if prefers_one_stream(product.sizes) { FAR } else { near::<W>() };
    // SAFETY: the assertion above checked the lengths.
    unsafe {
        if !across_pages || is_one_stream(rows, product.sizes) {
            multiply_tiles::<L, W, L1>(product, rows, distance, sums, outputs);
        } else if rows > LOW_ROWS {
            multiply_tiles::<L, W, L2>(product, rows, distance, sums, outputs);
        } else {
            multiply_tiles::<L, W, NoPrefetch>(product, rows, distance, sums, outputs);
        }
    }
}

/// Computes all rows and panels, tile by tile. Weights are prefetched at a distance in bytes.
///
/// # Safety
///
/// `x` has `rows` rows, and there are at most as many panels as [`panels_per_tile`] says.
#[inline(always)]
unsafe fn multiply_tiles<L: Lanes, W: Weight, F: Prefetch>(
    product: &Product<'_, W>,
    rows: usize,
    distance: usize,
    sums: &mut Sums,
    mut outputs: Columns<'_, f32>,
) {
    let max_rows = if is_wide::<L>() && rows > LOW_ROWS { HIGH_ROWS } else { LOW_ROWS };
    let tile = rows.div_ceil(rows.div_ceil(max_rows).max(1)).max(1);
    for start in (0..rows).step_by(tile) {
        let rows = start..(start + tile).min(rows);
        // SAFETY: the tile lies within the rows that the caller promises. It has at most `LOW_ROWS`
        // rows and `LOW_PANELS` panels, or `HIGH_ROWS` and `HIGH_PANELS`, so `MAX_SUMS` sums.
        unsafe {
            // The first tile brings the weights into the cache, where the others read them.
            if start == 0 {
                multiply_tile::<L, W, F>(product, rows.clone(), distance, sums);
            } else {
                multiply_tile::<L, W, NoPrefetch>(product, rows.clone(), distance, sums);
            }
        }
        // Two loops: in a single one, outputs without an activation function would wait for the
        // constants of all functions.
        match product.activation {
            Activation::Identity => {
                finish(sums, product.biases, Activation::Identity, rows, &mut outputs);
            }
            activation => finish(sums, product.biases, activation, rows, &mut outputs),
        }
    }
}

/// Writes the outputs of a tile's rows.
#[inline(always)]
fn finish(
    sums: &Sums,
    biases: &[[f32; PANEL]],
    activation: Activation,
    rows: Range<usize>,
    outputs: &mut Columns<'_, f32>,
) {
    for (row, sums) in rows.zip(sums.chunks_exact(biases.len())) {
        let (whole, part) = outputs.row(row).as_chunks_mut();
        for ((sums, bias), output) in sums.iter().zip(biases).zip(whole) {
            *output = finish_panel(sums, bias, activation);
        }
        if let ([.., sums], [.., bias], 1..) = (sums, biases, part.len()) {
            part.copy_from_slice(&finish_panel(sums, bias, activation)[..part.len()]);
        }
    }
}

/// Outputs of a row and a panel.
#[inline(always)]
fn finish_panel(sums: &[f32; PANEL], bias: &[f32; PANEL], activation: Activation) -> [f32; PANEL] {
    let mut outputs = *sums;
    for (output, bias) in outputs.iter_mut().zip(bias) {
        *output += bias;
    }
    activation.apply(&mut outputs);
    outputs
}

/// Whether there are enough registers for the sums of several panels.
const fn is_wide<L: Lanes>() -> bool {
    L::ACCUMULATORS >= MAX_SUMS
}

/// Computes the sums of a tile.
///
/// # Safety
///
/// `x` has these rows. They are [`LOW_ROWS`] at most, or [`HIGH_ROWS`] with wide registers. Rows
/// times panels are [`MAX_SUMS`] at most.
#[inline(always)]
unsafe fn multiply_tile<L: Lanes, W: Weight, F: Prefetch>(
    product: &Product<'_, W>,
    rows: Range<usize>,
    distance: usize,
    sums: &mut Sums,
) {
    macro_rules! add {
        ($first_panel:expr; $($rows:literal x $panels:literal)*) => {{
            let tile = Accumulate::<W, F> {
                product,
                first_row: rows.start,
                first_panel: $first_panel,
                distance,
                sums,
                prefetch: PhantomData,
            };
            match rows.len() {
                $($rows => L::compute::<_, $rows, $panels>(tile),)*
                _ => unreachable!("a tile of {} rows", rows.len()),
            }
        }};
    }
    let panels = product.biases.len();
    // The constant blocks keep tiles that are never reached from being compiled.
    // SAFETY: the caller promises the rows and that the sums fit, and the product has the panels.
    unsafe {
        match panels {
            LOW_PANELS if const { is_wide::<L>() } && rows.len() <= LOW_ROWS => {
                add!(0; 1 x 4 2 x 4 3 x 4 4 x 4 5 x 4 6 x 4);
            }
            HIGH_PANELS if const { is_wide::<L>() } => {
                add!(
                    0;
                    1 x 2 2 x 2 3 x 2 4 x 2 5 x 2 6 x 2
                    7 x 2 8 x 2 9 x 2 10 x 2 11 x 2 12 x 2
                );
            }
            _ if const { is_wide::<L>() } => {
                for panel in 0..panels {
                    add!(
                        panel;
                        1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1
                        7 x 1 8 x 1 9 x 1 10 x 1 11 x 1 12 x 1
                    );
                }
            }
            _ => {
                for panel in 0..panels {
                    add!(panel; 1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1);
                }
            }
        }
    }
}

/// Microkernel that adds the products of a tile.
struct Accumulate<'a, 'p, W, F> {
    product: &'a Product<'p, W>,
    first_row: usize,
    first_panel: usize,
    /// Distance in bytes at which weights are prefetched.
    distance: usize,
    sums: &'a mut Sums,
    prefetch: PhantomData<F>,
}

impl<W: Weight, F: Prefetch> Microkernel for Accumulate<'_, '_, W, F> {
    /// # Safety
    ///
    /// `x` has `MR` rows from `first_row` on, there are `NR` panels of weights from `first_panel`
    /// on, and `sums` has space for all rows of the tile and all panels of the product.
    #[inline(always)]
    #[allow(
        clippy::needless_range_loop,
        reason = "iterators over slices of registers copy them through memory"
    )]
    unsafe fn compute<L: Lanes, const MR: usize, const NR: usize>(self) {
        let panels = self.product.biases.len();
        let [size_in, _] = self.product.sizes;
        // SAFETY: the caller promises the rows and panels.
        unsafe {
            let x = self.product.x.as_ptr().add(self.first_row * size_in);
            let weights = self.product.weights.as_ptr().add(self.first_panel * size_in);
            let mut sums = [[L::splat(0.0); NR]; MR];
            for input in 0..size_in {
                let mut panel_weights = [L::splat(0.0); NR];
                for panel in 0..NR {
                    let weights = weights.add(panel * size_in + input);
                    F::fetch(weights.wrapping_byte_add(self.distance));
                    panel_weights[panel] = W::load(&*weights);
                }
                for row in 0..MR {
                    let x = L::splat(*x.add(row * size_in + input));
                    for panel in 0..NR {
                        sums[row][panel] = sums[row][panel].add_product(x, panel_weights[panel]);
                    }
                }
            }
            let all = self.sums.as_mut_ptr().add(self.first_panel);
            for row in 0..MR {
                for panel in 0..NR {
                    sums[row][panel].store(&mut *all.add(row * panels + panel));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::Disjoint;
    use crate::simd::lanes::Portable;

    const PANELS: usize = LOW_PANELS;
    /// Outputs of a layer with many panels, of which products have a few.
    const SIZE_OUT: usize = 1024;

    /// Random rows, packed weights, and their exact products.
    #[allow(clippy::type_complexity, reason = "three lists")]
    fn example(count: usize, size_in: usize) -> (Vec<f32>, Vec<[f16; PANEL]>, Vec<[f64; PANEL]>) {
        let number = |index: usize| ((index * 7919 % 1009) as f32 - 504.0) / 256.0;
        let x: Vec<f32> = (0..count * size_in).map(number).collect();
        let weights: Vec<[f16; PANEL]> = (0..PANELS * size_in)
            .map(|input| {
                std::array::from_fn(|output| f16::from_f32(number(input * 31 + output * 17 + 5)))
            })
            .collect();
        let mut exact = Vec::new();
        for x in x.chunks(size_in) {
            for weights in weights.chunks(size_in) {
                exact.push(std::array::from_fn(|output| {
                    let terms = x.iter().zip(weights);
                    terms.map(|(&x, weights)| f64::from(x) * weights[output].to_f64()).sum()
                }));
            }
        }
        (x, weights, exact)
    }

    fn product<'a, W>(
        x: &'a [f32],
        size_in: usize,
        weights: &'a [[W; PANEL]],
        biases: &'a [[f32; PANEL]],
    ) -> Product<'a, W> {
        Product { x, sizes: [size_in, SIZE_OUT], weights, biases, activation: Activation::Relu }
    }

    /// The outputs of a product. The last panel has only the outputs that `width` leaves it; the
    /// others are NaN.
    fn multiplied_to<W>(
        width: usize,
        product: &Product<'_, W>,
        multiply: impl Fn(&Product<'_, W>, &mut Sums, Columns<'_, f32>),
    ) -> Vec<[f32; PANEL]> {
        let (panels, rows) = (product.biases.len(), product.x.len() / product.sizes[0]);
        let mut outputs = vec![[f32::NAN; PANEL]; rows * panels];
        let y = Disjoint::new(outputs.as_flattened_mut());
        // SAFETY: no other part of `y` is in use.
        let columns = unsafe { Columns::new(&y, 0, width, panels * PANEL) };
        multiply(product, &mut [[f32::NAN; PANEL]; MAX_SUMS], columns);
        outputs
    }

    /// The outputs of a product, all panels whole.
    fn multiplied<W>(
        product: &Product<'_, W>,
        multiply: impl Fn(&Product<'_, W>, &mut Sums, Columns<'_, f32>),
    ) -> Vec<[f32; PANEL]> {
        multiplied_to(product.biases.len() * PANEL, product, multiply)
    }

    #[test]
    fn products_agree_with_double_precision_and_row_by_row() {
        let bias: [f32; PANEL] = std::array::from_fn(|output| output as f32 - 3.5);
        let biases = [bias; PANELS];
        let few = (1..=HIGH_ROWS + 1).map(|rows| (rows, 70));
        let sizes = [(1, 1), (2, 2), (5, 3), (16, 65), (19, 193), (3 * HIGH_ROWS, 7), (65, 7)];
        let long = [3, 4, 9, HIGH_ROWS, HIGH_ROWS + 1].map(|rows| (rows, 515));
        for (rows, size_in) in few.chain(sizes).chain(long) {
            let (x, halves, exact) = example(rows, size_in);
            let singles: Vec<[f32; PANEL]> =
                halves.iter().map(|half| half.map(f16::to_f32)).collect();
            for panels in (1..=panels_per_tile(rows, [size_in, SIZE_OUT])).rev() {
                let (biases, halves) = (&biases[..panels], &halves[..panels * size_in]);
                let all = multiplied(&product(&x, size_in, halves, biases), multiply_f16);
                for (index, products) in all.iter().enumerate() {
                    let exact = &exact[index / panels * PANELS + index % panels];
                    for ((product, exact), bias) in products.iter().zip(exact).zip(&bias) {
                        let exact = (exact + f64::from(*bias)).max(0.0);
                        let error = (f64::from(*product) - exact).abs();
                        assert!(error < 1e-5 * size_in as f64, "{product} and not {exact}");
                    }
                }
                let singles = &singles[..panels * size_in];
                let in_float32 = multiplied(&product(&x, size_in, singles, biases), multiply_f32);
                assert_eq!(in_float32, all, "halves are exact in float32");
                let width = panels * PANEL - 5;
                let cut = multiplied_to(width, &product(&x, size_in, halves, biases), multiply_f16);
                for (cut, whole) in cut.chunks(panels).zip(all.chunks(panels)) {
                    let (cut, padding) = cut.as_flattened().split_at(width);
                    assert_eq!(cut, &whole.as_flattened()[..width]);
                    assert!(padding.iter().all(|output| output.is_nan()));
                }
                for (row, together) in all.chunks_exact(panels).enumerate() {
                    let x = &x[row * size_in..][..size_in];
                    let alone = multiplied(&product(x, size_in, halves, biases), multiply_f16);
                    assert_eq!(alone, together, "row {row} alone");
                }
            }
        }
    }

    #[test]
    fn plain_rust_finds_the_same_within_rounding() {
        let (x, weights, exact) = example(5, 77);
        let mut product = product(&x, 77, &weights, &[[0.0; PANEL]; PANELS]);
        product.activation = Activation::Identity;
        let products = multiplied(&product, multiply::<Portable, f16>);
        for (product, exact) in products.as_flattened().iter().zip(exact.as_flattened()) {
            assert!((f64::from(*product) - exact).abs() < 1e-3, "{product} and not {exact}");
        }
    }
}
