//! int8: each output has a scale of its own.

use epitome_kernels::int8::MAX_WEIGHT;
use epitome_kernels::panels::{PANEL, packed_shape, padded_inputs, position};
use epitome_kernels::simd::ROUND;

use super::inverse;
use super::packing::{Format, Packing};

/// Packs int8 weights, and keeps each output's scale and the sum of its integers.
#[derive(Debug, Default)]
pub struct Int8 {
    scales: Vec<f32>,
    sums: Vec<f32>,
}

/// Largest integer.
const LIMIT: f32 = MAX_WEIGHT as f32;

impl Packing for Int8 {
    fn format(&self) -> Format {
        Format::Int8
    }

    fn activation_bits(&self, wanted: i64) -> Option<i64> {
        Some(wanted)
    }

    fn shape(&self, size_out: usize, size_in: usize) -> Vec<usize> {
        packed_shape(size_out, size_in).to_vec()
    }

    fn panel(&mut self, rows: &[f32], size_in: usize, packed: &mut Vec<u8>) {
        let start = packed.len();
        packed.resize(start + padded_inputs(size_in) * PANEL, 0);
        let packed = &mut packed[start..];
        for (output, row) in rows.chunks_exact(size_in).enumerate() {
            let scale = best_scale(row);
            let inverse = inverse(scale);
            let mut sum = 0;
            for (input, &weight) in row.iter().enumerate() {
                let integer = round(weight * inverse) as i8;
                packed[position(output, input)] = integer as u8;
                sum += i32::from(integer);
            }
            self.scales.push(scale);
            self.sums.push(sum as f32);
        }
    }

    fn columns(&self) -> Vec<f32> {
        [self.scales.as_slice(), &self.sums].concat()
    }
}

/// Fractions of a row's largest magnitude that are tried for the largest integer: clipping outliers
/// can reduce the error of the other weights.
const SHARES: [f32; 8] = [1.0, 0.96, 0.92, 0.88, 0.84, 0.8, 0.74, 0.68];

/// The scale with the smallest squared error, refined by least squares for its integers.
fn best_scale(row: &[f32]) -> f32 {
    let greatest = row.iter().fold(0.0f32, |greatest, weight| greatest.max(weight.abs()));
    let (_, scale) = SHARES
        .iter()
        .map(|share| {
            let scale = greatest * share / LIMIT;
            (error(row, scale), scale)
        })
        .min_by(|(left, _), (right, _)| left.total_cmp(right))
        .expect("there are shares");
    let inverse = inverse(scale);
    let (product, square) = row.iter().fold((0.0, 0.0), |(product, square), &weight| {
        let integer = round(weight * inverse);
        (product + integer * weight, square + integer * integer)
    });
    let refined = product / square;
    if refined.is_finite() && error(row, refined) < error(row, scale) { refined } else { scale }
}

/// Squared error of a row that is rounded with this scale.
fn error(row: &[f32], scale: f32) -> f32 {
    let inverse = inverse(scale);
    const LANES: usize = 16;
    let mut lanes = [0.0f32; LANES];
    for chunk in row.chunks(LANES) {
        for (lane, &weight) in lanes.iter_mut().zip(chunk) {
            let error = weight - round(weight * inverse) * scale;
            *lane += error * error;
        }
    }
    lanes.iter().sum()
}

/// The nearest integer within the limit. Unlike `f32::round`, adding [`ROUND`] needs only baseline
/// instructions.
fn round(value: f32) -> f32 {
    (value.clamp(-LIMIT, LIMIT) + ROUND) - ROUND
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The matrix that the packed weights represent.
    fn unpack(packed: &[u8], packing: &Int8, size_in: usize) -> Vec<Vec<f32>> {
        let panel_size = padded_inputs(size_in) * PANEL;
        (0..packing.scales.len())
            .map(|output| {
                let panel = &packed[output / PANEL * panel_size..][..panel_size];
                (0..size_in)
                    .map(|input| {
                        let integer = panel[position(output % PANEL, input)] as i8;
                        f32::from(integer) * packing.scales[output]
                    })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn weights_come_back_within_half_a_step() {
        for size_in in [1, 7, 8, 21, 64] {
            let rows: Vec<f32> = (0..PANEL * size_in)
                .map(|index| ((index * 37 % 101) as f32 - 50.0) / 80.0)
                .collect();
            let (mut packing, mut packed) = (Int8::default(), Vec::new());
            packing.panel(&rows, size_in, &mut packed);
            let expected = packed_shape(PANEL, size_in).iter().product::<usize>();
            assert_eq!(packed.len(), expected);
            let back = unpack(&packed, &packing, size_in);
            for (row, back) in rows.chunks(size_in).zip(&back) {
                let greatest = row.iter().fold(1e-9f32, |max, weight| max.max(weight.abs()));
                let error =
                    |a: &[f32]| -> f32 { row.iter().zip(a).map(|(a, b)| (a - b) * (a - b)).sum() };
                let plain: Vec<f32> = row
                    .iter()
                    .map(|weight| (weight / greatest * LIMIT).round() * greatest / LIMIT)
                    .collect();
                assert!(error(back) <= error(&plain) * 1.001 + 1e-12, "size {size_in}");
            }
            for (output, sum) in packing.sums.iter().enumerate() {
                let panel: i32 = (0..size_in)
                    .map(|input| i32::from(packed[position(output, input)] as i8))
                    .sum();
                assert_eq!(*sum, panel as f32);
            }
        }
    }

    #[test]
    fn zeros_and_next_to_nothing_are_finite() {
        let mut rows = vec![0.0; PANEL * 4];
        rows[4] = f32::MIN_POSITIVE / 4.0;
        rows[8] = f32::MAX / 2.0;
        let (mut packing, mut packed) = (Int8::default(), Vec::new());
        packing.panel(&rows, 4, &mut packed);
        assert!(packing.columns().iter().all(|value| value.is_finite()));
        assert!(packed.iter().all(|&byte| f32::from((byte as i8).unsigned_abs()) <= LIMIT));
        let back = unpack(&packed, &packing, 4);
        assert!((back[2][0] / rows[8] - 1.0).abs() < 1e-6);
    }
}
