//! GPTQ: rounding that compensates for its own errors (Frantar et al. 2022, arXiv:2210.17323).
//!
//! A product with rounded weights has the error `e · x`, where `e` are the errors of the weights.
//! Its mean square over all rows that a matrix reads is `e · H · eᵀ`, with `H = Xᵀ · X`.
//! Errors of correlated inputs can cancel each other. Rounding to the nearest value ignores that.
//!
//! With `H = R · Rᵀ` and an upper triangular `R`, the error is the sum of squares of `e · R`.
//! Column `j` depends only on the weights up to `j`: they are rounded in turn, each to the value
//! that best cancels the errors before it. The scale and minimum of a block are chosen for the
//! smallest error. Then a few sweeps of coordinate descent change integers and scales block by
//! block.

use epitome_kernels::dispatch;
use epitome_kernels::int4::{BLOCK, MAX_INTEGER};
use rayon::iter::ParallelIterator;
use rayon::slice::ParallelSlice;

use super::grid::{Grid, Rounded};
use crate::product::{multiply, pack};
use crate::{InputProducts, cholesky};

/// Damping: added to the diagonal of `H`, relative to its mean, for inputs that the calibration
/// documents do not show. With fewer rows than inputs it grows by their ratio, since correlations
/// of few rows may be chance.
const DAMPING: f32 = 0.1;
/// Limit of the damping. It leaves little of `H` but its mean.
const MAX_DAMPING: f32 = 100.0;
/// Fractions of a block's range that are tried.
const SHARES: [f32; 5] = [1.0, 0.92, 0.84, 0.76, 0.66];
/// Number of refinements of the best fraction.
const REFINEMENTS: usize = 2;
/// Number of sweeps over all blocks.
const SWEEPS: usize = 3;
/// Number of rows that are rounded together.
const ROWS: usize = 8;

/// A block on the diagonal of a matrix.
type Square = [[f32; BLOCK]; BLOCK];
/// A value for each input of a block.
type Line = [f32; BLOCK];

/// Rounds rows that read the same inputs.
#[derive(Debug)]
pub(super) struct Gptq {
    /// Number of inputs, with padding.
    size: usize,
    /// `H` in rows of blocks.
    hessian: Vec<Vec<f32>>,
    /// Blocks on the diagonal of `H`.
    of_hessian: Vec<Square>,
    /// `R` in rows of blocks, behind the diagonal.
    factor: Vec<Vec<f32>>,
    /// Blocks on the diagonal of `R`.
    of_factor: Vec<Square>,
}

/// Number of inputs of a row, with padding.
pub fn padded(size_in: usize) -> usize {
    size_in.next_multiple_of(BLOCK)
}

/// Memory in bytes for rounding a matrix of `size_in` inputs: `H`, `H` in blocks, and `R`.
pub fn rounding_bytes(size_in: usize) -> u64 {
    10 * (padded(size_in) as u64).pow(2)
}

impl Gptq {
    /// Prepares the rounding of matrices with these inputs. `None` if `H` is not usable: no row was
    /// read, or values are not finite.
    pub(super) fn new(inputs: InputProducts) -> Option<Self> {
        let InputProducts { sums: mut matrix, size_in, rows } = inputs;
        let size = padded(size_in);
        let diagonal = |matrix: &[f32]| (0..size_in).map(|at| matrix[at * size + at]).sum::<f32>();
        let mean = diagonal(&matrix) / size_in as f32;
        if mean.is_nan() || mean <= 0.0 {
            return None;
        }
        let damping = (DAMPING * size_in as f32 / rows as f32).clamp(DAMPING, MAX_DAMPING);
        for at in 0..size {
            // Padding gets a small diagonal.
            matrix[at * size + at] += if at < size_in { damping } else { 1e-4 * damping } * mean;
        }
        let of_matrix = |matrix: &[f32], row: usize, column: usize| {
            matrix[row.min(column) * size + row.max(column)]
        };
        let squares = |matrix: &[f32], symmetric: bool| -> Vec<Square> {
            let value = |row: usize, column: usize| match symmetric || row <= column {
                true => of_matrix(matrix, row, column),
                false => 0.0,
            };
            let starts = (0..size).step_by(BLOCK);
            let square = |start| {
                std::array::from_fn(|row| {
                    std::array::from_fn(|column| value(start + row, start + column))
                })
            };
            starts.map(square).collect()
        };
        let of_hessian = squares(&matrix, true);
        let starts = || (0..size).step_by(BLOCK);
        let hessian = starts()
            .map(|start| pack([BLOCK, size], |row, column| of_matrix(&matrix, start + row, column)))
            .collect();
        if !cholesky::factor(&mut matrix, size) {
            return None;
        }
        let factor = starts()
            .map(|start| {
                let behind = start + BLOCK;
                pack([BLOCK, size - behind], |row, column| {
                    matrix[(start + row) * size + behind + column]
                })
            })
            .collect();
        let of_factor = squares(&matrix, false);
        Some(Self { size, hessian, of_hessian, factor, of_factor })
    }

    /// Rounds rows of `size_in` weights. Returns the blocks of each row.
    pub(super) fn round(&self, rows: &[f32], size_in: usize) -> Vec<Vec<Rounded>> {
        let parts = rows.par_chunks(ROWS * size_in);
        parts.flat_map_iter(|rows| self.round_together(rows, size_in)).collect()
    }

    fn round_together(&self, rows: &[f32], size_in: usize) -> Vec<Vec<Rounded>> {
        let size = self.size;
        let weights: Vec<Vec<Line>> = rows.chunks_exact(size_in).map(lines).collect();
        let count = weights.len();
        let mut rounded: Vec<Vec<Rounded>> = vec![Vec::new(); count];
        // `e · R` and `e · H` of the errors so far.
        let [mut ahead, mut gradient] = [(); 2].map(|()| vec![0.0; count * size]);
        for (block, square) in self.of_factor.iter().enumerate() {
            let start = block * BLOCK;
            let inputs = BLOCK.min(size_in - start);
            let mut errors = vec![[0.0; BLOCK]; count];
            let rows = weights.iter().zip(ahead.chunks_exact(size)).zip(&mut rounded);
            for (((weights, ahead), rounded), errors) in rows.zip(&mut errors) {
                let weights = &weights[block];
                let found = compensate(weights, line(ahead, start), square, inputs);
                let values = found.padded_values();
                *errors = std::array::from_fn(|at| weights[at] - values[at]);
                rounded.push(found);
            }
            let errors = errors.as_flattened();
            let behind = size - start - BLOCK;
            if behind > 0 {
                let products = multiply(errors, &self.factor[block], [count, BLOCK, behind]);
                for (row, products) in products.chunks_exact(behind).enumerate() {
                    let ahead = &mut ahead[(row + 1) * size - behind..][..behind];
                    ahead.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
                }
            }
            let products = multiply(errors, &self.hessian[block], [count, BLOCK, size]);
            gradient.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
        }
        for _ in 0..SWEEPS {
            for (block, square) in self.of_hessian.iter().enumerate() {
                let start = block * BLOCK;
                let mut changes = vec![[0.0; BLOCK]; count];
                let rows = rounded.iter_mut().zip(gradient.chunks_exact(size));
                for ((rounded, gradient), changes) in rows.zip(&mut changes) {
                    *changes = improve(&mut rounded[block], line(gradient, start), square);
                }
                if changes.as_flattened().iter().any(|&change| change != 0.0) {
                    let changes = changes.as_flattened();
                    let products = multiply(changes, &self.hessian[block], [count, BLOCK, size]);
                    gradient.iter_mut().zip(products).for_each(|(sum, product)| *sum -= product);
                }
            }
        }
        rounded
    }
}

/// Splits a row into blocks, padded with zeros.
fn lines(row: &[f32]) -> Vec<Line> {
    let line = |weights: &[f32]| std::array::from_fn(|at| weights.get(at).copied().unwrap_or(0.0));
    row.chunks(BLOCK).map(line).collect()
}

fn line(values: &[f32], start: usize) -> &Line {
    &values[start..].as_chunks().0[0]
}

/// A block's weights, rounded in turn.
struct Rounding {
    integers: Line,
    /// Sum of squares of the block's columns of `e · R`.
    error: f32,
}

#[inline(always)]
fn in_turn(grid: Grid, weights: &Line, ahead: &Line, factor: &Square) -> Rounding {
    let (scale, min) = (grid.scale.to_f32(), grid.min.to_f32());
    let inverse = grid.inverse();
    let mut integers = [0.0; BLOCK];
    let mut left = *ahead;
    for at in 0..BLOCK {
        let target = weights[at] + left[at] / factor[at][at];
        let integer = Grid::round((target - min) * inverse);
        integers[at] = integer;
        let error = weights[at] - (integer * scale + min);
        for column in 0..BLOCK {
            left[column] += error * factor[at][column];
        }
    }
    Rounding { integers, error: dot(&left, &left) }
}

/// The grid with the smallest error for these integers.
#[inline(always)]
fn fitted(integers: &Line, weights: &Line, ahead: &Line, factor: &Square) -> Option<Grid> {
    let (mut of_integers, mut of_ones, mut goal) = ([0.0; BLOCK], [0.0; BLOCK], *ahead);
    for at in 0..BLOCK {
        for column in 0..BLOCK {
            of_integers[column] += integers[at] * factor[at][column];
            of_ones[column] += factor[at][column];
            goal[column] += weights[at] * factor[at][column];
        }
    }
    let products =
        [dot(&of_integers, &of_integers), dot(&of_integers, &of_ones), dot(&of_ones, &of_ones)];
    let [scale, min] = solve(products, [dot(&of_integers, &goal), dot(&of_ones, &goal)])?;
    Grid::finite(scale, min)
}

#[inline(always)]
fn compensate_body(weights: &Line, ahead: &Line, factor: &Square, inputs: usize) -> Rounded {
    // The approximate range of the values to round.
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for at in 0..inputs {
        let target = weights[at] + ahead[at] / factor[at][at];
        (low, high) = (low.min(target), high.max(target));
    }
    let mut best: Option<(Grid, Rounding)> = None;
    let try_grid = |grid: Option<Grid>, best: &mut Option<(Grid, Rounding)>| {
        let Some(grid) = grid else { return };
        let found = in_turn(grid, weights, ahead, factor);
        if best.as_ref().is_none_or(|(_, best)| found.error < best.error) {
            *best = Some((grid, found));
        }
    };
    let (middle, half) = (low / 2.0 + high / 2.0, high / 2.0 - low / 2.0);
    for share in SHARES {
        let scale = 2.0 * share * half / f32::from(MAX_INTEGER);
        try_grid(Grid::finite(scale, middle - share * half), &mut best);
    }
    for _ in 0..REFINEMENTS {
        let grid =
            best.as_ref().and_then(|(_, best)| fitted(&best.integers, weights, ahead, factor));
        try_grid(grid, &mut best);
    }
    match best {
        Some((grid, rounding)) => Rounded::new(grid, &rounding.integers, inputs),
        // If earlier errors make the block unusable, it is rounded to nearest.
        None => Rounded::of(&weights[..inputs]),
    }
}

dispatch! {
    /// Rounds the weights of a block in turn. `ahead` is `e · R` of the errors before it, in the
    /// block's columns.
    fn compensate(weights: &Line, ahead: &Line, factor: &Square, inputs: usize) -> Rounded =
        compensate_body;
}

#[inline(always)]
fn improve_body(rounded: &mut Rounded, gradient: &Line, hessian: &Square) -> Line {
    let before = rounded.padded_values();
    let mut left = *gradient;
    let mut integers = rounded.integers.map(f32::from);
    let mut grid = rounded.grid;
    let scale = grid.scale.to_f32();
    if scale > 0.0 {
        for at in 0..rounded.count {
            let goal = integers[at] + left[at] / (scale * hessian[at][at]);
            let change = Grid::round(goal) - integers[at];
            if change != 0.0 && change.is_finite() {
                integers[at] += change;
                for column in 0..BLOCK {
                    left[column] -= change * scale * hessian[at][column];
                }
            }
        }
    }
    // The scale and minimum that fit the integers best, in float16.
    let (mut of_integers, mut of_ones) = ([0.0; BLOCK], [0.0; BLOCK]);
    for at in 0..rounded.count {
        for column in 0..BLOCK {
            of_integers[column] += integers[at] * hessian[at][column];
            of_ones[column] += hessian[at][column];
        }
    }
    let ones: Line = std::array::from_fn(|at| if at < rounded.count { 1.0 } else { 0.0 });
    let padded: Line = std::array::from_fn(|at| integers[at] * ones[at]);
    let products = [dot(&padded, &of_integers), dot(&ones, &of_integers), dot(&ones, &of_ones)];
    let gains = [dot(&padded, &left), dot(&ones, &left)];
    if let Some([scale, min]) = solve(products, gains)
        && let Some(new) = Grid::finite(grid.scale.to_f32() + scale, grid.min.to_f32() + min)
    {
        let scale = new.scale.to_f32() - grid.scale.to_f32();
        let min = new.min.to_f32() - grid.min.to_f32();
        let gain = 2.0 * (scale * gains[0] + min * gains[1])
            - scale * scale * products[0]
            - 2.0 * scale * min * products[1]
            - min * min * products[2];
        if gain > 0.0 {
            grid = new;
        }
    }
    *rounded = Rounded::new(grid, &integers, rounded.count);
    let after = rounded.padded_values();
    std::array::from_fn(|at| after[at] - before[at])
}

dispatch! {
    /// Changes a block to reduce the whole error, and returns the change of its weights. `gradient`
    /// is `e · H` in the block's columns.
    fn improve(rounded: &mut Rounded, gradient: &Line, hessian: &Square) -> Line = improve_body;
}

/// The solution of `[[a, b], [b, c]] · x = y`.
#[inline(always)]
fn solve([a, b, c]: [f32; 3], [x, y]: [f32; 2]) -> Option<[f32; 2]> {
    let determinant = a * c - b * b;
    // If all integers are equal, the scale is undetermined.
    (determinant > 1e-4 * a * c)
        .then(|| [(c * x - b * y) / determinant, (a * y - b * x) / determinant])
}

#[inline(always)]
fn dot(left: &Line, right: &Line) -> f32 {
    let mut lanes = [0.0; 16];
    for (left, right) in left.as_chunks::<16>().0.iter().zip(right.as_chunks::<16>().0) {
        for lane in 0..16 {
            lanes[lane] += left[lane] * right[lane];
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::weights;
    use super::*;

    /// `e · H · eᵀ` of the error of a row.
    fn error(row: &[f32], rounded: &[Rounded], matrix: &[f32]) -> f64 {
        let size = padded(row.len());
        let values = rounded.iter().flat_map(Rounded::values);
        let errors: Vec<f64> = row.iter().zip(values).map(|(w, v)| f64::from(w - v)).collect();
        let mut sum = 0.0;
        for (i, a) in errors.iter().enumerate() {
            for (j, b) in errors.iter().enumerate() {
                sum += a * b * f64::from(matrix[i.min(j) * size + i.max(j)]);
            }
        }
        sum
    }

    fn gptq(sums: Vec<f32>, size_in: usize) -> Option<Gptq> {
        Gptq::new(InputProducts { sums, size_in, rows: 4 * size_in })
    }

    /// The upper half of `H` of correlated inputs.
    fn correlated(size_in: usize) -> Vec<f32> {
        correlated_rows(size_in, 4 * size_in)
    }

    /// [`correlated`] of the first `seen` rows.
    fn correlated_rows(size_in: usize, seen: usize) -> Vec<f32> {
        let (rows, causes, size) = (4 * size_in, size_in.div_ceil(4), padded(size_in));
        let mixing = weights(causes * size_in);
        let noise = weights(rows * size_in);
        let hidden = &weights(rows * (causes + 1))[rows..];
        let x: Vec<f32> = (0..rows * size_in)
            .map(|at| {
                let (row, input) = (at / size_in, at % size_in);
                let of = |cause| hidden[row * causes + cause] * mixing[cause * size_in + input];
                (0..causes).map(of).sum::<f32>() / (causes as f32).sqrt() + 0.2 * noise[at]
            })
            .collect();
        let mut matrix = vec![0.0; size * size];
        for x in x.chunks(size_in).take(seen) {
            for row in 0..size_in {
                for column in row..size_in {
                    matrix[row * size + column] += x[row] * x[column];
                }
            }
        }
        matrix
    }

    #[test]
    fn a_matrix_loses_less_than_by_rounding_to_the_nearest() {
        for size_in in [BLOCK, BLOCK + 5, 4 * BLOCK] {
            let matrix = correlated(size_in);
            let gptq = gptq(matrix.clone(), size_in).expect("a matrix of inputs");
            let rows = weights(20 * size_in);
            let (mut nearest, mut found) = (0.0, 0.0);
            let rounded = gptq.round(&rows, size_in);
            assert_eq!(rounded.len(), 20);
            for (row, rounded) in rows.chunks(size_in).zip(&rounded) {
                let plain: Vec<Rounded> = row.chunks(BLOCK).map(Rounded::of).collect();
                let [plain, new] = [&plain, rounded].map(|blocks| error(row, blocks, &matrix));
                (nearest, found) = (nearest + plain, found + new);
            }
            println!("{size_in}: {:.3} of the error", found / nearest);
            assert!(found < 0.8 * nearest, "{size_in}: {found} and {nearest}");
        }
    }

    /// An expert that is rarely chosen has few rows, whose correlations are chance.
    #[test]
    fn a_few_rows_do_no_harm() {
        let size_in = 6 * BLOCK;
        let all = correlated(size_in);
        let rows = weights(20 * size_in);
        let plain: Vec<Vec<Rounded>> =
            rows.chunks(size_in).map(|row| row.chunks(BLOCK).map(Rounded::of).collect()).collect();
        let whole = |rounded: &[Vec<Rounded>]| -> f64 {
            rows.chunks(size_in).zip(rounded).map(|(row, blocks)| error(row, blocks, &all)).sum()
        };
        for seen in [1, 2, 5, 20, 80] {
            let sums = correlated_rows(size_in, seen);
            let gptq = Gptq::new(InputProducts { sums, size_in, rows: seen }).expect("some rows");
            let share = whole(&gptq.round(&rows, size_in)) / whole(&plain);
            println!("{seen} rows: {share:.3} of the error");
            assert!(share < 1.05, "{seen} rows: {share} of the error");
        }
    }

    #[test]
    fn rows_do_not_depend_on_those_beside_them() {
        let size_in = 2 * BLOCK + 3;
        let gptq = gptq(correlated(size_in), size_in).expect("a matrix of inputs");
        let rows = weights(11 * size_in);
        let together = gptq.round(&rows, size_in);
        for (row, together) in rows.chunks(size_in).zip(together) {
            let alone = gptq.round(row, size_in).remove(0);
            for (alone, together) in alone.iter().zip(&together) {
                assert_eq!(alone.padded_values(), together.padded_values());
            }
        }
    }

    #[test]
    fn inputs_that_were_never_there_spoil_nothing() {
        let size_in = BLOCK + 2;
        assert!(gptq(vec![0.0; padded(size_in) * padded(size_in)], size_in).is_none());
        assert!(gptq(vec![f32::NAN; padded(size_in) * padded(size_in)], size_in).is_none());
        let mut matrix = vec![0.0; padded(size_in) * padded(size_in)];
        matrix[3 * padded(size_in) + 3] = 5.0;
        let gptq = gptq(matrix, size_in).expect("one input");
        for row in [weights(size_in), vec![0.0; size_in], vec![-60_000.0; size_in]] {
            let rounded = gptq.round(&row, size_in).remove(0);
            let values: Vec<f32> = rounded.iter().flat_map(Rounded::values).collect();
            let max = crate::max_magnitude(&row);
            for (weight, value) in row.iter().zip(&values) {
                assert!((weight - value).abs() <= 0.2 * max + 1e-6, "{weight} became {value}");
            }
        }
    }
}
