//! The product of activations and float weights.

use std::marker::PhantomData;
use std::ops::Range;

use half::f16;

use crate::cpu::features;
use crate::panels::PANEL;
use crate::simd::lanes::{FloatElement, LANES, Lanes, Microkernel, dispatch_lanes};
use crate::simd::prefetch::{L1, L2, NoPrefetch, Prefetch};

/// Rows of a low tile, at most, whose sums stay in registers. It has one panel or, where there are
/// registers for them, [`LOW_PANELS`].
pub(super) const LOW_ROWS: usize = 6;
const LOW_PANELS: usize = 4;
/// Rows of a high tile, at most, where there are registers for [`HIGH_PANELS`].
pub(super) const HIGH_ROWS: usize = 8;
const HIGH_PANELS: usize = 3;
/// Inputs whose weights stay in the first-level cache while tiles pass.
pub(super) const KC: usize = 128;
/// Inputs that weights are prefetched ahead.
const PREFETCH_DISTANCE: usize = 32;

/// Panels of a tile that suit so many rows.
pub(super) fn panels_per_tile(rows: usize) -> usize {
    if rows <= LOW_ROWS { LOW_PANELS } else { HIGH_PANELS }
}

/// Rows of a tile, at most, where there are more than [`LOW_ROWS`].
pub(super) fn max_rows() -> usize {
    if features().avx512 { HIGH_ROWS } else { LOW_ROWS }
}

/// The type of a weight.
pub trait Weight: FloatElement {
    /// Whether it is widened before it is multiplied.
    const WIDENS: bool;

    /// Multiplies with the best instructions that the processor has, and adds to `products`,
    /// `[rows, panels]`; the first inputs start from 0.
    fn multiply(product: &Product<'_, Self>, products: &mut [[f32; PANEL]]);
}

impl Weight for f32 {
    const WIDENS: bool = false;

    fn multiply(product: &Product<'_, Self>, products: &mut [[f32; PANEL]]) {
        multiply_f32(product, products);
    }
}

impl Weight for f16 {
    const WIDENS: bool = true;

    fn multiply(product: &Product<'_, Self>, products: &mut [[f32; PANEL]]) {
        multiply_f16(product, products);
    }
}

/// `x · weightsᵀ` of some panels and inputs.
pub struct Product<'a, W> {
    /// These inputs of all rows: tile after tile, and in each input after input; for at most
    /// [`LOW_ROWS`] rows, all their inputs, row after row.
    pub(super) x: &'a [f32],
    pub(super) rows: usize,
    /// Rows of a tile; the last may have fewer.
    pub(super) tile: usize,
    /// Which inputs.
    pub(super) inputs: Range<usize>,
    /// Inputs of a panel.
    pub(super) size_in: usize,
    /// `[panels, size_in]`
    pub(super) weights: &'a [[W; PANEL]],
    pub(super) panels: usize,
}

dispatch_lanes! {
    /// [`Weight::multiply`] of float32.
    fn multiply_f32(product: &Product<'_, f32>, products: &mut [[f32; PANEL]]) =
        multiply of f32;
}

dispatch_lanes! {
    /// [`Weight::multiply`] of float16.
    fn multiply_f16(product: &Product<'_, f16>, products: &mut [[f32; PANEL]]) =
        multiply of f16;
}

#[inline(always)]
fn multiply<L: Lanes, W: Weight>(product: &Product<'_, W>, products: &mut [[f32; PANEL]]) {
    const { assert!(LANES == PANEL) };
    let &Product { x, rows, tile, ref inputs, size_in, weights, panels } = product;
    let is_low = rows <= LOW_ROWS;
    assert!(
        x.len() == rows * inputs.len()
            && inputs.end <= size_in
            && (!is_low || inputs.len() == size_in)
            && (1..=HIGH_ROWS).contains(&tile)
            && (!is_low || tile == rows)
            && weights.len() == panels * size_in
            && products.len() == rows * panels,
        "rows and panels as long as their inputs"
    );
    // SAFETY: the lengths are those just checked.
    unsafe {
        match (features().prefetches_across_pages, is_low) {
            (false, true) => multiply_low::<L, W, L1>(product, products),
            (true, true) => multiply_low::<L, W, NoPrefetch>(product, products),
            (false, false) => multiply_high::<L, W, L1>(product, products),
            (true, false) => multiply_high::<L, W, L2>(product, products),
        }
    }
}

/// The products of a single low tile.
///
/// # Safety
///
/// The lengths of the product are checked.
#[inline(always)]
unsafe fn multiply_low<L: Lanes, W: Weight, F: Prefetch>(
    product: &Product<'_, W>,
    products: &mut [[f32; PANEL]],
) {
    let &Product { x, rows, size_in, weights, panels, .. } = product;
    let tile = Tile::<W, F, false> {
        x,
        weights,
        panel_size: size_in,
        count: size_in,
        is_first: true,
        products,
        prefetch: PhantomData,
    };
    // SAFETY: all inputs of these rows and panels.
    unsafe { tile.multiply::<L>(rows, panels) };
}

/// Adds the terms of the inputs to the products of all rows, tile by tile.
///
/// # Safety
///
/// The lengths of the product are checked.
#[inline(always)]
unsafe fn multiply_high<L: Lanes, W: Weight, F: Prefetch>(
    product: &Product<'_, W>,
    products: &mut [[f32; PANEL]],
) {
    let &Product { x, rows, tile: tile_rows, ref inputs, size_in, weights, panels } = product;
    // Widened once for all tiles.
    let mut widened = [[0.0; PANEL]; HIGH_PANELS * KC];
    for first in inputs.clone().step_by(KC) {
        let count = KC.min(inputs.end - first);
        if W::WIDENS {
            for (panel, widened) in widened.chunks_exact_mut(KC).take(panels).enumerate() {
                let weights = &weights[panel * size_in + first..][..count];
                for (widened, weights) in widened.iter_mut().zip(weights) {
                    F::fetch(std::ptr::from_ref(weights).wrapping_add(PREFETCH_DISTANCE));
                    W::load::<L>(weights).store(widened);
                }
            }
        }
        for start in (0..rows).step_by(tile_rows) {
            let rows = tile_rows.min(rows - start);
            let x = &x[start * inputs.len() + (first - inputs.start) * rows..][..count * rows];
            let products = &mut products[start * panels..][..rows * panels];
            let is_first = first == 0;
            macro_rules! tile {
                ($weight:ty, $prefetch:ty, $weights:expr, $panel_size:expr) => {
                    Tile::<$weight, $prefetch, true> {
                        x,
                        weights: $weights,
                        panel_size: $panel_size,
                        count,
                        is_first,
                        products,
                        prefetch: PhantomData,
                    }
                };
            }
            // SAFETY: these inputs of these rows and panels. The first tile brings weights into the
            // cache, where the others find them.
            unsafe {
                match start {
                    _ if W::WIDENS => {
                        tile!(f32, NoPrefetch, &widened, KC).multiply::<L>(rows, panels)
                    }
                    0 => tile!(W, F, &weights[first..], size_in).multiply::<L>(rows, panels),
                    _ => {
                        tile!(W, NoPrefetch, &weights[first..], size_in).multiply::<L>(rows, panels)
                    }
                }
            }
        }
    }
}

/// Whether there are registers for the sums of several panels.
const fn is_wide<L: Lanes>() -> bool {
    L::ACCUMULATORS >= LOW_ROWS * LOW_PANELS && L::ACCUMULATORS >= HIGH_ROWS * HIGH_PANELS
}

/// Some inputs of a tile's rows, and what they add to the products.
struct Tile<'a, W, F, const PACKED: bool> {
    /// Input after input of all rows where they are packed, otherwise row after row.
    x: &'a [f32],
    /// The weights of the inputs, one panel every `panel_size`.
    weights: &'a [[W; PANEL]],
    panel_size: usize,
    /// How many inputs.
    count: usize,
    /// Whether the products are none yet.
    is_first: bool,
    /// `[rows, panels]`
    products: &'a mut [[f32; PANEL]],
    prefetch: PhantomData<F>,
}

impl<W: Weight, F: Prefetch, const PACKED: bool> Tile<'_, W, F, PACKED> {
    /// Adds the terms of the inputs.
    ///
    /// # Safety
    ///
    /// There are so many rows and panels, each with those inputs.
    #[inline(always)]
    unsafe fn multiply<L: Lanes>(mut self, rows: usize, panels: usize) {
        macro_rules! add {
            ($first_panel:expr; $($rows:literal x $panels:literal)*) => {{
                let tile = Accumulate { tile: &mut self, panels, first_panel: $first_panel };
                match rows {
                    $($rows => L::compute::<_, $rows, $panels>(tile),)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            }};
        }
        // SAFETY: as the caller promises; the panels are those that there are.
        unsafe {
            match panels {
                LOW_PANELS if is_wide::<L>() && rows <= LOW_ROWS => {
                    add!(0; 1 x 4 2 x 4 3 x 4 4 x 4 5 x 4 6 x 4);
                }
                HIGH_PANELS if is_wide::<L>() => {
                    add!(0; 1 x 3 2 x 3 3 x 3 4 x 3 5 x 3 6 x 3 7 x 3 8 x 3);
                }
                2 if is_wide::<L>() => {
                    add!(0; 1 x 2 2 x 2 3 x 2 4 x 2 5 x 2 6 x 2 7 x 2 8 x 2);
                }
                _ => {
                    for panel in 0..panels {
                        add!(panel; 1 x 1 2 x 1 3 x 1 4 x 1 5 x 1 6 x 1 7 x 1 8 x 1);
                    }
                }
            }
        }
    }
}

/// Adds the terms of a tile's inputs to the products of some panels, of `panels`.
struct Accumulate<'a, 'p, W, F, const PACKED: bool> {
    tile: &'a mut Tile<'p, W, F, PACKED>,
    panels: usize,
    first_panel: usize,
}

impl<W: Weight, F: Prefetch, const PACKED: bool> Microkernel for Accumulate<'_, '_, W, F, PACKED> {
    /// # Safety
    ///
    /// `x` and `products` have that many rows, there are that many panels of weights, and those
    /// inputs.
    #[inline(always)]
    #[allow(
        clippy::needless_range_loop,
        reason = "iterators over slices of registers copy them through memory"
    )]
    unsafe fn compute<L: Lanes, const MR: usize, const NR: usize>(self) {
        let Self { tile, panels, first_panel } = self;
        let (count, panel_size) = (tile.count, tile.panel_size);
        // SAFETY: rows and panels are there, as the caller promises.
        unsafe {
            let x = tile.x.as_ptr();
            let weights = tile.weights.as_ptr().add(first_panel * panel_size);
            let products = tile.products.as_mut_ptr().add(first_panel);
            let mut sums = [[L::splat(0.0); NR]; MR];
            if !tile.is_first {
                for row in 0..MR {
                    for panel in 0..NR {
                        sums[row][panel] = L::load(&*products.add(row * panels + panel));
                    }
                }
            }
            for input in 0..count {
                let mut panel_weights = [L::splat(0.0); NR];
                for panel in 0..NR {
                    let weights = weights.add(panel * panel_size + input);
                    F::fetch(weights.wrapping_add(PREFETCH_DISTANCE));
                    panel_weights[panel] = W::load(&*weights);
                }
                for row in 0..MR {
                    let at = if PACKED { input * MR + row } else { row * count + input };
                    let x = L::splat(*x.add(at));
                    for panel in 0..NR {
                        sums[row][panel] = sums[row][panel].add_product(x, panel_weights[panel]);
                    }
                }
            }
            for row in 0..MR {
                for panel in 0..NR {
                    sums[row][panel].store(&mut *products.add(row * panels + panel));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::lanes::Portable;

    #[test]
    fn plain_rust_finds_the_same_within_rounding() {
        let number = |index: usize| ((index * 7919 % 1009) as f32 - 504.0) / 256.0;
        let (size_in, panels) = (77, HIGH_PANELS);
        let weights: Vec<[f16; PANEL]> = (0..panels * size_in)
            .map(|input| std::array::from_fn(|output| f16::from_f32(number(input * 31 + output))))
            .collect();
        for rows in [LOW_ROWS - 1, LOW_ROWS + 1] {
            let value = |row: usize, input: usize| number(row * 1000 + input);
            let x = (0..rows * size_in).map(|index| match rows <= LOW_ROWS {
                true => value(index / size_in, index % size_in),
                false => value(index % rows, index / rows),
            });
            let product = Product {
                x: &x.collect::<Vec<_>>(),
                rows,
                tile: rows,
                inputs: 0..size_in,
                size_in,
                weights: &weights,
                panels,
            };
            let mut products = vec![[f32::NAN; PANEL]; rows * panels];
            multiply::<Portable, f16>(&product, &mut products);
            for (index, products) in products.iter().enumerate() {
                let weights = &weights[index % panels * size_in..][..size_in];
                for (output, &product) in products.iter().enumerate() {
                    let terms = weights.iter().enumerate().map(|(input, weights)| {
                        f64::from(value(index / panels, input)) * weights[output].to_f64()
                    });
                    let exact: f64 = terms.sum();
                    assert!((f64::from(product) - exact).abs() < 1e-3, "{product} and not {exact}");
                }
            }
        }
    }
}
