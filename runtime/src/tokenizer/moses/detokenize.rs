//! Joins words to text: sacremoses' `MosesDetokenizer`.

use std::collections::HashMap;

use super::characters::{CURRENCY, LETTERS, is_cjk};
use super::language::Language;
use super::text::is_space;

/// Escapes and their characters. The ampersand must be last.
const ESCAPES: [(&str, &str); 11] = [
    ("&bar;", "|"),
    ("&#124;", "|"),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&bra;", "["),
    ("&ket;", "]"),
    ("&quot;", "\""),
    ("&apos;", "'"),
    ("&#91;", "["),
    ("&#93;", "]"),
    ("&amp;", "&"),
];

/// Joins words that are separated by white space.
pub(super) fn text(words: &str, language: Language) -> String {
    let words: Vec<&str> = words.split(is_space).filter(|word| !word.is_empty()).collect();
    let words = format!(" {} ", words.join(" ")).replace(" @-@ ", "-");
    let words = ESCAPES.iter().fold(words, |words, (escape, text)| words.replace(escape, text));
    let words: Vec<&str> = words.split(is_space).filter(|word| !word.is_empty()).collect();
    let mut text = String::new();
    // Number of quotation marks of each kind: they open and close in turns.
    let mut quotes: HashMap<&str, usize> = HashMap::new();
    let mut space = " ";
    for (index, &word) in words.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| words[before]);
        let is_first_cjk = word.starts_with(is_cjk);
        let all = |of: fn(char) -> bool| word.chars().all(of);
        let (joined, next_space) = if is_first_cjk {
            (before.is_some_and(|before| before.ends_with(is_cjk)), " ")
        } else if all(opens) {
            (false, "")
        } else if all(|c| ",.?!:;\\%}])".contains(c))
            || (language == Language::En && before.is_some() && is_contraction(word))
        {
            (true, " ")
        } else if all(|c| "'\"„“`".contains(c)) {
            let kind = if all(|c| "„“”".contains(c)) { "\"" } else { word };
            let count = quotes.entry(kind).or_default();
            let closes = *count % 2 == 1;
            // As in "the Jones' house".
            let possessive = language == Language::En
                && word == "'"
                && before.is_some_and(|before| before.ends_with('s'));
            if closes || possessive {
                *count += usize::from(closes);
                (true, " ")
            } else {
                *count += 1;
                (false, "")
            }
        } else {
            (false, " ")
        };
        if !joined {
            text.push_str(space);
        }
        text.push_str(word);
        space = next_space;
    }
    text.trim_matches(is_space).to_owned()
}

/// Whether no space follows the character: opening brackets and currency symbols.
fn opens(character: char) -> bool {
    CURRENCY.has(character) || "([{¿¡".contains(character)
}

fn is_contraction(word: &str) -> bool {
    word.strip_prefix('\'').and_then(|rest| rest.chars().next()).is_some_and(|c| LETTERS.has(c))
}
