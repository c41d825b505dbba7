//! Loads whose cost never changes, to measure the machine with.
//!
//! Baselines hold ratios to these: a change of this file makes every one of them worthless, and must
//! raise [`VERSION`].

use std::hint::black_box;
use std::time::Duration;

use super::clock;
use crate::random::Random;

/// Version of the loads.
pub const VERSION: u32 = 1;

/// Numbers that are accumulated side by side.
const LANES: usize = 16;

/// What a load resembles: a neighbour on the machine may take memory from one and arithmetic from
/// the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Passing over rows of scores, as a search does.
    Rows,
    /// Products with matrices that no near cache holds, as a model does.
    Matrix,
}

/// Both loads.
pub struct Calibration {
    rows: Vec<f32>,
    matrix: Vec<f32>,
    vectors: Vec<f32>,
}

impl Calibration {
    /// Four rows over a vocabulary of 96,103.
    const ROWS: usize = 4 * 96_103;
    /// Passes over the rows.
    const PASSES: usize = 4;
    /// Columns of the matrix.
    const COLUMNS: usize = 192;
    /// Rows of the matrix, which then has 11 MB: what one step of the trained model reads.
    const OUTPUTS: usize = 15_000;

    /// Prepares the loads.
    pub fn new() -> Self {
        let mut random = Random::new(11);
        let mut numbers = |count: usize| (0..count).map(|_| random.normal()).collect::<Vec<_>>();
        Self {
            rows: numbers(Self::ROWS),
            matrix: numbers(Self::COLUMNS * Self::OUTPUTS),
            vectors: numbers(Self::COLUMNS),
        }
    }

    /// Runs a load once, and says how long it took.
    pub fn time(&self, kind: Kind) -> Duration {
        let start = clock::now();
        match kind {
            Kind::Rows => {
                for _ in 0..Self::PASSES {
                    black_box(sum_of_squares(black_box(&self.rows)));
                }
            }
            Kind::Matrix => {
                let vector = black_box(&self.vectors[..]);
                let rows = self.matrix.chunks_exact(Self::COLUMNS);
                black_box(rows.map(|row| dot(row, vector)).fold(0.0, f32::max));
            }
        }
        clock::now() - start
    }
}

impl Default for Calibration {
    fn default() -> Self {
        Self::new()
    }
}

fn sum_of_squares(values: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for lanes in values.chunks_exact(LANES) {
        for (sum, value) in sums.iter_mut().zip(lanes) {
            // A polynomial, so that arithmetic and not only memory is measured.
            *sum += value * (1.0 + value * (0.5 + value * (0.166 + value * 0.041)));
        }
    }
    sums.iter().sum()
}

fn dot(row: &[f32], vector: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (row, vector) in row.chunks_exact(LANES).zip(vector.chunks_exact(LANES)) {
        for (sum, (a, b)) in sums.iter_mut().zip(row.iter().zip(vector)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}
