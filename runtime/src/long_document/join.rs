//! Joining the summaries of parts.

use std::collections::HashSet;

use super::sentences::Sentences;
use super::{lexrank, words};

/// Sentences are near-duplicates if the Jaccard index of their words is at least this.
pub(super) const MIN_DUPLICATE_SIMILARITY: f64 = 0.6;
/// Number of previous sentences that a sentence is compared with. Exact duplicates are found at any
/// distance.
const MAX_COMPARED: usize = 64;

/// Sentences of summaries, without near-duplicates.
pub(super) struct Joined {
    sentences: Vec<String>,
}

impl Joined {
    /// Collects the sentences of these summaries in order, and drops near-duplicates.
    pub(super) fn new<'a>(summaries: impl Iterator<Item = &'a str>) -> Self {
        let mut distinct = Distinct::default();
        let mut sentences = Vec::new();
        for summary in summaries {
            let summary = ended(summary.trim());
            for (range, _) in Sentences::new(&summary, &[]) {
                if distinct.is_new(&summary[range.clone()]) {
                    sentences.push(summary[range].to_owned());
                }
            }
        }
        Self { sentences }
    }

    /// Number of words.
    pub(super) fn words(&self) -> usize {
        self.sentences.iter().map(|sentence| words::count(sentence)).sum()
    }

    /// All sentences as one text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for sentence in &self.sentences {
            if !text.is_empty() && !text.ends_with(['。', '！', '？']) {
                text.push(' ');
            }
            text.push_str(sentence);
        }
        text
    }

    /// Keeps the most central sentences that fit into `max_words` words; at least one.
    pub(super) fn keep_central(&mut self, max_words: usize) {
        let sentences: Vec<&str> = self.sentences.iter().map(String::as_str).collect();
        let scores = lexrank::scores(&sentences);
        let mut order: Vec<usize> = (0..sentences.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
        self.keep(order.into_iter(), max_words);
    }

    /// Keeps the first sentences that fit into `max_words` words; at least one.
    pub(super) fn keep_first(&mut self, max_words: usize) {
        self.keep(0..self.sentences.len(), max_words);
    }

    /// Keeps the sentences that fit, in order of preference.
    fn keep(&mut self, order: impl Iterator<Item = usize>, max_words: usize) {
        let mut kept = vec![false; self.sentences.len()];
        let mut left = max_words;
        for (rank, at) in order.enumerate() {
            let words = words::count(&self.sentences[at]);
            if words <= left || rank == 0 {
                kept[at] = true;
                left = left.saturating_sub(words);
            }
        }
        let mut kept = kept.into_iter();
        self.sentences.retain(|_| kept.next() == Some(true));
    }
}

/// Finds near-duplicates among sentences.
#[derive(Default)]
pub(super) struct Distinct {
    seen: HashSet<Vec<String>>,
    kept: Vec<HashSet<String>>,
}

impl Distinct {
    /// Whether no earlier sentence is a duplicate or near-duplicate of this one.
    pub(super) fn is_new(&mut self, sentence: &str) -> bool {
        let terms: Vec<String> = words::terms(sentence).collect();
        let set: HashSet<String> = terms.iter().cloned().collect();
        let recent = self.kept.iter().rev().take(MAX_COMPARED);
        let is_new = !self.seen.contains(&terms)
            && recent
                .into_iter()
                .all(|other| words::similarity(&set, other) < MIN_DUPLICATE_SIMILARITY);
        if is_new {
            self.seen.insert(terms);
            self.kept.push(set);
        }
        is_new
    }
}

/// Adds a missing period to a summary, so that another one can follow.
fn ended(summary: &str) -> String {
    let mut summary = summary.to_owned();
    if summary.ends_with(char::is_alphanumeric) {
        summary.push('.');
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(summaries: &[&str]) -> Joined {
        Joined::new(summaries.iter().copied())
    }

    #[test]
    fn near_duplicates_are_dropped() {
        let joined = joined(&[
            "The council closed the bridge on Monday. It is old.",
            "the council closed the bridge on monday",
            "On Monday the council closed the bridge. A new one costs two millions",
        ]);
        assert_eq!(
            joined.text(),
            "The council closed the bridge on Monday. It is old. A new one costs two millions."
        );
        assert_eq!(joined.words(), 16);
    }

    #[test]
    fn duplicates_are_found_at_any_distance() {
        let mut summaries: Vec<String> =
            (0..500).map(|number| format!("Number {number} is {}.", number * 7)).collect();
        summaries.push(summaries[0].clone());
        let joined = Joined::new(summaries.iter().map(String::as_str));
        let ends = summaries[0].as_str();
        assert_eq!(joined.sentences.iter().filter(|sentence| *sentence == ends).count(), 1);
    }

    #[test]
    fn what_is_kept_fits_and_keeps_its_order() {
        let summaries = ["One two three four.", "Five six.", "One two three five.", "Nine ten."];
        for max in 0..14 {
            for keep in [Joined::keep_central, Joined::keep_first] {
                let mut joined = joined(&summaries);
                let all = joined.sentences.clone();
                keep(&mut joined, max);
                let kept = joined.sentences.len();
                assert!(kept == 1 || kept > 1 && joined.words() <= max, "{max}");
                assert!(kept == all.len() || max < 12, "{max}");
                let mut rest = all.iter();
                assert!(
                    joined.sentences.iter().all(|sentence| rest.any(|other| other == sentence))
                );
            }
        }
        let mut first = joined(&summaries);
        first.keep_first(6);
        assert_eq!(first.text(), "One two three four. Five six.");
    }

    #[test]
    fn summaries_without_an_end_get_one() {
        assert_eq!(joined(&["a tool", "another thing"]).text(), "a tool. another thing.");
        assert_eq!(joined(&["これは本です。", "それは山。"]).text(), "これは本です。それは山。");
        assert_eq!(joined(&["", " "]).text(), "");
    }
}
