use proptest::prelude::*;

use super::*;
use crate::attention::element::{pack_keys, pack_values};
use crate::attention::padded_positions;
use crate::simd::lanes::Portable;

#[derive(Clone)]
struct Example {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    mask: Vec<i32>,
    bias: Vec<f32>,
}

/// Pseudorandom numbers from -2 to 2.
pub(in super::super) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32)
        .map(|index| (index.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) % 4001)
        .map(|number| number as f32 / 1000.0 - 2.0)
        .collect()
}

impl Example {
    /// The example with its keys and values rounded to elements of type `E`.
    fn stored<E: StoredKv>(&self, size: usize) -> Self {
        let stored = |rows: &[f32]| {
            let round = |row: &[f32]| {
                let (mut stored, mut scale) = ([E::default(); 80], vec![E::default(); E::SCALE]);
                E::store(row, &mut stored[..size], &mut scale);
                let (mut numbers, mut factor) = ([0.0; 80], [1.0]);
                for (from, to) in stored.as_chunks().0.iter().zip(numbers.as_chunks_mut().0) {
                    E::load::<Portable>(from).store(to);
                }
                E::multiply(&mut factor, &scale);
                numbers[..size].iter().map(|number| number * factor[0]).collect::<Vec<_>>()
            };
            rows.chunks(size).flat_map(round).collect()
        };
        Self { keys: stored(&self.keys), values: stored(&self.values), ..self.clone() }
    }

    /// The result of a row in double precision, for scores multiplied with 0.5.
    fn exact(&self, row: usize, size: usize) -> Vec<f64> {
        let positions = self.mask.len();
        let scores: Vec<f64> = (0..positions)
            .map(|position| {
                let product: f64 = (0..size)
                    .map(|index| {
                        f64::from(self.queries[row * size + index])
                            * f64::from(self.keys[position * size + index])
                    })
                    .sum();
                product * 0.5 + f64::from(self.bias[row * positions + position])
            })
            .collect();
        let all = self.mask.iter().all(|&visible| visible == 0);
        let weights: Vec<f64> = scores
            .iter()
            .zip(&self.mask)
            .map(|(score, &visible)| if all || visible != 0 { score.exp() } else { 0.0 })
            .collect();
        let sum: f64 = weights.iter().sum();
        (0..size)
            .map(|index| {
                (0..positions)
                    .map(|position| {
                        weights[position] / sum * f64::from(self.values[position * size + index])
                    })
                    .sum()
            })
            .collect()
    }
}

/// Checks attention over keys and values of type `E`. Their memory is first filled with
/// `not_a_number`.
fn check<E: StoredKv>(
    example: &Example,
    rows: usize,
    size: usize,
    not_a_number: E,
) -> Result<(), TestCaseError> {
    let positions = example.mask.len();
    let visible = KeyMask::new(&example.mask).length;
    let padded = padded_positions(visible);
    let mut keys = vec![not_a_number; padded * (E::SCALE + size)];
    pack_keys(&example.keys[..visible * size], size, size, &mut keys);
    let mut values = vec![not_a_number; padded * (E::SCALE + padded_head_size(size))];
    pack_values(&example.values[..visible * size], size, size, &mut values);
    let example = &example.stored::<E>(size);
    let mask = KeyMask::new(&example.mask);
    let length = mask.length;
    let rows_from = |first: usize| -> Vec<SegmentRow> {
        (first..rows).map(|row| SegmentRow { seen: 0..length, bias: row * positions }).collect()
    };
    let (mut together, mut alone) = (Scratch::default(), Scratch::default());
    let attend = |first: usize, rows, scratch: &mut Scratch| {
        let segment = Segment {
            keys: &keys[..],
            values: &values,
            scales: [&[]; 2],
            view: View { mask, rows: &rows_from(first), bias: Some(&example.bias) },
        };
        let head = Head {
            queries: &example.queries[first * size..],
            rows,
            stride: size,
            size,
            segments: &[segment],
            prefetch: rows > 1,
            scale: 0.5,
            softcap: None,
        };
        E::attend(&head, scratch);
    };
    attend(0, rows, &mut together);
    let hidden = example.mask.iter().all(|&visible| visible == 0);
    for (row, result) in together.attended.chunks(padded_head_size(size)).enumerate() {
        if !hidden {
            for (value, exact) in result.iter().zip(example.exact(row, size)) {
                let error = (f64::from(*value) - exact).abs();
                prop_assert!(error < 1e-4, "{value} and not {exact}");
            }
        }
        prop_assert!(result.iter().all(|value| value.is_finite()));
        attend(row, 1, &mut alone);
        prop_assert_eq!(result, &alone.attended[..padded_head_size(size)]);
    }
    Ok(())
}

proptest! {
    #[test]
    fn agrees_with_double_precision_and_row_by_row(
        rows in 1_usize..15,
        size in 1_usize..80,
        mask in prop::collection::vec(0..3, 1..170),
        seed: u32,
    ) {
        let positions = mask.len();
        let example = Example {
            queries: numbers(rows * size, seed),
            keys: numbers(positions * size, seed ^ 1),
            values: numbers(positions * size, seed ^ 2),
            mask,
            bias: numbers(rows * positions, seed ^ 3),
        };
        check(&example, rows, size, f32::NAN)?;
        check(&example, rows, size, f16::NAN)?;
        // As a scale, these bytes are NaN.
        check(&example, rows, size, -1_i8)?;
    }
}
