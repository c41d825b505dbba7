use proptest::prelude::*;

use super::*;

#[derive(Clone)]
struct Example {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    mask: Vec<i32>,
    bias: Vec<f32>,
}

/// Numbers that look random.
pub(in super::super) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32)
        .map(|index| (index.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) % 4001)
        .map(|number| number as f32 / 1000.0 - 2.0)
        .collect()
}

impl Example {
    /// With keys and values that are exact in float16.
    fn in_halves(&self) -> Self {
        let in_halves = |values: &[f32]| {
            let values = values.iter().map(|&value| f16::from_f32(value).to_f32());
            values.collect()
        };
        Self { keys: in_halves(&self.keys), values: in_halves(&self.values), ..self.clone() }
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

/// Attends over keys and values of this type, which hold what the example does.
fn check<E: StoredKv>(
    example: &Example,
    rows: usize,
    size: usize,
    tolerance: f64,
) -> Result<(), TestCaseError> {
    let positions = example.mask.len();
    let mut unwritten = [E::default()];
    E::store(&[f32::NAN], &mut unwritten);
    let mut keys = vec![unwritten[0]; positions.next_multiple_of(LANES) * size];
    pack_keys(&example.keys, size, size, &mut keys);
    let mut values = vec![unwritten[0]; positions * padded_head_size(size)];
    pack_values(&example.values, size, size, &mut values);
    let mask = KeyMask::new(&example.mask);
    let length = mask.length;
    let rows_of = |first: usize| -> Vec<SegmentRow> {
        (first..rows).map(|row| SegmentRow { seen: 0..length, bias: row * positions }).collect()
    };
    let (mut together, mut alone) = (Scratch::default(), Scratch::default());
    let attend = |first: usize, rows, scratch: &mut Scratch| {
        let segment = Segment {
            keys: &keys[..],
            values: &values,
            scales: [&[]; 2],
            view: View { mask, rows: &rows_of(first), bias: Some(&example.bias) },
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
                prop_assert!(error < tolerance, "{value} and not {exact}");
            }
        }
        prop_assert!(result.iter().all(|value| value.is_finite()));
        attend(row, 1, &mut alone);
        prop_assert_eq!(result, &alone.attended[..padded_head_size(size)]);
    }
    Ok(())
}

#[test]
fn halves_of_large_numbers_stay_finite() {
    let mut packed = [f16::ZERO; LANES];
    pack_values(&[1e6, -1e6, 65504.0, 1.0], 4, 4, &mut packed);
    let max = f16::MAX;
    assert_eq!(packed[..4], [max, -max, max, f16::ONE]);
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
        check::<f32>(&example, rows, size, 1e-4)?;
        check::<f16>(&example.in_halves(), rows, size, 1e-4)?;
    }
}
