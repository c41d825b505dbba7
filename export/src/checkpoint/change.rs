//! Changes of an adapter to a tensor of its base, row by row while the tensor streams.
//!
//! A tensor of more than two axes counts as a matrix of its first axis and all others, and a tensor
//! of one axis as a column.

use std::collections::HashMap;

use super::strided::StridedView;

/// Rows or columns of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    Rows,
    Columns,
}

/// A change of a matrix, `[rows, columns]`, with operands of type `T`. The shapes of the operands
/// must be checked before.
#[derive(Clone, Debug)]
pub(crate) enum Change<T> {
    /// LoRA: adds `scale * b @ a`.
    LowRank {
        /// `[rank, columns]`
        a: T,
        /// `[rows, rank]`
        b: T,
        scale: f32,
        /// DoRA: scales each row or column to this norm afterwards.
        magnitude: Option<(T, Axis)>,
    },
    /// Adds `scale * values`, which has as many elements as the tensor.
    Add { values: T, scale: f32 },
    /// IA3: multiplies each row or column with a factor.
    Multiply { factors: T, axis: Axis },
    /// Trained tokens: replaces the rows `indices` with the rows of `values`.
    ReplaceRows { indices: Vec<usize>, values: T },
}

impl<T> Change<T> {
    /// Looks up the operands of the change.
    pub(super) fn map<'a, U>(&'a self, look_up: impl Fn(&'a T) -> U) -> Change<U> {
        match self {
            Self::LowRank { a, b, scale, magnitude } => Change::LowRank {
                a: look_up(a),
                b: look_up(b),
                scale: *scale,
                magnitude: magnitude.as_ref().map(|(m, axis)| (look_up(m), *axis)),
            },
            Self::Add { values, scale } => Change::Add { values: look_up(values), scale: *scale },
            Self::Multiply { factors, axis } => {
                Change::Multiply { factors: look_up(factors), axis: *axis }
            }
            Self::ReplaceRows { indices, values } => {
                Change::ReplaceRows { indices: indices.clone(), values: look_up(values) }
            }
        }
    }
}

/// A change with its operands as `f32`.
pub(super) enum Prepared {
    LowRank {
        product: Product,
        /// Factors of each row or column, applied after the addition.
        factors: Option<(Vec<f32>, Axis)>,
    },
    Add {
        values: Vec<f32>,
        scale: f32,
    },
    Multiply {
        factors: Vec<f32>,
        axis: Axis,
    },
    ReplaceRows {
        /// The row of `values` for each replaced row of the tensor.
        rows: HashMap<usize, usize>,
        values: Vec<f32>,
    },
}

/// Passes all elements of a tensor in row-major order, piece by piece.
type Stream<'a> = dyn FnMut(&mut dyn FnMut(&[f32])) + 'a;

impl Prepared {
    /// Reads the operands. `stream` passes the tensor before this change, for its norms.
    pub(super) fn new(
        change: &Change<StridedView<'_>>,
        columns: usize,
        stream: &mut Stream<'_>,
    ) -> Self {
        match change {
            Change::LowRank { a, b, scale, magnitude } => {
                let product = Product::new(a, b, *scale);
                let factors = magnitude.as_ref().map(|(magnitude, axis)| {
                    let mut factors = magnitude.to_f32();
                    let norms = product.norms(columns, *axis, factors.len(), stream);
                    for (factor, norm) in factors.iter_mut().zip(norms) {
                        *factor /= norm;
                    }
                    (factors, *axis)
                });
                Self::LowRank { product, factors }
            }
            Change::Add { values, scale } => Self::Add { values: values.to_f32(), scale: *scale },
            Change::Multiply { factors, axis } => {
                Self::Multiply { factors: factors.to_f32(), axis: *axis }
            }
            Change::ReplaceRows { indices, values } => Self::ReplaceRows {
                rows: indices.iter().enumerate().map(|(at, &row)| (row, at)).collect(),
                values: values.to_f32(),
            },
        }
    }

    /// Changes the elements `at..at + piece.len()` of the tensor in row-major order.
    pub(super) fn apply(&self, at: usize, columns: usize, piece: &mut [f32]) {
        match self {
            Self::LowRank { product, factors } => {
                product.add(at, columns, piece);
                if let Some((factors, axis)) = factors {
                    multiply(at, columns, piece, factors, *axis);
                }
            }
            Self::Add { values, scale } => {
                for (value, add) in piece.iter_mut().zip(&values[at..]) {
                    *value += scale * add;
                }
            }
            Self::Multiply { factors, axis } => multiply(at, columns, piece, factors, *axis),
            Self::ReplaceRows { rows, values } => {
                by_row(at, columns, piece, |row, column, part| {
                    if let Some(row) = rows.get(&row) {
                        let from = row * columns + column;
                        part.copy_from_slice(&values[from..from + part.len()]);
                    }
                });
            }
        }
    }
}

/// The product of two thin matrices, computed part by part.
pub(super) struct Product {
    /// `[rank, columns]`, with the scale multiplied in.
    a: Vec<f32>,
    /// `[rows, rank]`
    b: Vec<f32>,
    rank: usize,
}

impl Product {
    fn new(a: &StridedView<'_>, b: &StridedView<'_>, scale: f32) -> Self {
        let mut scaled = a.to_f32();
        scaled.iter_mut().for_each(|value| *value *= scale);
        Self { a: scaled, b: b.to_f32(), rank: a.shape()[0] }
    }

    fn add(&self, at: usize, columns: usize, piece: &mut [f32]) {
        by_row(at, columns, piece, |row, column, part| {
            let weights = &self.b[row * self.rank..][..self.rank];
            for (weight, a) in weights.iter().zip(self.a.chunks_exact(columns)) {
                for (value, a) in part.iter_mut().zip(&a[column..]) {
                    *value += weight * a;
                }
            }
        });
    }

    /// Euclidean norms of the rows or columns of the sum of the product and the tensor that
    /// `stream` passes.
    fn norms(
        &self,
        columns: usize,
        axis: Axis,
        count: usize,
        stream: &mut Stream<'_>,
    ) -> impl Iterator<Item = f32> {
        let mut squares = vec![0f64; count];
        let (mut at, mut sum) = (0, Vec::new());
        stream(&mut |piece| {
            sum.clear();
            sum.extend_from_slice(piece);
            self.add(at, columns, &mut sum);
            by_row(at, columns, &mut sum, |row, column, part| {
                for (column, value) in (column..).zip(part) {
                    let index = if axis == Axis::Rows { row } else { column };
                    squares[index] += f64::from(*value).powi(2);
                }
            });
            at += piece.len();
        });
        squares.into_iter().map(|square| square.sqrt() as f32)
    }
}

fn multiply(at: usize, columns: usize, piece: &mut [f32], factors: &[f32], axis: Axis) {
    by_row(at, columns, piece, |row, column, part| match axis {
        Axis::Rows => part.iter_mut().for_each(|value| *value *= factors[row]),
        Axis::Columns => {
            for (value, factor) in part.iter_mut().zip(&factors[column..]) {
                *value *= factor;
            }
        }
    });
}

/// Calls `each` for every part of a row in `piece`, with the row, the first column and the
/// elements. `piece` begins at the element `at` of the matrix.
fn by_row(
    at: usize,
    columns: usize,
    mut piece: &mut [f32],
    mut each: impl FnMut(usize, usize, &mut [f32]),
) {
    let (mut row, mut column) = (at / columns, at % columns);
    while !piece.is_empty() {
        let count = (columns - column).min(piece.len());
        let (part, rest) = piece.split_at_mut(count);
        each(row, column, part);
        (row, column, piece) = (row + 1, 0, rest);
    }
}
