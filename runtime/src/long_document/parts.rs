//! Splitting a document into parts that fit the window of a model.

use std::ops::Range;

use super::sentences::{Border, Sentences};
use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// A unit with fewer bytes is joined with the next sentence, so a heading stays with its text.
const MIN_UNIT_BYTES: usize = 24;
/// Minimum tokens of a part, as a share of its target. A shorter part is the last resort.
const MIN_SHARE: f64 = 0.6;
/// How far from its target a part may end to end with a section, as a share of the target.
const SECTION_WORTH: f64 = 0.4;
/// How far from its target a part may end to end with a paragraph, as a share of the target.
const PARAGRAPH_WORTH: f64 = 0.1;

/// A sentence, or a piece of one that is too long.
#[derive(Debug)]
pub(super) struct Unit {
    /// Byte range in the text.
    pub(super) range: Range<usize>,
    /// Number of tokens of the unit alone.
    pub(super) tokens: usize,
    /// The border before it.
    border: Border,
}

/// Splits a text into units, each with at most half of the tokens of a window. Ends early if `stop`
/// returns true.
pub(super) fn units(
    tokenizer: &Tokenizer,
    text: &str,
    sections: &[usize],
    stop: &mut dyn FnMut() -> bool,
) -> Result<Vec<Unit>> {
    let limit = (tokenizer.max_document_tokens()? / 2).max(1);
    let mut units: Vec<Unit> = Vec::new();
    for (sentence, mut border) in Sentences::new(text, sections) {
        if stop() {
            break;
        }
        let mut pieces = vec![sentence];
        while let Some(range) = pieces.pop() {
            let tokens = tokenizer.count(&text[range.clone()], limit + 1)?;
            if tokens > limit
                && let Some(middle) = middle(text, &range)
            {
                pieces.extend([middle..range.end, range.start..middle]);
                continue;
            }
            match units.last_mut() {
                Some(last)
                    if border != Border::Section
                        && last.range.len() < MIN_UNIT_BYTES
                        && last.tokens + tokens <= limit =>
                {
                    last.range.end = range.end;
                    last.tokens += tokens;
                }
                _ => units.push(Unit { range, tokens, border }),
            }
            border = Border::Sentence;
        }
    }
    Ok(units)
}

/// Where to split a sentence: at white space before its middle, else at its middle.
fn middle(text: &str, range: &Range<usize>) -> Option<usize> {
    let middle = text.ceil_char_boundary(range.start + range.len() / 2);
    let quarter = text.ceil_char_boundary(range.start + range.len() / 4);
    let blank = text[quarter..middle].rfind(char::is_whitespace).map(|at| quarter + at);
    let middle = blank.filter(|at| *at > range.start).unwrap_or(middle);
    (range.start < middle && middle < range.end).then_some(middle)
}

/// How to split a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct SplitOptions {
    /// Number of units that a part repeats from the part before.
    pub(super) overlap: usize,
    /// Minimum number of parts.
    pub(super) min_parts: usize,
}

/// Splits a text into parts of similar length that fit the window. A part ends with a section where
/// possible, else with a paragraph or a sentence. The parts cover all units.
pub(super) fn split(
    tokenizer: &Tokenizer,
    text: &str,
    units: &[Unit],
    options: SplitOptions,
) -> Result<Vec<Range<usize>>> {
    let max_tokens = tokenizer.max_document_tokens()?.max(1);
    let tokens = |units: &[Unit]| units.iter().map(|unit| unit.tokens).sum::<usize>();
    let mut left = tokens(units);
    let mut parts = Vec::new();
    let mut next = 0;
    while next < units.len() {
        let mut start = next - repeated(&units[..next + 1], options.overlap, max_tokens / 4);
        let all = tokens(&units[start..next]) + left;
        let min_parts = options.min_parts.saturating_sub(parts.len());
        let wanted = all.div_ceil(max_tokens).max(min_parts).max(1);
        let mut end = end(units, start, next, all.div_ceil(wanted), max_tokens);
        // Units together may have more tokens than the sum of their tokens.
        let mut step = 1;
        loop {
            let range = units[start].range.start..units[end - 1].range.end;
            if end == next + 1 && start == next
                || !tokenizer.encode(&text[range.clone()])?.truncated
            {
                parts.push(range);
                break;
            }
            if end == next + 1 {
                start = next;
            }
            end = end.saturating_sub(step).max(next + 1);
            step *= 2;
        }
        left -= tokens(&units[next..end]);
        next = end;
    }
    Ok(parts)
}

/// How many units before the last one the part that begins with the last one repeats.
fn repeated(units: &[Unit], overlap: usize, max_tokens: usize) -> usize {
    let Some((last, before)) = units.split_last() else { return 0 };
    if last.border == Border::Section {
        return 0;
    }
    let mut tokens = 0;
    let fit = |unit: &&Unit| {
        tokens += unit.tokens;
        tokens <= max_tokens
    };
    before.iter().rev().take(overlap).take_while(fit).count()
}

/// End of the part that starts at `start`. It includes the unit `next` at least.
fn end(units: &[Unit], start: usize, next: usize, target: usize, max_tokens: usize) -> usize {
    let target = target.max(1) as f64;
    let mut tokens: usize = units[start..next].iter().map(|unit| unit.tokens).sum();
    let mut best = (f64::INFINITY, next + 1);
    for at in next..units.len() {
        tokens += units[at].tokens;
        let share = tokens as f64 / target;
        if tokens > max_tokens || share > 1.0 + SECTION_WORTH && best.0.is_finite() {
            break;
        }
        let worth = match units.get(at + 1).map(|unit| unit.border) {
            None | Some(Border::Section) => SECTION_WORTH,
            Some(Border::Paragraph) => PARAGRAPH_WORTH,
            Some(Border::Sentence) => 0.0,
        };
        let short = if share < MIN_SHARE { 10.0 } else { 0.0 };
        let cost = (share - 1.0).abs() - worth + short;
        if cost <= best.0 {
            best = (cost, at + 1);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::Border::{Paragraph, Section, Sentence};
    use super::*;

    /// Units of 10 tokens, each with its border before it.
    fn units(borders: &[Border]) -> Vec<Unit> {
        borders.iter().map(|border| Unit { range: 0..1, tokens: 10, border: *border }).collect()
    }

    #[test]
    fn a_part_ends_at_the_best_border_near_its_length() {
        let plain = units(&[Sentence; 20]);
        assert_eq!(end(&plain, 0, 0, 100, 120), 10);
        // A part never exceeds the window, and includes at least one new unit.
        assert_eq!(end(&plain, 0, 0, 500, 120), 12);
        assert_eq!(end(&plain, 0, 1, 100, 15), 2);
        let mut sections = units(&[Sentence; 20]);
        sections[8].border = Section;
        assert_eq!(end(&sections, 0, 0, 100, 120), 8);
        // This section ends too far from the target.
        sections[8].border = Sentence;
        sections[3].border = Section;
        assert_eq!(end(&sections, 0, 0, 100, 120), 10);
        // A paragraph is worth less: only one near the target ends the part.
        let mut paragraphs = units(&[Sentence; 40]);
        paragraphs[19].border = Paragraph;
        paragraphs[15].border = Paragraph;
        assert_eq!(end(&paragraphs, 0, 0, 200, 240), 19);
        // The end of the document counts as the end of a section.
        assert_eq!(end(&plain[..12], 0, 0, 100, 120), 12);
    }

    #[test]
    fn sentences_come_again_within_a_section() {
        let mut units = units(&[Sentence; 6]);
        assert_eq!(repeated(&units, 1, 25), 1);
        assert_eq!(repeated(&units, 3, 25), 2);
        assert_eq!(repeated(&units, 3, 5), 0);
        assert_eq!(repeated(&units[..1], 3, 25), 0);
        units[5].border = Section;
        assert_eq!(repeated(&units, 1, 25), 0);
    }

    #[test]
    fn a_long_sentence_is_cut_at_a_blank() {
        let text = "many and more words here";
        let middle = middle(text, &(0..text.len())).unwrap();
        assert_eq!(&text[middle..], " more words here");
        for text in ["abcdef", "\u{1f642}\u{1f642}\u{1f642}"] {
            let middle = super::middle(text, &(0..text.len())).unwrap();
            assert!(middle > 0 && middle < text.len() && text.is_char_boundary(middle));
        }
        assert_eq!(super::middle("\u{1f642}", &(0..4)), None);
    }
}
