use proptest::prelude::*;
use proptest::sample::Index;

use super::super::kernel::tests::numbers;
use super::*;
use crate::parallel::SingleThread;
use crate::parallel::tests::Threads;

/// Global keys and values, their mask, their biases by distance, and the block of each query.
type GlobalExample = ([Vec<f32>; 2], Vec<i32>, Option<(Vec<f32>, Vec<i32>)>);

/// The input of the attention of one document.
#[derive(Clone, Debug)]
struct Example {
    heads: usize,
    size: usize,
    pattern: Pattern,
    /// Queries, `[queries, heads * size]`, and keys and values, `[source, heads * size]` each.
    matrices: [Vec<f32>; 3],
    mask: Vec<i32>,
    /// Biases by distance: `[heads, distances]`.
    bias: Option<Vec<f32>>,
    globals: Option<GlobalExample>,
}

impl Example {
    fn hidden(&self) -> usize {
        self.heads * self.size
    }

    fn queries(&self) -> usize {
        self.matrices[0].len() / self.hidden()
    }

    fn relative<'a>(&self, values: &'a [f32]) -> RelativeBias<'a> {
        let dims = [self.heads, values.len() / self.heads];
        RelativeBias::new(&dims, values, self.heads).expect("an odd number of distances")
    }

    /// The soft cap, which only heads of even size have.
    fn softcap(&self) -> Option<f32> {
        self.size.is_multiple_of(2).then_some(3.0)
    }

    fn attend<P: ThreadPool>(&self, pool: &P, [split, round]: [bool; 2]) -> Vec<f32> {
        let [queries, keys, values] = &self.matrices;
        let attention = SelfAttention {
            queries,
            keys,
            values,
            mask: &self.mask,
            batch: 1,
            queries_of_document: self.queries(),
            source: self.mask.len(),
            heads: self.heads,
            kv_heads: self.heads,
            size: self.size,
            pattern: self.pattern,
            bias: self.bias.as_deref().map(|bias| self.relative(bias)),
            globals: self.globals.as_ref().map(|([keys, values], mask, bias)| Globals {
                keys,
                values,
                mask,
                count: mask.len(),
                bias: bias
                    .as_ref()
                    .map(|(bias, blocks)| GlobalBias { bias: self.relative(bias), blocks }),
            }),
            scale: 0.5,
            softcap: self.softcap(),
            split,
            round,
        };
        let mut attended = vec![f32::NAN; queries.len()];
        assert!(attention.attend(pool, &mut attended).is_ok());
        attended
    }

    /// The bias of a query's score for the key of a token; `None` if the query does not see it.
    fn position_bias(&self, head: usize, query: usize, key: usize) -> Option<f64> {
        let source = self.mask.len();
        let pattern_bias = match self.pattern {
            Pattern::Full => 0.0,
            Pattern::Window { before, after } if key + before >= query && key <= query + after => {
                0.0
            }
            Pattern::Blocks { size, lead } if (query + lead) / size == (key + lead) / size => 0.0,
            Pattern::BigBird { size, random_blocks } => {
                let [query, key, last] = [query, key, source - 1].map(|at| at / size);
                let full = source <= (5 + 2 * random_blocks) * size;
                match query == 0 || query == last || full {
                    true => 0.0,
                    false if key == 0 => (1.0 + random_blocks as f64).ln(),
                    false if key == last || query.abs_diff(key) <= 1 => 0.0,
                    false => return None,
                }
            }
            _ => return None,
        };
        let all = self.globals.is_none() && self.mask.iter().all(|&visible| visible == 0);
        (all || self.mask[key] != 0).then(|| {
            let bias = self.bias.as_ref();
            pattern_bias
                + bias.map_or(0.0, |bias| self.by_distance(bias, head, key, query as isize))
        })
    }

    fn by_distance(&self, bias: &[f32], head: usize, key: usize, query: isize) -> f64 {
        let distances = bias.len() / self.heads;
        let farthest = (distances / 2) as isize;
        let distance = (key as isize - query).clamp(-farthest, farthest) + farthest;
        f64::from(bias[head * distances + distance as usize])
    }

    /// The result of a query and head in double precision.
    fn exact(&self, query: usize, head: usize) -> Vec<f64> {
        let row = |matrix: &[f32], row: usize| -> Vec<f64> {
            let first = row * self.hidden() + head * self.size;
            matrix[first..][..self.size].iter().map(|&value| f64::from(value)).collect()
        };
        let [queries, keys, values] = &self.matrices;
        let own = row(queries, query);
        let product = |key: &[f64]| -> f64 {
            let product = own.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() * 0.5;
            let softcap = self.softcap().map(f64::from);
            softcap.map_or(product, |softcap| (product / softcap).tanh() * softcap)
        };
        let mut seen: Vec<(f64, Vec<f64>)> = (0..self.mask.len())
            .filter_map(|key| {
                let bias = self.position_bias(head, query, key)?;
                Some((product(&row(keys, key)) + bias, row(values, key)))
            })
            .collect();
        if let Some(([keys, values], mask, bias)) = &self.globals {
            for key in (0..mask.len()).filter(|&key| mask[key] != 0) {
                let bias = bias.as_ref().map_or(0.0, |(bias, blocks)| {
                    self.by_distance(bias, head, key, blocks[query] as isize)
                });
                seen.push((product(&row(keys, key)) + bias, row(values, key)));
            }
        }
        let max = seen.iter().map(|(score, _)| *score).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = seen.iter().map(|(score, _)| (score - max).exp()).sum();
        (0..self.size)
            .map(|column| {
                let weighted =
                    |(score, value): &(f64, Vec<f64>)| (score - max).exp() / sum * value[column];
                seen.iter().map(weighted).sum()
            })
            .collect()
    }

    fn check(&self, queries: impl Iterator<Item = usize>) -> Result<(), TestCaseError> {
        let hidden = self.hidden();
        let attended = self.attend(&SingleThread, [false, false]);
        let split = self.attend(&SingleThread, [true, false]);
        let rounded = self.attend(&SingleThread, [false, true]);
        prop_assert!(attended.iter().all(|value| value.is_finite()));
        prop_assert_eq!(&attended, &self.attend(&Threads, [false, false]));
        prop_assert_eq!(&rounded, &self.attend(&Threads, [false, true]));
        for query in queries {
            for head in 0..self.heads {
                let columns = query * hidden + head * self.size;
                for (column, exact) in self.exact(query, head).into_iter().enumerate() {
                    // Values are up to 2, so half a step of a rounded value is 5e-4. Scores and
                    // probabilities are more exact.
                    for (result, tolerance) in
                        [(&attended, 1e-4), (&split, 1e-3), (&rounded, 2.5e-3)]
                    {
                        let value = f64::from(result[columns + column]);
                        let error = (value - exact).abs();
                        prop_assert!(error < tolerance, "{value} and not {exact}");
                    }
                }
            }
        }
        // Padding after the document changes nothing, unless the pattern depends on the length.
        if matches!(self.pattern, Pattern::BigBird { .. }) || self.mask.iter().all(|&v| v == 0) {
            return Ok(());
        }
        let mut padded = self.clone();
        padded.mask.extend([0; 40]);
        for matrix in &mut padded.matrices {
            matrix.extend(vec![1e6; 40 * hidden]);
        }
        if let Some((rows, mask, bias)) = &mut padded.globals {
            mask.extend([0; 40]);
            for matrix in rows {
                matrix.extend(vec![1e6; 40 * hidden]);
            }
            if let Some((_, blocks)) = bias {
                blocks.extend([-1; 40]);
            }
        }
        for (alone, arithmetic) in [(attended, [false, false]), (rounded, [false, true])] {
            prop_assert_eq!(&alone, &padded.attend(&SingleThread, arithmetic)[..alone.len()]);
        }
        Ok(())
    }
}

fn patterns() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        Just(Pattern::Full),
        (0_usize..70, 0_usize..70).prop_map(|(before, after)| Pattern::Window { before, after }),
        (1_usize..70, any::<Index>())
            .prop_map(|(size, lead)| Pattern::Blocks { size, lead: lead.index(size) }),
        (1_usize..20, 0_usize..3)
            .prop_map(|(size, random_blocks)| Pattern::BigBird { size, random_blocks }),
    ]
}

proptest! {
    #[test]
    fn agrees_with_double_precision_and_ignores_padding(
        (heads, size) in (1_usize..3, 1_usize..40),
        pattern in patterns(),
        mask in prop::collection::vec(0..3, 1..170),
        bias in prop::option::of(0_usize..40),
        globals in prop::option::of((prop::collection::vec(0..3, 1..40), any::<bool>())),
        seed: u32,
    ) {
        let (hidden, source) = (heads * size, mask.len());
        let matrix = |rows, salt| numbers(rows * hidden, seed ^ salt);
        let table = |farthest: usize, salt| numbers(heads * (2 * farthest + 1), seed ^ salt);
        let globals = globals.map(|(mask, with_bias)| {
            let count = mask.len();
            let blocks = (0..source).map(|at| (at / 4).min(count) as i32 - 1).collect();
            let bias = with_bias.then(|| (table(5, 6), blocks));
            ([matrix(count, 4), matrix(count, 5)], mask, bias)
        });
        let bias = match pattern {
            Pattern::BigBird { .. } => None,
            _ => bias.map(|farthest| table(farthest, 3)),
        };
        let matrices = [matrix(source, 0), matrix(source, 1), matrix(source, 2)];
        let example = Example { heads, size, pattern, matrices, mask, bias, globals };
        // The result of a hidden token may be anything.
        let visible = |query: &usize| example.mask[*query] != 0 || pattern == Pattern::Full;
        let all = example.mask.iter().all(|&visible| visible == 0);
        example.check((0..source).filter(|query| !all && visible(query)))?;
    }
}

/// Checks a document of several tasks and several segments of keys.
fn check_long(pattern: Pattern) {
    let (size, source) = (3, QUERIES_PER_TASK + 37);
    let globals = [numbers(1100 * size, 3), numbers(1100 * size, 4)];
    let mut mask = vec![1; source];
    mask[100..1200].fill(0);
    let example = Example {
        heads: 1,
        size,
        pattern,
        matrices: [0, 1, 2].map(|salt| numbers(source * size, salt)),
        mask,
        bias: None,
        globals: Some((globals, vec![1; 1100], None)),
    };
    let some = (0..source).step_by(501).chain([source - 1]);
    example.check(some).expect("the same result");
}

#[test]
fn full_attention_over_a_long_document_agrees_with_double_precision() {
    check_long(Pattern::Full);
}

#[test]
fn windows_of_a_long_document_agree_with_double_precision() {
    check_long(Pattern::Window { before: 700, after: 700 });
}

#[test]
fn blocks_of_a_long_document_agree_with_double_precision() {
    check_long(Pattern::Blocks { size: 1500, lead: 750 });
}

#[test]
fn bigbird_over_a_long_document_agrees_with_double_precision() {
    check_long(Pattern::BigBird { size: 64, random_blocks: 3 });
}

#[test]
fn queries_that_are_not_tokens_see_all_tokens() {
    let (heads, size, source, count) = (2, 5, 61, 7);
    let hidden = heads * size;
    let matrix = |rows: usize, salt| numbers(rows * hidden, salt);
    let example = Example {
        heads,
        size,
        pattern: Pattern::Full,
        matrices: [matrix(count, 0), matrix(source, 1), matrix(source, 2)],
        mask: vec![1; source],
        bias: None,
        globals: Some(([matrix(count, 3), matrix(count, 4)], vec![1; count], None)),
    };
    example.check(0..count).expect("the same result");
}

#[test]
fn heads_that_share_keys_equal_heads_with_repeated_keys() {
    let (heads, kv_heads, size, source) = (4, 2, 5, 37);
    let queries = numbers(source * heads * size, 1);
    let [keys, values] = [2, 3].map(|seed| numbers(source * kv_heads * size, seed));
    let repeated = |shared: &[f32]| -> Vec<f32> {
        shared.chunks(size).flat_map(|head| [head, head].concat()).collect()
    };
    let mask = vec![1; source];
    let attended = |keys: &[f32], values: &[f32], kv_heads| {
        let attention = SelfAttention {
            queries: &queries,
            keys,
            values,
            mask: &mask,
            batch: 1,
            queries_of_document: source,
            source,
            heads,
            kv_heads,
            size,
            pattern: Pattern::Window { before: 9, after: 4 },
            bias: None,
            globals: None,
            scale: 0.5,
            softcap: None,
            split: false,
            round: false,
        };
        let mut attended = vec![f32::NAN; queries.len()];
        let Ok(()) = attention.attend(&SingleThread, &mut attended);
        attended
    };
    let expected = attended(&repeated(&keys), &repeated(&values), heads);
    assert_eq!(attended(&keys, &values, kv_heads), expected);
}
