//! LexRank (Erkan and Radev, 2004): scores sentences by how similar the other sentences are.
//!
//! This is continuous LexRank: the PageRank of the graph whose edges are the cosines of the
//! sentences' tf-idf vectors. The matrix of cosines is the product of the matrix of vectors and its
//! transpose. It is never computed, so time and memory are linear in the length of the text.

use std::collections::HashMap;

use super::words;

/// Probability to follow an edge of the graph, instead of going to any sentence.
const DAMPING: f64 = 0.85;
/// Maximum number of steps of the power iteration.
const MAX_STEPS: usize = 50;
/// The power iteration ends if the sum of all changes is below this.
const TOLERANCE: f64 = 1e-6;

/// A score for each sentence. They add up to 1.
pub(super) fn scores(sentences: &[&str]) -> Vec<f64> {
    let count = sentences.len();
    let vectors = vectors(sentences);
    let terms = vectors.iter().flatten().map(|(term, _)| term + 1).max().unwrap_or(0);
    // Sum of each row of the matrix of cosines.
    let row_sums = times_cosines(&vectors, terms, &vec![1.0; count]);
    let mut scores = vec![1.0 / count as f64; count];
    for _ in 0..MAX_STEPS {
        let share = |(score, sum): (&f64, &f64)| if *sum > 0.0 { score / sum } else { 0.0 };
        let shares: Vec<f64> = scores.iter().zip(&row_sums).map(share).collect();
        let mut next = times_cosines(&vectors, terms, &shares);
        // Sentences without words pass their score on to all sentences.
        let passed: f64 = next.iter().sum();
        let rest = (1.0 - DAMPING * passed) / count as f64;
        next.iter_mut().for_each(|score| *score = DAMPING * *score + rest);
        let change: f64 = next.iter().zip(&scores).map(|(a, b)| (a - b).abs()).sum();
        scores = next;
        if change < TOLERANCE {
            break;
        }
    }
    scores
}

/// A sparse unit vector: (number of the term, weight).
type Vector = Vec<(usize, f64)>;

fn vectors(sentences: &[&str]) -> Vec<Vector> {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    // Number of sentences that contain each term.
    let mut found_in: Vec<u32> = Vec::new();
    let mut vectors: Vec<Vector> = Vec::with_capacity(sentences.len());
    for sentence in sentences {
        let mut terms: Vec<usize> = words::terms(sentence)
            .map(|term| {
                let next = numbers.len();
                *numbers.entry(term).or_insert(next)
            })
            .collect();
        found_in.resize(numbers.len(), 0);
        terms.sort_unstable();
        let counted = terms.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as f64));
        let vector: Vector = counted.collect();
        for (term, _) in &vector {
            found_in[*term] += 1;
        }
        vectors.push(vector);
    }
    for vector in &mut vectors {
        for (term, weight) in &mut *vector {
            *weight *= (1.0 + sentences.len() as f64 / f64::from(found_in[*term])).ln();
        }
        let length = vector.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|(_, weight)| *weight /= length);
    }
    vectors
}

/// The product of the matrix of cosines with a vector.
fn times_cosines(vectors: &[Vector], terms: usize, by: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; terms];
    for (vector, factor) in vectors.iter().zip(by) {
        for (term, weight) in vector {
            sum[*term] += weight * factor;
        }
    }
    let cosine = |vector: &Vector| vector.iter().map(|(term, weight)| weight * sum[*term]).sum();
    vectors.iter().map(cosine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_that_others_are_like_is_first() {
        let sentences = [
            "The council closed the old bridge over the river.",
            "For two millions the council rebuilds the old bridge over the river.",
            "A baker won a prize for her bread.",
            "The council says a new bridge costs two millions.",
            "...",
        ];
        let scores = scores(&sentences);
        let best = (0..5).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        assert_eq!(best, Some(1), "{scores:?}");
        assert!((0..4).all(|other| scores[4] <= scores[other]), "{scores:?}");
        assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    /// Compares with the power iteration over the matrix of cosines.
    #[test]
    fn scores_are_those_of_the_matrix() {
        let sentences = ["a b c", "b c d e", "e f", "g", "a a c g"];
        let vectors = vectors(&sentences);
        let cosine = |a: &Vector, b: &Vector| {
            let shared = a.iter().flat_map(|(term, x)| {
                b.iter().filter(move |(other, _)| other == term).map(move |(_, y)| x * y)
            });
            shared.sum::<f64>()
        };
        let matrix: Vec<Vec<f64>> =
            vectors.iter().map(|a| vectors.iter().map(|b| cosine(a, b)).collect()).collect();
        let mut expected = vec![0.2; 5];
        for _ in 0..200 {
            let next = |to: usize| {
                let from = |from: usize| {
                    expected[from] * matrix[from][to] / matrix[from].iter().sum::<f64>()
                };
                0.15 / 5.0 + 0.85 * (0..5).map(from).sum::<f64>()
            };
            expected = (0..5).map(next).collect();
        }
        for (score, expected) in scores(&sentences).iter().zip(expected) {
            assert!((score - expected).abs() < 1e-5, "{score} {expected}");
        }
    }

    #[test]
    fn nothing_and_one_sentence_have_scores() {
        assert!(scores(&[]).is_empty());
        assert_eq!(scores(&["one"]), [1.0]);
        assert_eq!(scores(&["...", "!"]), [0.5, 0.5]);
    }
}
