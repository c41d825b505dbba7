//! Prompt lookup: what the next tokens may be, looked up in the text at hand.
//!
//! A summary often copies. Where its newest tokens stand in the source, too, those that follow
//! there are drafted as its next ones, and the decoder reads them all in one step; what it would
//! not have chosen is thrown away. The draft decides how many steps there are, and never what comes
//! out.
//!
//! After `PromptLookupCandidateGenerator` (transformers 5.24.0), which looks for encoder-decoder
//! models in the tokens generated so far alone; this looks in the source first.

use std::sync::Arc;

use super::super::config::Lookup;

/// Drafts the tokens behind `tokens`, at most `room` of them.
pub(super) struct Drafter {
    lookup: Lookup,
    source: Arc<[u32]>,
    vocab_size: usize,
    /// Tokens that end a sequence: nothing is drafted from them on.
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

    /// Appends the draft of what follows `tokens` to `draft`, at most `room` tokens.
    pub(super) fn propose(&self, tokens: &[u32], room: usize, draft: &mut Vec<u32>) {
        let most = self.lookup.tokens.min(room);
        if most == 0 {
            return;
        }
        let longest = self.lookup.ngram_size.min(tokens.len());
        for size in (1..=longest).rev() {
            let ngram = &tokens[tokens.len() - size..];
            for text in [&*self.source, tokens] {
                let found = text.windows(size).enumerate().find_map(|(place, window)| {
                    let next = &text[place + size..];
                    let usable = next.iter().take(most).take_while(|id| self.is_usable(**id));
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

    fn draft(source: &[u32], tokens: &[u32], room: usize) -> Vec<u32> {
        let lookup = Lookup { tokens: 3, ngram_size: 2 };
        let mut draft = Vec::new();
        Drafter::new(lookup, source.into(), 100, vec![1]).propose(tokens, room, &mut draft);
        draft
    }

    #[test]
    fn the_longest_match_in_the_source_is_continued() {
        let source = [7, 50, 8, 7, 9, 10, 11, 12, 1];
        assert_eq!(draft(&source, &[0, 7, 9], 9), [10, 11, 12]);
        // One token matches, and the first place is taken.
        assert_eq!(draft(&source, &[0, 3, 7], 9), [50, 8, 7]);
        assert_eq!(draft(&source, &[0, 7, 9], 2), [10, 11]);
        assert!(draft(&source, &[0, 7, 9], 0).is_empty());
    }

    #[test]
    fn nothing_is_drafted_from_an_end_token_or_a_foreign_one_on() {
        assert_eq!(draft(&[7, 9, 1, 4], &[0, 7], 9), [9]);
        assert_eq!(draft(&[7, 9, 100, 4], &[0, 7], 9), [9]);
        // A place without a continuation is passed over.
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
