//! Splitting a text into sentences: Unicode's rules, and abbreviations that end no sentence.

use std::ops::Range;
use std::vec;

use unicode_segmentation::UnicodeSegmentation;

/// Number of bytes that are split at a time. A longer sentence is cut.
const MAX_STRETCH: usize = 4 << 10;
/// So many characters in a row without a letter or digit end a sentence. Unicode's rules look ahead
/// from each of them, which would take quadratic time.
const MAX_NOISE: usize = 32;

/// Abbreviations that seldom end a sentence, without their last period and in lower case. The
/// language of a document is not known, so the abbreviations of all languages are used together.
const ABBREVIATIONS: [(&str, &[&str]); 7] = [
    (
        "en",
        &[
            "mr", "mrs", "ms", "dr", "prof", "st", "gen", "col", "capt", "lt", "sen", "rep", "gov",
            "rev", "hon", "vs", "cf", "e.g", "i.e", "viz", "al", "fig", "figs", "eq", "eqs", "sec",
            "ch", "vol", "no", "nos", "pp", "ed", "eds", "approx", "ca", "dept", "jan", "feb",
            "apr", "aug", "sept", "oct", "nov", "dec",
        ],
    ),
    (
        "de",
        &[
            "z.b", "d.h", "u.a", "o.ä", "bzw", "ca", "nr", "abb", "bd", "hrsg", "vgl", "s", "str",
            "hr", "fr", "frl", "dipl", "ing", "inkl", "ggf", "evtl", "sog", "zzgl", "mio", "mrd",
        ],
    ),
    (
        "fr",
        &["m", "mm", "mme", "mlle", "mgr", "p.ex", "c.-à-d", "cf", "art", "chap", "env", "éd", "n"],
    ),
    ("es", &["sr", "sra", "srta", "d", "dña", "ud", "uds", "p.ej", "pág", "págs", "art", "núm"]),
    ("it", &["sig", "sig.ra", "dott", "dott.ssa", "ing", "avv", "pag", "pagg", "art", "cap", "es"]),
    ("pt", &["sr", "sra", "dra", "exmo", "p.ex", "pág", "págs", "art", "núm"]),
    ("nl", &["dhr", "mevr", "mw", "bijv", "d.w.z", "m.b.t", "o.a", "blz", "nl"]),
];

/// The border before a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Border {
    /// The sentence follows another one of its paragraph.
    Sentence,
    /// The sentence begins a paragraph.
    Paragraph,
    /// The sentence begins a section.
    Section,
}

/// Iterates over the sentences of a text, without the white space around them.
///
/// A line end inside a paragraph counts as a space. A paragraph ends at an empty line and before
/// the mark of a list item. The time is linear in the length of the text.
pub(super) struct Sentences<'a> {
    text: &'a str,
    /// Byte offsets of the sections that are not reached yet.
    sections: &'a [usize],
    /// The border before the next sentence.
    border: Border,
    /// Byte offset of the next stretch.
    at: usize,
    /// Ranges of sentences in the last stretch.
    found: vec::IntoIter<Range<usize>>,
    /// Whether a paragraph ends with the last stretch.
    paragraph_ends: bool,
}

impl<'a> Sentences<'a> {
    /// The sentences of a text whose sections begin at these byte offsets.
    pub(super) fn new(text: &'a str, sections: &'a [usize]) -> Self {
        Self {
            text,
            sections,
            border: Border::Section,
            at: 0,
            found: Vec::new().into_iter(),
            paragraph_ends: false,
        }
    }

    /// Splits the next stretch.
    fn split_next(&mut self) {
        if self.paragraph_ends {
            self.border = Border::Paragraph;
        }
        let (end, stretch_end) = stretch(&self.text[self.at..]);
        let start = self.at;
        let mut borders = inside(&self.text[start..start + end]);
        // If the stretch was cut by its length, its last sentence may go on.
        if stretch_end == StretchEnd::Length && borders.len() > 1 {
            borders.pop();
        }
        self.at = start + borders.last().copied().unwrap_or(end);
        self.paragraph_ends = stretch_end == StretchEnd::Paragraph;
        let starts = [0].into_iter().chain(borders.iter().copied());
        let ranges = starts.zip(&borders).map(|(from, to)| start + from..start + to);
        self.found = ranges.collect::<Vec<_>>().into_iter();
    }
}

impl Iterator for Sentences<'_> {
    type Item = (Range<usize>, Border);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(range) = self.found.next() else {
                if self.at == self.text.len() {
                    return None;
                }
                self.split_next();
                continue;
            };
            let sentence = self.text[range.clone()].trim_start();
            let start = range.end - sentence.len();
            let sentence = sentence.trim_end();
            if sentence.is_empty() {
                continue;
            }
            while self.sections.first().is_some_and(|section| *section <= start) {
                self.sections = &self.sections[1..];
                self.border = Border::Section;
            }
            let border = std::mem::replace(&mut self.border, Border::Sentence);
            return Some((start..start + sentence.len(), border));
        }
    }
}

/// Why a stretch ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StretchEnd {
    Paragraph,
    /// A long run without a letter or digit.
    Noise,
    /// The stretch has the maximum length.
    Length,
}

/// Number of bytes in the first stretch of a text, and why it ends.
fn stretch(text: &str) -> (usize, StretchEnd) {
    let mut noise = 0;
    for (at, character) in text.char_indices() {
        let end = at + character.len_utf8();
        noise = if character.is_alphanumeric() { 0 } else { noise + 1 };
        if ends_paragraph(character, &text[end..]) {
            return (end, StretchEnd::Paragraph);
        }
        if noise == MAX_NOISE {
            return (end, StretchEnd::Noise);
        }
        if end >= MAX_STRETCH && character.is_whitespace() || end >= 2 * MAX_STRETCH {
            return (end, StretchEnd::Length);
        }
    }
    (text.len(), StretchEnd::Paragraph)
}

/// Whether a paragraph ends with this character.
fn ends_paragraph(character: char, rest: &str) -> bool {
    match character {
        '\u{2029}' | '\u{c}' => true,
        '\n' => {
            let line = rest.trim_start_matches([' ', '\t', '\r']);
            line.is_empty() || line.starts_with('\n') || begins_list_item(line)
        }
        _ => false,
    }
}

/// Whether a line begins with the mark of a list item: `- `, `* `, `1. `, `12) `.
fn begins_list_item(line: &str) -> bool {
    let number = line.bytes().take(4).take_while(u8::is_ascii_digit).count();
    let mark = match number {
        0 => line.strip_prefix(['-', '*', '+', '•', '–', '‣']),
        number => line[number..].strip_prefix(['.', ')']),
    };
    mark.is_some_and(|rest| rest.starts_with([' ', '\t']))
}

/// Byte offsets of the ends of the sentences in a stretch. The last one is the end of the stretch.
fn inside(stretch: &str) -> Vec<usize> {
    // Line ends become spaces, so that offsets do not change.
    let line = stretch.replace(['\n', '\r'], " ");
    let mut borders = Vec::new();
    let mut start = 0;
    for (at, sentence) in line.split_sentence_bound_indices() {
        let end = at + sentence.len();
        if end < line.len() && ends_in_abbreviation(&line[start..end]) {
            continue;
        }
        borders.push(end);
        start = end;
    }
    borders
}

/// Whether a sentence ends with an abbreviation or an initial.
fn ends_in_abbreviation(sentence: &str) -> bool {
    let Some(sentence) = sentence.trim_end().strip_suffix('.') else { return false };
    let from = sentence.rfind(|c: char| c.is_whitespace() || "([\"'„“«".contains(c));
    let word = from.map_or(sentence, |at| {
        let blank = sentence[at..].chars().next().map_or(0, char::len_utf8);
        &sentence[at + blank..]
    });
    let mut characters = word.chars();
    let initial = characters.next().is_some_and(char::is_alphabetic) && characters.next().is_none();
    // The longest abbreviation has 7 letters.
    initial
        || word.len() <= 16 && {
            let word = word.to_lowercase();
            ABBREVIATIONS.iter().any(|(_, words)| words.contains(&word.as_str()))
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        Sentences::new(text, &[]).map(|(range, _)| &text[range]).collect()
    }

    #[test]
    fn sentences_end_where_a_reader_ends_them() {
        for (text, sentences) in [
            ("It rains. It pours!  Why?", &["It rains.", "It pours!", "Why?"] as &[_]),
            ("Dr. Smith met J. Doe. They talked.", &["Dr. Smith met J. Doe.", "They talked."]),
            ("See Fig. 3. Then go on.", &["See Fig. 3.", "Then go on."]),
            (
                "It costs 3.50 dollars, e.g. Here. Yes.",
                &["It costs 3.50 dollars, e.g. Here.", "Yes."],
            ),
            ("Das kostet z. B. viel. Nr. 5 lebt.", &["Das kostet z. B. viel.", "Nr. 5 lebt."]),
            ("M. Dupont arrive. Il part.", &["M. Dupont arrive.", "Il part."]),
            ("\"Stop.\" He stopped.", &["\"Stop.\"", "He stopped."]),
            ("これは本です。あれはペンです。", &["これは本です。", "あれはペンです。"]),
            (
                "A line\nthat is wrapped. Another\r\none.",
                &["A line\nthat is wrapped.", "Another\r\none."],
            ),
            ("Title\n\nText here", &["Title", "Text here"]),
            ("Buy:\n- milk\n- eggs\n 2. bread", &["Buy:", "- milk", "- eggs", "2. bread"]),
            (" \n\t ", &[]),
            ("", &[]),
        ] {
            assert_eq!(split(text), sentences, "{text:?}");
        }
    }

    #[test]
    fn borders_are_sentences_paragraphs_and_sections() {
        let text = "One. Two.\n\nThree.\n\nHead\n\nFour. Five.";
        let sections = [text.find("Head").unwrap()];
        let borders: Vec<_> = Sentences::new(text, &sections).map(|(_, border)| border).collect();
        use Border::{Paragraph, Section, Sentence};
        assert_eq!(borders, [Section, Sentence, Paragraph, Section, Paragraph, Sentence]);
    }

    #[test]
    fn a_long_paragraph_is_cut_nowhere_but_between_sentences() {
        let text = "This sentence has a few words, and then it ends. ".repeat(1000);
        let sentences = split(&text);
        assert_eq!(sentences.len(), 1000);
        assert!(sentences.iter().all(|s| *s == "This sentence has a few words, and then it ends."));
    }

    /// Sentences keep all characters except white space, and their length is bounded.
    #[test]
    fn hostile_texts_lose_nothing() {
        for unit in ["a", "🙂", " ", ". ", ").", "\u{301}", ".\u{301} 1", "\n", "a. ", "A.", "\n- "]
        {
            let text = format!("x{}y", unit.repeat(100_000));
            let mut joined = String::new();
            for (range, _) in Sentences::new(&text, &[]) {
                assert!(range.len() <= 2 * MAX_STRETCH, "{unit:?}");
                joined.push_str(&text[range]);
            }
            let solid = |text: &str| text.split_whitespace().collect::<String>();
            assert!(solid(&joined) == solid(&text), "{unit:?}");
        }
    }
}
