//! Prompt lookup: drafts the next tokens by copying from the source or the history.
//!
//! A summary often copies its source. If its newest tokens also occur in the source, the tokens
//! that follow there are drafted as its next tokens. The decoder verifies a draft in one step, and
//! rejected tokens are dropped. So drafts change the number of steps, and never the result.
//!
//! Follows `PromptLookupCandidateGenerator` (transformers 5.24.0). For encoder-decoder models that
//! class searches only the generated tokens; this module searches the source first.

use std::sync::Arc;

use super::super::config::Lookup;

/// Drafts the continuation of a history.
pub(super) struct Drafter {
    lookup: Lookup,
    source: Arc<[u32]>,
    vocab_size: usize,
    /// End tokens. A draft ends before the first of them.
    ends: Vec<u32>,
}

impl Drafter {
    pub(super) fn new(
        lookup: Lookup,
        source: Arc<[u32]>,
        vocab_size: usize,
        ends: Vec<u32>,
    ) -> Self {
        Self { lookup, source, vocab_size, ends }
    }

    /// Appends the draft of what follows `tokens` to `draft`, at most `max` tokens.
    pub(super) fn propose(&self, tokens: &[u32], max: usize, draft: &mut Vec<u32>) {
        let max = self.lookup.tokens.min(max);
        if max == 0 {
            return;
        }
        let longest = self.lookup.ngram_size.min(tokens.len());
        for size in (1..=longest).rev() {
            let ngram = &tokens[tokens.len() - size..];
            for text in [&*self.source, tokens] {
                let found = text.windows(size).enumerate().find_map(|(offset, window)| {
                    let next = &text[offset + size..];
                    let usable = next.iter().take(max).take_while(|id| self.is_usable(**id));
                    let usable = usable.count();
                    (window == ngram && usable > 0).then(|| &next[..usable])
                });
                if let Some(found) = found {
                    draft.extend_from_slice(found);
                    return;
                }
            }
        }
    }

    fn is_usable(&self, token: u32) -> bool {
        (token as usize) < self.vocab_size && !self.ends.contains(&token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(source: &[u32], tokens: &[u32], max: usize) -> Vec<u32> {
        let lookup = Lookup { tokens: 3, ngram_size: 2 };
        let mut draft = Vec::new();
        Drafter::new(lookup, source.into(), 100, vec![1]).propose(tokens, max, &mut draft);
        draft
    }

    #[test]
    fn the_longest_match_in_the_source_is_continued() {
        let source = [7, 50, 8, 7, 9, 10, 11, 12, 1];
        assert_eq!(draft(&source, &[0, 7, 9], 9), [10, 11, 12]);
        // One token matches; the first match is taken.
        assert_eq!(draft(&source, &[0, 3, 7], 9), [50, 8, 7]);
        assert_eq!(draft(&source, &[0, 7, 9], 2), [10, 11]);
        assert!(draft(&source, &[0, 7, 9], 0).is_empty());
    }

    #[test]
    fn nothing_is_drafted_from_an_end_token_or_a_foreign_one_on() {
        assert_eq!(draft(&[7, 9, 1, 4], &[0, 7], 9), [9]);
        assert_eq!(draft(&[7, 9, 100, 4], &[0, 7], 9), [9]);
        // A match without a continuation is skipped.
        assert_eq!(draft(&[7, 1, 7, 9], &[0, 7], 9), [9]);
        assert!(draft(&[7, 9], &[0, 9], 9).is_empty());
    }

    #[test]
    fn what_was_generated_is_looked_up_behind_the_source() {
        assert_eq!(draft(&[3], &[0, 5, 6, 8, 5], 9), [6, 8, 5]);
        assert_eq!(draft(&[5, 4], &[0, 5, 6, 8, 5], 9), [4]);
        assert!(draft(&[3], &[0], 9).is_empty());
    }
}
