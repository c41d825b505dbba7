//! Replaces punctuation by ASCII: `replace_unicode_punct` of FSMT's tokenizer, then sacremoses'
//! `MosesPunctNormalizer`, then `remove_non_printing_char` of FSMT's tokenizer. The order of the
//! steps matters.

use std::sync::LazyLock;

use super::characters::{DECIMALS, OTHER};
use super::language::Language;
use super::text::{Text, is_space};

/// East Asian characters, each followed by its replacement.
const WIDE: &str = "，,、,”\"“\"∶:：:？?《\"》\"）)！!（(；;」\"「\"０0１1２2３3４4５5６6７7８8９9～~’'━-〈<〉>【[】]％%";
/// No-break space.
const NO_BREAK_SPACE: char = '\u{a0}';

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
/// Dashes. They are replaced after the quotation marks.
const DASHES: [(&str, &str); 2] = [("–", "-"), ("—", " - ")];
/// French quotation marks, with the no-break spaces inside them.
const FRENCH: [&str; 6] = ["\u{a0}«\u{a0}", "«\u{a0}", "«", "\u{a0}»\u{a0}", "\u{a0}»", "»"];
/// No-break spaces before and after other characters.
const NO_BREAK_SPACES: [(&str, &str); 9] = [
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

/// Replaces punctuation, and removes characters that cannot be printed.
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
    NO_BREAK_SPACES.iter().for_each(|(from, to)| text.replace(from, to));
    join_spaces(text);
    match language {
        Language::En => quotes_behind_stops(text),
        Language::De => quotes_before_stops(text),
        Language::Ru => {}
    }
    let separator = if language == Language::De { ',' } else { '.' };
    text.rewrite(|all, at| match all[at..] {
        [left, NO_BREAK_SPACE, right, ..] if DECIMALS.has(left) && DECIMALS.has(right) => {
            Some((3, format!("{left}{separator}{right}")))
        }
        _ => None,
    });
    text.trim();
    printable(text);
}

/// Replaces East Asian punctuation. Its full stop has no space behind it, so one is added.
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

/// Moves commas and full stops before a quotation mark, as in English: `",` becomes `,"`.
fn quotes_behind_stops(text: &mut Text) {
    text.rewrite(|all, at| {
        if all[at] != '"' {
            return None;
        }
        let stops: String = all[at + 1..].iter().take_while(|c| matches!(c, ',' | '.')).collect();
        (!stops.is_empty()).then(|| (1 + stops.len(), format!("{stops}\"")))
    });
}

/// Moves commas behind a quotation mark, as in German: `,"` becomes `",`. Full stops move too, if
/// text follows.
fn quotes_before_stops(text: &mut Text) {
    text.replace(",\"", "\",");
    text.rewrite(|all, at| {
        let dots = all[at..].iter().take_while(|c| **c == '.').count();
        if dots == 0 {
            return None;
        }
        // A run that stays is skipped at once, so that its dots are counted only once.
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

/// Removes characters that cannot be printed.
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
