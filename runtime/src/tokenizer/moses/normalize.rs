//! Punctuation of many kinds to that of ASCII: `replace_unicode_punct` and
//! `remove_non_printing_char` of FSMT's tokenizer, and sacremoses' `MosesPunctNormalizer` between
//! them. Each step takes what the one before it left.

use std::sync::LazyLock;

use super::Language;
use super::characters::{DECIMALS, OTHER};
use super::text::{Text, is_space};

/// Characters of East Asian texts and their counterparts.
const WIDE: &str = "，,、,”\"“\"∶:：:？?《\"》\"）)！!（(；;」\"「\"０0１1２2３3４4５5６6７7８8９9～~’'━-〈<〉>【[】]％%";
/// A space that no line ends at.
const HARD_SPACE: char = '\u{a0}';

/// Spaces around brackets and signs.
const SPACES: [(&str, &str); 7] = [
    (") .", ")."),
    (") !", ")!"),
    (") :", "):"),
    (") ?", ")?"),
    (") ;", ");"),
    (") ,", "),"),
    ("( ", "("),
];
/// Dashes, apostrophes and dots, behind quotation marks.
const DASHES: [(&str, &str); 2] = [("–", "-"), ("—", " - ")];
/// French quotation marks, with the spaces that belong to them.
const FRENCH: [&str; 6] = ["\u{a0}«\u{a0}", "«\u{a0}", "«", "\u{a0}»\u{a0}", "\u{a0}»", "»"];
/// Hard spaces before and behind signs.
const HARD_SPACES: [(&str, &str); 9] = [
    ("\u{a0}%", "%"),
    ("nº\u{a0}", "nº "),
    ("\u{a0}:", ":"),
    ("\u{a0}ºC", " ºC"),
    ("\u{a0}cm", " cm"),
    ("\u{a0}?", "?"),
    ("\u{a0}!", "!"),
    ("\u{a0};", ";"),
    (",\u{a0}", ", "),
];

/// Replaces punctuation, and leaves out what cannot be printed.
pub(super) fn punctuation(text: &mut Text, language: Language) {
    wide(text);
    text.replace("\r", "");
    text.replace("(", " (");
    text.replace(")", ") ");
    join_spaces(text);
    SPACES.iter().for_each(|(from, to)| text.replace(from, to));
    text.replace(" )", ")");
    text.rewrite(|all, at| {
        let found = DECIMALS.has(all[at]) && all[at + 1..].starts_with(&[' ', '%']);
        found.then(|| (3, format!("{}%", all[at])))
    });
    text.replace(" :", ":");
    text.replace(" ;", ";");
    text.replace("`", "'");
    text.replace("''", " \" ");
    text.map(|c| matches!(c, '„' | '“' | '”').then(|| "\"".into()));
    DASHES.iter().for_each(|(from, to)| text.replace(from, to));
    join_spaces(text);
    text.map(|c| matches!(c, '´' | '‘' | '‚' | '’').then(|| "'".into()));
    text.replace("''", "\"");
    text.replace("…", "...");
    FRENCH.iter().for_each(|from| text.replace(from, "\""));
    HARD_SPACES.iter().for_each(|(from, to)| text.replace(from, to));
    join_spaces(text);
    match language {
        Language::En => quotes_behind_stops(text),
        Language::De => quotes_before_stops(text),
        Language::Ru => {}
    }
    let separator = if language == Language::De { ',' } else { '.' };
    text.rewrite(|all, at| match all[at..] {
        [left, HARD_SPACE, right, ..] if DECIMALS.has(left) && DECIMALS.has(right) => {
            Some((3, format!("{left}{separator}{right}")))
        }
        _ => None,
    });
    text.trim();
    printable(text);
}

/// East Asian punctuation. A stop there has no space behind it, and gets one.
fn wide(text: &mut Text) {
    static COUNTERPARTS: LazyLock<Vec<(char, char)>> = LazyLock::new(|| {
        let characters: Vec<char> = WIDE.chars().collect();
        characters.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    });
    text.rewrite(|all, at| match all[at] {
        '。' | '．' => {
            let blanks = all[at + 1..].iter().take_while(|c| is_space(**c)).count();
            Some((1 + blanks, ". ".into()))
        }
        '…' => Some((1, "...".into())),
        other => {
            let found = COUNTERPARTS.iter().find(|(wide, _)| *wide == other);
            found.map(|(_, counterpart)| (1, counterpart.to_string()))
        }
    });
}

fn join_spaces(text: &mut Text) {
    text.join_blanks(|c| c == ' ');
}

/// `",` becomes `,"`, in English.
fn quotes_behind_stops(text: &mut Text) {
    text.rewrite(|all, at| {
        if all[at] != '"' {
            return None;
        }
        let stops: String = all[at + 1..].iter().take_while(|c| matches!(c, ',' | '.')).collect();
        (!stops.is_empty()).then(|| (1 + stops.len(), format!("{stops}\"")))
    });
}

/// `,"` becomes `",`, and dots before a quotation mark go behind it where the text goes on.
fn quotes_before_stops(text: &mut Text) {
    text.replace(",\"", "\",");
    text.rewrite(|all, at| {
        let dots = all[at..].iter().take_while(|c| **c == '.').count();
        if dots == 0 {
            return None;
        }
        // A run that stays is passed over whole, so that no dot of it is counted twice.
        let stays = || Some((dots, ".".repeat(dots)));
        if all.get(at + dots) != Some(&'"') {
            return stays();
        }
        let behind = &all[at + dots + 1..];
        let blanks = behind.iter().take_while(|c| is_space(**c)).count();
        let goes_on = match behind.get(blanks) {
            Some('<') | None => blanks,
            Some(_) => blanks + 1,
        };
        if goes_on == 0 {
            return stays();
        }
        let moved: String = all[at..at + dots].iter().chain(&behind[..goes_on]).collect();
        Some((dots + 1 + goes_on, format!("\"{moved}")))
    });
}

/// Leaves out what cannot be printed.
fn printable(text: &mut Text) {
    text.map(|c| OTHER.has(c).then(String::new));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str, rule: fn(&mut Text)) -> String {
        let mut text = Text::new(text);
        rule(&mut text);
        text.characters().iter().collect()
    }

    #[test]
    fn quotation_marks_and_stops_change_places() {
        for (text, expected) in [
            ("a...\"", "a...\""),
            ("a...\"<", "a...\"<"),
            ("a...\" b", "a\"... b"),
            ("a.. b.\"c", "a.. b\".c"),
        ] {
            assert_eq!(rewritten(text, quotes_before_stops), expected);
        }
        assert_eq!(rewritten("a\",.b,.\"", quotes_behind_stops), "a,.\"b,.\"");
    }

    /// Reading the rest of a run at each of its characters would take hours.
    #[test]
    fn a_long_run_of_stops_is_read_once() {
        for end in ["", "\"", "\"<"] {
            let dots = format!("{}{end}", ".".repeat(4_000_000));
            assert!(rewritten(&dots, quotes_before_stops) == dots, "{end}");
            assert!(rewritten(&dots, quotes_behind_stops) == dots, "{end}");
        }
    }
}
