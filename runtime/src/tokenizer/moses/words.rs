//! Separates words from punctuation: sacremoses' `MosesTokenizer` with `aggressive_dash_splits` and
//! escapes.

use super::characters::{ALPHABETIC, ALPHANUMERIC, LOWERCASE, NUMBERS, Prefixes};
use super::language::Language;
use super::text::{Text, is_space};

/// Characters with a special meaning in Moses' files, and their escapes.
const ESCAPES: [(char, &str); 8] = [
    ('&', "&amp;"),
    ('|', "&#124;"),
    ('<', "&lt;"),
    ('>', "&gt;"),
    ('\'', "&apos;"),
    ('"', "&quot;"),
    ('[', "&#91;"),
    (']', "&#93;"),
];

/// Puts one space between words, and between words and punctuation.
pub(super) fn separate(text: &mut Text, language: Language) {
    text.join_blanks(is_space);
    text.trim();
    text.map(|c| {
        let stays = ALPHANUMERIC.has(c) || is_space(c) || matches!(c, '.' | '\'' | '`' | ',' | '-');
        (!stays).then(|| format!(" {c} "))
    });
    text.rewrite(|all, at| match all[at..] {
        [left, '-', right, ..] if ALPHANUMERIC.has(left) && ALPHANUMERIC.has(right) => {
            Some((2, format!("{left} @-@ ")))
        }
        _ => None,
    });
    hide_dots(text);
    commas(text);
    apostrophes(text, language);
    full_stops(text, language);
    text.join_blanks(is_space);
    text.trim();
    let end = text.characters().len();
    text.rewrite(|all, at| {
        (at + 2 == end && all[at..] == ['.', '\'']).then(|| (2, " . ' ".into()))
    });
    show_dots(text);
    text.map(|c| {
        ESCAPES.iter().find(|(character, _)| *character == c).map(|(_, escape)| (*escape).into())
    });
    text.join_blanks(is_space);
    text.trim();
}

/// Replaces each run of several dots by as many `DOT` and one `MULTI`, so that the next steps take
/// it for a word.
fn hide_dots(text: &mut Text) {
    text.rewrite(|all, at| {
        let dots = all[at..].iter().take_while(|c| **c == '.').count();
        let behind = if at + dots < all.len() { " " } else { "" };
        (dots > 1).then(|| (dots, format!(" {}MULTI{behind}", "DOT".repeat(dots))))
    });
}

/// Undoes [`hide_dots`].
fn show_dots(text: &mut Text) {
    const DOT: [char; 3] = ['D', 'O', 'T'];
    const MULTI: [char; 5] = ['M', 'U', 'L', 'T', 'I'];
    text.rewrite(|all, at| {
        let dots = all[at..].chunks_exact(3).take_while(|three| **three == DOT).count();
        let multi = all[at + 3 * dots..].starts_with(&MULTI);
        // A run that stays is skipped at once, so that its letters are read only once.
        (dots > 0).then(|| match multi {
            true => (3 * dots + MULTI.len(), ".".repeat(dots)),
            false => (3 * dots, "DOT".repeat(dots)),
        })
    });
}

/// Separates commas from words, except within numbers.
fn commas(text: &mut Text) {
    text.rewrite(|all, at| match all[at..] {
        [left, ',', ..] if !NUMBERS.has(left) => Some((2, format!("{left} , "))),
        _ => None,
    });
    text.rewrite(|all, at| match all[at..] {
        [',', right, ..] if !NUMBERS.has(right) => Some((2, format!(" , {right}"))),
        _ => None,
    });
    text.rewrite(|all, at| match all[at..] {
        [left, ','] if NUMBERS.has(left) => Some((2, format!("{left} , "))),
        _ => None,
    });
}

/// Separates apostrophes from words. In English, an apostrophe between letters stays with the
/// letters behind it.
fn apostrophes(text: &mut Text, language: Language) {
    if language != Language::En {
        text.replace("'", " ' ");
        return;
    }
    let alphabetic = |c| ALPHABETIC.has(c);
    let mut between = |fits: &dyn Fn(char, char) -> bool, apart: &str| {
        text.rewrite(|all, at| match all[at..] {
            [left, '\'', right, ..] if fits(left, right) => {
                Some((3, format!("{left}{apart}{right}")))
            }
            _ => None,
        });
    };
    between(&|left, right| !alphabetic(left) && !alphabetic(right), " ' ");
    between(&|left, right| !alphabetic(left) && !NUMBERS.has(left) && alphabetic(right), " ' ");
    between(&|left, right| alphabetic(left) && !alphabetic(right), " ' ");
    between(&|left, right| alphabetic(left) && alphabetic(right), " '");
    between(&|left, right| NUMBERS.has(left) && right == 's', " '");
}

/// Separates a full stop from the end of a word, unless it belongs to an abbreviation.
fn full_stops(text: &mut Text, language: Language) {
    let all = text.characters();
    let mut words: Vec<(usize, usize)> = Vec::new();
    let mut start = None;
    for (at, character) in all.iter().chain([&' ']).enumerate() {
        match (start, is_space(*character)) {
            (None, false) => start = Some(at),
            (Some(first), true) => {
                words.push((first, at));
                start = None;
            }
            _ => {}
        }
    }
    let prefixes = Prefixes::of(language);
    let mut ends = Vec::new();
    for (index, &(first, end)) in words.iter().enumerate() {
        let (prefix, stop) = (&all[first..end - 1], all[end - 1]);
        if stop != '.' || prefix.is_empty() {
            continue;
        }
        let next = words.get(index + 1).map(|(next, _)| all[*next]);
        let word: String = prefix.iter().collect();
        let numeric = prefixes.before_numbers.contains(word.as_str());
        let abbreviated = prefix.contains(&'.') && prefix.iter().any(|c| ALPHABETIC.has(*c));
        let stays = abbreviated
            || prefixes.always.contains(word.as_str())
            || next.is_some_and(|next| LOWERCASE.has(next))
            || numeric && next.is_some_and(|next| next.is_ascii_digit());
        if !stays {
            ends.push(end - 1);
        }
    }
    text.rewrite(|_, at| ends.binary_search(&at).is_ok().then(|| (1, " .".into())));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_dots(text: &str) -> String {
        let mut text = Text::new(text);
        show_dots(&mut text);
        text.characters().iter().collect()
    }

    #[test]
    fn dots_that_were_hidden_come_back() {
        for (text, expected) in [
            ("a DOTDOTMULTI b", "a .. b"),
            ("DOTDOT MULTI", "DOTDOT MULTI"),
            ("DODOTDOTDMULTI", "DODOTDOTDMULTI"),
        ] {
            assert_eq!(with_dots(text), expected);
        }
    }

    /// Reading the rest of a run at each of its letters would take hours.
    #[test]
    fn a_long_run_of_letters_is_read_once() {
        let letters = "DOT".repeat(4_000_000 / 3);
        assert!(with_dots(&letters) == letters);
    }
}
