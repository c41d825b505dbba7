//! How keys and values are stored: as floats, or as 8-bit integers with a scale for each position.

use std::fmt::Debug;

use super::padding::padded_head_size;
use crate::dispatch;
use crate::simd::ROUND;
use crate::simd::lanes::{FloatElement, LANES, Lanes};

/// Element type of stored keys and values.
///
/// The keys (or values) of a head are stored as the scales of all positions, if the type has
/// scales, and then the numbers.
pub trait StoredElement: Copy + Debug + Default + Send + Sync + 'static {
    /// Elements of the scale of a position; 0 without scales.
    const SCALE: usize;

    /// Widens sixteen numbers. The caller applies the scales.
    fn load<L: Lanes>(from: &[Self; LANES]) -> L;

    /// Stores the numbers of a position, rounded to the nearest, and its scale.
    ///
    /// # Panics
    ///
    /// When the slices have different lengths, or the scale is not of [`Self::SCALE`] elements.
    fn store(from: &[f32], to: &mut [Self], scale: &mut [Self]);

    /// Multiplies one number of each position with the scale of the position.
    fn multiply(numbers: &mut [f32], scales: &[Self]);

    /// Whether all keys (or values) of a head are finite numbers.
    fn are_finite(stored: &[Self], positions: usize) -> bool;
}

impl<E: FloatElement> StoredElement for E {
    const SCALE: usize = 0;

    #[inline(always)]
    fn load<L: Lanes>(from: &[Self; LANES]) -> L {
        FloatElement::load(from)
    }

    fn store(from: &[f32], to: &mut [Self], _: &mut [Self]) {
        FloatElement::store(from, to);
    }

    #[inline(always)]
    fn multiply(_: &mut [f32], _: &[Self]) {}

    fn are_finite(stored: &[Self], _: usize) -> bool {
        stored.iter().all(|number| number.widen().is_finite())
    }
}

/// The largest integer. The smallest is its negative.
const MAX: f32 = 127.0;
/// Elements of a scale, whose type is float32.
const SCALE: usize = size_of::<f32>();

/// The elements of a scale.
fn to_elements(scale: f32) -> [i8; SCALE] {
    scale.to_ne_bytes().map(u8::cast_signed)
}

#[inline(always)]
fn to_scale(&[a, b, c, d]: &[i8; SCALE]) -> f32 {
    f32::from_ne_bytes([a as u8, b as u8, c as u8, d as u8])
}

/// Integers from -127 to 127, which stand for the numbers of a position from the negative of its
/// largest magnitude to the largest magnitude. If a number is not finite, the scale of the position
/// is NaN. If the largest magnitude is below 4e-37, all integers are 0.
impl StoredElement for i8 {
    const SCALE: usize = SCALE;

    #[inline(always)]
    fn load<L: Lanes>(from: &[Self; LANES]) -> L {
        L::load_integers(from)
    }

    fn store(from: &[f32], to: &mut [Self], scale: &mut [Self]) {
        scale.copy_from_slice(&to_elements(round(from, to)));
    }

    #[inline(always)]
    fn multiply(numbers: &mut [f32], scales: &[Self]) {
        for (number, scale) in numbers.iter_mut().zip(scales.as_chunks().0) {
            *number *= to_scale(scale);
        }
    }

    fn are_finite(stored: &[Self], positions: usize) -> bool {
        let (scales, _) = stored[..positions * SCALE].as_chunks();
        scales.iter().all(|scale| to_scale(scale).is_finite())
    }
}

#[inline(always)]
fn round_body(from: &[f32], to: &mut [i8]) -> f32 {
    assert_eq!(from.len(), to.len(), "slices of one length");
    // The bits of magnitudes have the order of the magnitudes.
    let largest = from.iter().map(|number| number.to_bits() & !(1 << 31)).max().unwrap_or(0);
    let largest = f32::from_bits(largest);
    if !largest.is_finite() {
        to.fill(0);
        return f32::NAN;
    }
    let inverse = if largest > 0.0 { MAX / largest } else { 0.0 };
    for (integer, &number) in to.iter_mut().zip(from) {
        *integer = (number * inverse + ROUND).to_bits() as i8;
    }
    largest / MAX
}

dispatch! {
    /// Rounds numbers to integers and returns their scale.
    fn round(from: &[f32], to: &mut [i8]) -> f32 = round_body;
}

/// Packs the keys of a head into blocks of [`LANES`] positions. `rows` is `[positions, stride]`,
/// and its first `size` columns are the head's. Further positions of `packed` become zeros.
pub(super) fn pack_keys<E: StoredElement>(
    rows: &[f32],
    stride: usize,
    size: usize,
    packed: &mut [E],
) {
    let (scales, packed) = split_scales(packed, size);
    let mut keys = vec![E::default(); size];
    for (block, packed) in packed.chunks_exact_mut(size * LANES).enumerate() {
        for lane in 0..LANES {
            let position = block * LANES + lane;
            store_row(rows.get(position * stride..), &mut keys, scales, position);
            for (packed, &key) in packed[lane..].iter_mut().step_by(LANES).zip(&keys) {
                *packed = key;
            }
        }
    }
}

/// Packs the values of a head into rows of [`padded_head_size`]. `rows` is `[positions, stride]`,
/// and its first `size` columns are the head's. Padding and further positions become zeros.
pub(super) fn pack_values<E: StoredElement>(
    rows: &[f32],
    stride: usize,
    size: usize,
    packed: &mut [E],
) {
    let row = padded_head_size(size);
    let (scales, packed) = split_scales(packed, row);
    for (position, packed) in packed.chunks_exact_mut(row).enumerate() {
        let (values, padding) = packed.split_at_mut(size);
        store_row(rows.get(position * stride..), values, scales, position);
        padding.fill(E::default());
    }
}

/// Splits the keys (or values) of a head into the scales and the rows of numbers.
fn split_scales<E: StoredElement>(packed: &mut [E], row: usize) -> (&mut [E], &mut [E]) {
    let positions = packed.len() / (E::SCALE + row);
    packed.split_at_mut(positions * E::SCALE)
}

/// Stores the first `to.len()` numbers of `rows`, or zeros if `rows` is shorter.
fn store_row<E: StoredElement>(
    rows: Option<&[f32]>,
    to: &mut [E],
    scales: &mut [E],
    position: usize,
) {
    let scale = &mut scales[position * E::SCALE..][..E::SCALE];
    match rows.and_then(|rows| rows.get(..to.len())) {
        Some(row) => E::store(row, to, scale),
        None => {
            to.fill(E::default());
            scale.fill(E::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;
    use crate::attention::kernel::tests::numbers;

    #[test]
    fn halves_of_large_numbers_stay_finite() {
        let mut packed = [f16::ZERO; LANES];
        pack_values(&[1e6, -1e6, 65504.0, 1.0], 4, 4, &mut packed);
        let max = f16::MAX;
        assert_eq!(packed[..4], [max, -max, max, f16::ONE]);
        assert!(f16::are_finite(&packed, 1));
    }

    #[test]
    fn a_position_that_is_not_finite_spoils_no_other() {
        let rows = [1.0, -2.0, 3.0, f32::INFINITY, 0.0, 0.0, -1e-40, 1e-45, 8.0, f32::NAN];
        let check = |packed: &[i8]| {
            let mut scales = [1.0; LANES];
            i8::multiply(&mut scales, packed);
            assert_eq!(scales[0], 2.0 / MAX);
            assert!(scales[1].is_nan() && scales[4].is_nan());
            assert_eq!(scales[2], 0.0);
            assert!(scales[3] >= 0.0 && scales[5..] == [0.0; LANES - 5]);
            assert!(i8::are_finite(packed, 1) && !i8::are_finite(packed, 2));
        };
        let mut keys = [7; LANES * (SCALE + 2)];
        pack_keys(&rows, 2, 2, &mut keys);
        check(&keys);
        let mut values = [7; LANES * (SCALE + LANES)];
        pack_values(&rows, 2, 2, &mut values);
        check(&values);
    }

    proptest! {
        #[test]
        fn integers_are_within_half_a_step(
            size in 1_usize..100,
            power in -100_i32..120,
            seed: u32,
        ) {
            let factor = 2.0_f32.powi(power);
            let row: Vec<f32> = numbers(size, seed).iter().map(|number| number * factor).collect();
            let (mut integers, mut scale) = (vec![7; size], [7; SCALE]);
            i8::store(&row, &mut integers, &mut scale);
            let scale = to_scale(&scale);
            for (&number, &integer) in row.iter().zip(&integers) {
                let error = (number - f32::from(integer) * scale).abs();
                prop_assert!(error <= 0.5001 * scale, "{} and not {}", integer, number / scale);
            }
            // Plain Rust gives the same bits.
            let mut plain = vec![0; size];
            prop_assert_eq!(round_body(&row, &mut plain).to_bits(), scale.to_bits());
            prop_assert_eq!(plain, integers);
        }
    }
}
