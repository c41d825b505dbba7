//! The product.

use std::marker::PhantomData;
use std::ops::Range;

use half::f16;

use super::Weight;
use crate::operators::activation::Activation;
use crate::operators::panels::PANEL;
use crate::simd::ahead::{Ahead, ByItself, Far, Near, crosses_pages};
use crate::simd::lanes::{LANES, Lanes, Tile, dispatch_lanes};

/// Most rows of a tile, whose sums stay in registers, of one panel or, where there are registers for them, of [`FEW_PANELS`].
const FEW_ROWS: usize = 6;
const FEW_PANELS: usize = 4;
/// The same of more rows, where there are registers for three panels.
const MANY_ROWS: usize = 8;
const MANY_PANELS: usize = 3;
/// Inputs whose weights stay in the first-level cache while tiles pass. Few enough that rows of a tile which are a power of
/// two apart do not drive each other out of it.
const INPUTS: usize = 64;
/// Weights that are fetched ahead, in inputs: beyond a page's end the processor does not by itself.
const AHEAD: usize = 32;

/// Panels that so many rows are best multiplied with at a time.
pub(super) fn panels_at_a_time(rows: usize) -> usize {
    if rows <= FEW_ROWS {
        FEW_PANELS
    } else {
        MANY_PANELS
    }
}

/// `activation(x · weightsᵀ + bias)` of some panels.
pub(crate) struct Product<'a, W> {
    /// `[rows, size_in]`
    pub(crate) x: &'a [f32],
    pub(crate) size_in: usize,
    /// `[panels, size_in]`
    pub(crate) weights: &'a [[W; PANEL]],
    /// One for each panel.
    pub(crate) biases: &'a [[f32; PANEL]],
    /// Applied to every output.
    pub(crate) activation: Activation,
}

dispatch_lanes! {
    /// Multiplies with float32: `products` are `[rows, panels]`.
    pub(super) fn multiply_f32(product: &Product<'_, f32>, products: &mut [[f32; PANEL]]) = multiply of f32;
}

dispatch_lanes! {
    /// Multiplies with float16: `products` are `[rows, panels]`.
    pub(super) fn multiply_f16(product: &Product<'_, f16>, products: &mut [[f32; PANEL]]) = multiply of f16;
}

#[inline(always)]
fn multiply<L: Lanes, W: Weight>(product: &Product<'_, W>, products: &mut [[f32; PANEL]]) {
    const { assert!(LANES == PANEL) };
    let (panels, rows) = (product.biases.len(), product.x.len() / product.size_in);
    assert!(
        product.x.len() == rows * product.size_in
            && product.weights.len() == panels * product.size_in
            && products.len() == rows * panels,
        "rows and panels as long as their inputs"
    );
    // SAFETY: the lengths are those just checked.
    unsafe {
        match (crosses_pages(), rows > FEW_ROWS) {
            (false, _) => add_all::<L, W, Near>(product, rows, products),
            (true, false) => add_all::<L, W, ByItself>(product, rows, products),
            (true, true) => add_all::<L, W, Far>(product, rows, products),
        }
    }
    for products in products.chunks_exact_mut(panels) {
        for (product_, bias) in products.iter_mut().zip(product.biases) {
            let mut finished = *product_;
            for (value, bias) in finished.iter_mut().zip(bias) {
                *value += bias;
            }
            product.activation.apply(&mut finished);
            *product_ = finished;
        }
    }
}

/// Sums of all rows and panels, tile by tile.
///
/// # Safety
///
/// There are that many rows of `x`, and as many of `products`.
#[inline(always)]
unsafe fn add_all<L: Lanes, W: Weight, A: Ahead>(
    product: &Product<'_, W>,
    rows: usize,
    products: &mut [[f32; PANEL]],
) {
    let size_in = product.size_in;
    let most = if is_wide::<L>() && rows > FEW_ROWS {
        MANY_ROWS
    } else {
        FEW_ROWS
    };
    let tile = rows.div_ceil(rows.div_ceil(most).max(1)).max(1);
    // Where there is one tile, nothing needs to stay in a cache.
    let at_once = if rows > tile { INPUTS } else { size_in };
    for first in (0..size_in).step_by(at_once) {
        let inputs = first..(first + at_once).min(size_in);
        for start in (0..rows).step_by(tile) {
            let rows = start..(start + tile).min(rows);
            // SAFETY: the tile lies within the rows that the caller promises.
            unsafe {
                // The first tile brings what the others find in the cache.
                if start == 0 {
                    add_rows::<L, W, A>(product, rows, inputs.clone(), products);
                } else {
                    add_rows::<L, W, ByItself>(product, rows, inputs.clone(), products);
                }
            }
        }
    }
}

/// Whether there are registers for the sums of several panels.
const fn is_wide<L: Lanes>() -> bool {
    L::SUMS >= FEW_ROWS * FEW_PANELS && L::SUMS >= MANY_ROWS * MANY_PANELS
}

/// Adds what some inputs make to the products of a tile's rows.
///
/// # Safety
///
/// There are those rows of `x` and of `products`, and those inputs.
#[inline(always)]
unsafe fn add_rows<L: Lanes, W: Weight, A: Ahead>(
    product: &Product<'_, W>,
    rows: Range<usize>,
    inputs: Range<usize>,
    products: &mut [[f32; PANEL]],
) {
    macro_rules! add {
        ($first_panel:expr; $($rows:literal x $panels:literal)*) => {{
            let tile = Add::<W, A> {
                product,
                first_row: rows.start,
                first_panel: $first_panel,
                inputs: inputs.clone(),
                products,
                ahead: PhantomData,
            };
            match rows.len() {
                $($rows => L::compute::<_, $rows, $panels>(tile),)*
                _ => unreachable!("a tile of {} rows", rows.len()),
            }
        }};
    }
    let panels = product.biases.len();
    // SAFETY: as the caller promises; the panels are those that there are.
    unsafe {
        match panels {
            FEW_PANELS if is_wide::<L>() && rows.len() <= FEW_ROWS => {
                add!(0; 1 x 4 2 x 4 3 x 4 4 x 4 5 x 4 6 x 4);
            }
            MANY_PANELS if is_wide::<L>() => {
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

/// Adds what some inputs make to the products of rows and panels, from these on. The first inputs find nothing there.
struct Add<'a, 'p, W, A> {
    product: &'a Product<'p, W>,
    first_row: usize,
    first_panel: usize,
    inputs: Range<usize>,
    products: &'a mut [[f32; PANEL]],
    ahead: PhantomData<A>,
}

impl<W: Weight, A: Ahead> Tile for Add<'_, '_, W, A> {
    /// # Safety
    ///
    /// There are that many rows of `x` and of `products`, that many panels of weights, and those inputs.
    #[inline(always)]
    #[allow(
        clippy::needless_range_loop,
        reason = "iterators over slices of registers copy them through memory"
    )]
    unsafe fn compute<L: Lanes, const R: usize, const P: usize>(self) {
        let (panels, size_in) = (self.product.biases.len(), self.product.size_in);
        // SAFETY: rows and panels are there, as the caller promises.
        unsafe {
            let x = self.product.x.as_ptr().add(self.first_row * size_in);
            let weights = self
                .product
                .weights
                .as_ptr()
                .add(self.first_panel * size_in);
            let products = self.products.as_mut_ptr();
            let products = products.add(self.first_row * panels + self.first_panel);
            let mut sums = [[L::splat(0.0); P]; R];
            if self.inputs.start > 0 {
                for row in 0..R {
                    for panel in 0..P {
                        sums[row][panel] = L::load(&*products.add(row * panels + panel));
                    }
                }
            }
            for input in self.inputs {
                let mut of_panels = [L::splat(0.0); P];
                for panel in 0..P {
                    let weights = weights.add(panel * size_in + input);
                    A::fetch(weights.wrapping_add(AHEAD));
                    of_panels[panel] = W::load(&*weights);
                }
                for row in 0..R {
                    let x = L::splat(*x.add(row * size_in + input));
                    for panel in 0..P {
                        sums[row][panel] = sums[row][panel].add_product(x, of_panels[panel]);
                    }
                }
            }
            for row in 0..R {
                for panel in 0..P {
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

    const PANELS: usize = FEW_PANELS;

    /// Rows, weights in panels, and the exact products.
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
                    terms
                        .map(|(&x, weights)| f64::from(x) * weights[output].to_f64())
                        .sum()
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
        Product {
            x,
            size_in,
            weights,
            biases,
            activation: Activation::Relu,
        }
    }

    #[test]
    fn products_are_right_and_each_rows_own() {
        let bias: [f32; PANEL] = std::array::from_fn(|output| output as f32 - 3.5);
        let biases = [bias; PANELS];
        let few = (1..=9).map(|rows| (rows, 70));
        let sizes = [
            (1, 1),
            (2, 2),
            (5, 3),
            (13, 64),
            (16, 65),
            (19, 193),
            (65, 7),
        ];
        for (rows, size_in) in few.chain(sizes) {
            let (x, halves, exact) = example(rows, size_in);
            let singles: Vec<[f32; PANEL]> =
                halves.iter().map(|half| half.map(f16::to_f32)).collect();
            for panels in [PANELS, MANY_PANELS, 2, 1] {
                let (biases, halves) = (&biases[..panels], &halves[..panels * size_in]);
                let mut all = vec![[0.0; PANEL]; rows * panels];
                multiply_f16(&product(&x, size_in, halves, biases), &mut all);
                for (index, products) in all.iter().enumerate() {
                    let exact = &exact[index / panels * PANELS + index % panels];
                    for ((product, exact), bias) in products.iter().zip(exact).zip(&bias) {
                        let exact = (exact + f64::from(*bias)).max(0.0);
                        let error = (f64::from(*product) - exact).abs();
                        assert!(error < 1e-5 * size_in as f64, "{product} and not {exact}");
                    }
                }
                let mut of_singles = vec![[0.0; PANEL]; rows * panels];
                let singles = &singles[..panels * size_in];
                multiply_f32(&product(&x, size_in, singles, biases), &mut of_singles);
                assert_eq!(of_singles, all, "halves are exact in float32");
                for (row, together) in all.chunks_exact(panels).enumerate() {
                    let mut alone = vec![[0.0; PANEL]; panels];
                    let x = &x[row * size_in..][..size_in];
                    multiply_f16(&product(x, size_in, halves, biases), &mut alone);
                    assert_eq!(alone, together, "row {row} alone");
                }
            }
        }
    }

    #[test]
    fn plain_rust_finds_the_same_within_rounding() {
        let (x, weights, exact) = example(5, 77);
        let mut products = vec![[0.0; PANEL]; 5 * PANELS];
        let mut of_all = product(&x, 77, &weights, &[[0.0; PANEL]; PANELS]);
        of_all.activation = Activation::Identity;
        multiply::<Portable, f16>(&of_all, &mut products);
        for (product, exact) in products.as_flattened().iter().zip(exact.as_flattened()) {
            assert!(
                (f64::from(*product) - exact).abs() < 1e-3,
                "{product} and not {exact}"
            );
        }
    }
}
