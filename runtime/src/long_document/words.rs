//! Counting and comparing words.

use std::collections::HashSet;

use unicode_segmentation::UnicodeSegmentation;

/// Number of words in a text: the stretches between white space. In scripts without spaces between
/// words, the words of Unicode's rules count.
pub(super) fn count(text: &str) -> usize {
    let words = |stretch: &str| {
        if stretch.is_ascii() || !stretch.contains(writes_no_blanks) {
            1
        } else {
            stretch.unicode_words().count().max(1)
        }
    };
    text.split_whitespace().map(words).sum()
}

/// The words of a text, in order and in lower case.
pub(super) fn terms(text: &str) -> impl Iterator<Item = String> + '_ {
    text.unicode_words().map(str::to_lowercase)
}

/// Similarity of two texts: the Jaccard index of the sets of their words.
pub(super) fn similarity(a: &HashSet<String>, b: &HashSet<String>) -> f64 {
    let shared = a.intersection(b).count();
    let all = a.len() + b.len() - shared;
    if all == 0 { 1.0 } else { shared as f64 / all as f64 }
}

/// Whether a character belongs to a script without spaces between words: Thai, Lao, Burmese, Khmer,
/// Japanese or Chinese.
fn writes_no_blanks(character: char) -> bool {
    matches!(character,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_as_readers_count_them() {
        assert_eq!(count(" It's a 3.5 inch disk —\n really "), 7);
        assert_eq!(count("これは本です"), "これは本です".unicode_words().count());
        assert!(count("これは本です") > 1);
        assert_eq!(count(" \n"), 0);
    }

    #[test]
    fn similarity_is_the_share_of_common_words() {
        let set = |text| terms(text).collect::<HashSet<_>>();
        assert_eq!(similarity(&set("A game of chess"), &set("a GAME of chess!")), 1.0);
        assert_eq!(similarity(&set("a b c"), &set("c d e")), 0.2);
        assert_eq!(similarity(&set("a"), &set("b")), 0.0);
    }
}
