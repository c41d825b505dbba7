use super::super::kernel::tests::numbers;
use super::super::self_attention::{Pattern, SelfAttention};
use super::*;
use crate::parallel::SingleThread;

/// Attention of one head, in which every query sees every visible key.
#[derive(Clone)]
struct Example {
    /// Queries, keys and values: `[rows, size]`.
    factors: [Vec<f32>; 3],
    mask: Vec<i32>,
    size: usize,
    scale: f32,
}

impl Example {
    fn random(size: usize) -> Self {
        let factors = [(7, 1), (200, 2), (200, 3)];
        let factors = factors.map(|(rows, seed)| numbers(rows * size, seed));
        Self { factors, mask: vec![1; 200], size, scale: 1.0 / size as f32 }
    }

    fn attend(&self) -> Vec<f32> {
        let [queries, keys, values] = &self.factors;
        let attention = SelfAttention {
            queries,
            keys,
            values,
            mask: &self.mask,
            batch: 1,
            queries_of_document: queries.len() / self.size,
            source: self.mask.len(),
            heads: 1,
            kv_heads: 1,
            size: self.size,
            pattern: Pattern::Full,
            bias: None,
            globals: None,
            scale: self.scale,
            softcap: None,
            split: false,
            round: true,
        };
        let mut attended = vec![f32::NAN; queries.len()];
        let Ok(()) = attention.attend(&SingleThread, &mut attended);
        attended
    }

    /// The result in double precision.
    fn exact(&self) -> Vec<f64> {
        let [queries, keys, values] = self.factors.each_ref().map(|rows| -> Vec<Vec<f64>> {
            let rows = rows.chunks(self.size);
            rows.map(|row| row.iter().map(|&value| f64::from(value)).collect()).collect()
        });
        let attend = |query: &Vec<f64>| -> Vec<f64> {
            let probs: Vec<f64> = keys
                .iter()
                .map(|key| query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>())
                .map(|product| (product * f64::from(self.scale)).exp())
                .collect();
            let sum: f64 = probs.iter().sum();
            let column = |column: usize| -> f64 {
                let weighted = probs.iter().zip(&values);
                weighted.map(|(prob, value)| prob * value[column] / sum).sum()
            };
            (0..self.size).map(column).collect()
        };
        queries.iter().flat_map(attend).collect()
    }

    fn check(&self, tolerance: f64) {
        for (index, (value, exact)) in self.attend().into_iter().zip(self.exact()).enumerate() {
            let error = (f64::from(value) - exact).abs();
            assert!(error < tolerance, "{index} of {}: {value}, not {exact}", self.size);
        }
    }
}

#[test]
fn a_long_tail_of_small_probabilities_counts() {
    for (count, score) in [(1024, -10.5), (1024, -11.0), (5000, -12.0)] {
        for largest in [0, 100, count - 1] {
            let (mut keys, mut values) = (vec![score; count], vec![1.0; count]);
            (keys[largest], values[largest]) = (0.0, 0.0);
            let mask = vec![1; count];
            let factors = [vec![1.0], keys, values];
            // A probability in the block of the largest counts from 2^-15 of it on.
            Example { factors, mask, size: 1, scale: 1.0 }.check(64.0 / 32768.0);
        }
    }
}

#[test]
fn rows_and_columns_are_rounded_as_one_value_at_a_time() {
    if !is_available() {
        return;
    }
    let magnitude =
        |values: &[f32]| values.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
    let integer = |value: f32, inverse: f32| (value * inverse).round_ties_even() as i16;
    for size in (1..=70).chain([511, 512]) {
        let [first, second] = [1, 2].map(|seed| numbers(size, seed));
        let mut pairs = vec![Pair([7, 7]); size.div_ceil(2) + 1];
        // SAFETY: the processor has the instructions.
        let scale = unsafe { round_row(&first, &mut pairs) };
        let (largest, limit) = (magnitude(&first), max_factor(size));
        assert_eq!(scale, largest / limit);
        let integers: Vec<_> = pairs.iter().flat_map(|pair| pair.0).collect();
        let mut expected: Vec<_> =
            first.iter().map(|&value| integer(value, limit / largest)).collect();
        expected.resize(size.next_multiple_of(2), 0);
        expected.extend([7, 7]);
        assert_eq!(integers, expected);

        let row = padded_head_size(size);
        let mut largest = vec![1e-3_f32.to_bits(); row];
        let mut pairs = vec![Pair([7, 7]); row];
        // SAFETY: the processor has the instructions.
        unsafe {
            update_largest(&mut largest, &first);
            update_largest(&mut largest, &second);
        }
        let inverses: Vec<_> =
            largest.iter().map(|&bits| MAX_VALUE / f32::from_bits(bits)).collect();
        // SAFETY: the processor has the instructions.
        unsafe { round_columns([&first, &second], &inverses, &mut pairs) };
        for (column, (largest, Pair(pair))) in largest.into_iter().zip(pairs).enumerate() {
            let [first, second] = [&first, &second].map(|row| row.get(column).copied());
            let values = [first.unwrap_or(0.0), second.unwrap_or(0.0)];
            assert_eq!(f32::from_bits(largest), magnitude(&values).max(1e-3));
            assert_eq!(pair, values.map(|value| integer(value, inverses[column])));
        }
    }
}

#[test]
fn heads_of_any_size_have_their_bits() {
    for size in [1, 15, 63, 64, 65, 128, 256, 512, 513] {
        // Values are up to 2, in steps of 2 / 2047. Scores are more exact.
        Example::random(size).check(1.5e-3);
    }
}

#[test]
fn sums_of_the_largest_integers_fit() {
    for size in [1, 63, 64, 65, 128, 256, 512, 513] {
        for sign in [1.0, -1.0] {
            let mut example = Example::random(size);
            for factor in &mut example.factors {
                factor.fill(3.0 * sign);
            }
            example.check(1e-4);
            // All keys have the same integers, with different scales.
            for (position, key) in example.factors[1].chunks_mut(size).enumerate() {
                key.fill(3.0 * sign / (1 + position) as f32);
            }
            for (position, value) in example.factors[2].chunks_mut(size).enumerate() {
                value.fill(if position < 3 { 3.0 } else { 0.0 });
            }
            example.check(1e-3);
        }
    }
}

#[test]
fn a_number_that_is_not_finite_spoils_only_results_that_it_is_part_of() {
    if !is_available() {
        return;
    }
    let size = 20;
    let fine = Example::random(size);
    let expected = fine.attend();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (factor, spoils) in [
            (0, (|row, _| row == 3) as fn(usize, usize) -> bool),
            (1, |_, _| true),
            (2, |_, column| column == 5),
        ] {
            let mut example = fine.clone();
            example.factors[factor][3 * size + 5] = bad;
            let attended = example.attend().into_iter().zip(&expected).enumerate();
            for (index, (value, expected)) in attended {
                match spoils(index / size, index % size) {
                    true => assert!(!value.is_finite(), "{bad} in {factor}: {value}"),
                    false => assert_eq!(value, *expected, "{bad} in {factor}"),
                }
            }
        }
    }
}

#[test]
fn hidden_positions_change_nothing() {
    let size = 20;
    let mut example = Example::random(size);
    let hidden = [0, 3, 64, 65, 131, 198];
    for position in hidden {
        example.mask[position] = 0;
    }
    let expected = example.attend();
    for bad in [1e6, f32::INFINITY, f32::NAN] {
        let mut example = example.clone();
        for position in hidden {
            for factor in &mut example.factors[1..] {
                factor[position * size..][..size].fill(bad);
            }
        }
        // Without AVX-512 VNNI the attention is float32, where 0 times infinity is not 0.
        if is_available() || bad.is_finite() {
            assert_eq!(example.attend(), expected, "{bad}");
        }
    }
}
