//! The texts of a document that the model reads.

use std::borrow::Cow;

use super::join::Distinct;
use super::parts::{self, SplitOptions, Unit};
use super::{LongDocument, Read, Reading, lexrank, words};
use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// Number of sentences that a part repeats from the part before.
const OVERLAP: usize = 1;

/// The texts of a document that the model reads.
pub(super) struct Plan<'a> {
    /// One text for each part.
    pub(super) texts: Vec<Cow<'a, str>>,
    /// How much of the document the texts cover.
    pub(super) read: Read,
}

/// Chooses the texts of a document to read. Ends early if `stop` returns true.
pub(super) fn plan<'a>(
    tokenizer: &Tokenizer,
    document: &'a LongDocument<'_>,
    reading: Reading,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Plan<'a>> {
    let text = document.text();
    let words = words::count(text);
    let whole = |words_read| Plan {
        texts: vec![Cow::Borrowed(text)],
        read: Read { words, words_read, parts: 1 },
    };
    if !tokenizer.encode_until(text, stop)?.truncated {
        return Ok(whole(words));
    }
    if reading == Reading::First || tokenizer.max_document_tokens()? == 0 {
        return Ok(whole(words::count(window(tokenizer, text, stop)?)));
    }
    let units = parts::units(tokenizer, text, &document.sections, stop)?;
    if units.is_empty() {
        return Ok(whole(0));
    }
    if reading == Reading::Lexrank {
        let central = central(tokenizer, text, &units)?;
        // A word that was split between two sentences counts once.
        let read = Read { words, words_read: words::count(&central).min(words), parts: 1 };
        return Ok(Plan { texts: vec![Cow::Owned(central)], read });
    }
    let options = SplitOptions { overlap: OVERLAP, min_parts: 1 };
    let ranges = parts::split(tokenizer, text, &units, options)?;
    let read = Read { words, words_read: words, parts: ranges.len() };
    Ok(Plan { texts: ranges.into_iter().map(|range| Cow::Borrowed(&text[range])).collect(), read })
}

/// Splits a text that was joined from summaries.
pub(super) fn parts_again(
    tokenizer: &Tokenizer,
    text: &str,
    min_parts: usize,
    stop: &mut dyn FnMut() -> bool,
) -> Result<Vec<Cow<'static, str>>> {
    let units = parts::units(tokenizer, text, &[], stop)?;
    let ranges = parts::split(tokenizer, text, &units, SplitOptions { overlap: 0, min_parts })?;
    Ok(ranges.into_iter().map(|range| Cow::Owned(text[range].to_owned())).collect())
}

/// The longest beginning of a text that fits the window, or end if the tokenizer truncates the
/// beginning.
fn window<'a>(
    tokenizer: &Tokenizer,
    text: &'a str,
    stop: &mut dyn FnMut() -> bool,
) -> Result<&'a str> {
    let stretch = |bytes: usize| match tokenizer.keeps_end() {
        true => &text[text.ceil_char_boundary(text.len() - bytes)..],
        false => &text[..text.floor_char_boundary(bytes)],
    };
    let (mut fits, mut long) = (0, 256.min(text.len()));
    while long < text.len() && !tokenizer.encode_until(stretch(long), stop)?.truncated {
        (fits, long) = (long, long.saturating_mul(2).min(text.len()));
    }
    while long - fits > 1 && !stop() {
        let middle = fits + (long - fits) / 2;
        match tokenizer.encode_until(stretch(middle), stop)?.truncated {
            true => long = middle,
            false => fits = middle,
        }
    }
    Ok(stretch(fits))
}

/// The most central sentences that fit the window, in the order of the text.
fn central(tokenizer: &Tokenizer, text: &str, units: &[Unit]) -> Result<String> {
    let sentences: Vec<&str> = units.iter().map(|unit| &text[unit.range.clone()]).collect();
    let scores = lexrank::scores(&sentences);
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let mut left = tokenizer.max_document_tokens()?;
    let shortest = units.iter().map(|unit| unit.tokens).min().unwrap_or(0).max(1);
    let mut distinct = Distinct::default();
    let mut chosen = Vec::new();
    for at in order {
        if left < shortest {
            break;
        }
        if units[at].tokens <= left && distinct.is_new(sentences[at]) {
            left -= units[at].tokens;
            chosen.push(at);
        }
    }
    // Sentences together may have more tokens than the sum of their tokens.
    let mut surplus = 1;
    loop {
        let mut in_order = chosen.clone();
        in_order.sort_unstable();
        let text = in_order.into_iter().map(|at| sentences[at]).collect::<Vec<_>>().join(" ");
        if chosen.len() <= 1 || !tokenizer.encode(&text)?.truncated {
            return Ok(text);
        }
        chosen.truncate(chosen.len().saturating_sub(surplus).max(1));
        surplus *= 2;
    }
}
