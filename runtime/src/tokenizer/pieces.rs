//! Tokenizes a text of any length in bounded memory. The text is read in pieces, up to the limit of
//! the model.
//!
//! The `tokenizers` library uses more than a hundred bytes of memory for each byte of a text. So a
//! long text is cut between two words. A cut must not change a token: this is checked by tokenizing
//! the words around it.
//!
//! Some texts have no such cut for long. A stretch that becomes one token or none (joined spaces,
//! unknown characters) is shortened, if that changes no token. If the stretch continues with the
//! same few bytes, these are skipped. A single word of many tokens is read until its first tokens
//! are certain.
//!
//! Before each piece, a callback of the caller says whether to stop, since a text can take seconds.

use tokenizers::Result;

use super::Pipeline;

/// Size of a piece in bytes. A shorter text is tokenized at once.
const PIECE: usize = 32 << 10;
/// Bytes on each side of a cut that are tokenized to check the cut.
const CONTEXT: usize = 256;
/// Maximum number of cuts that are tried in a piece.
const MAX_CUTS: usize = 8;
/// Bytes at the end of a piece whose tokens may depend on the text that follows.
const UNCERTAIN: usize = 2 << 10;
/// Tokens at the beginning of the tail of a text that may depend on the text before it.
const UNCERTAIN_TOKENS: usize = 256;
/// Bytes that are kept at each end of a shortened stretch.
const STRETCH_END: usize = 1 << 10;
/// Maximum length in bytes of a unit that a stretch repeats.
const LONGEST_PERIOD: usize = 64;

/// Callback that returns true to end reading.
pub(super) type Stop<'a> = &'a mut dyn FnMut() -> bool;

/// The first `limit` tokens of the concatenated `texts`, and whether there are more.
pub(super) fn first(
    pipeline: &Pipeline,
    texts: [&str; 2],
    limit: usize,
    stop: Stop<'_>,
) -> Result<(Vec<u32>, bool)> {
    let mut pieces = Pieces::new(pipeline, texts, stop);
    let mut ids = Vec::new();
    while let Some(piece) = pieces.next(limit.saturating_sub(ids.len()))? {
        ids.extend(piece);
        if ids.len() > limit {
            ids.truncate(limit);
            return Ok((ids, true));
        }
    }
    Ok((ids, pieces.is_stopped()))
}

/// The last `limit` tokens of the concatenated `texts`, and whether there are more.
///
/// Only the tail of the text is read, if it has enough tokens. If the tail begins in a long word or
/// run of spaces, it is cut at any character, and the first tokens behind the cut are dropped.
pub(super) fn last(
    pipeline: &Pipeline,
    texts: [&str; 2],
    limit: usize,
    stop: Stop<'_>,
) -> Result<(Vec<u32>, bool)> {
    let [_, text] = texts;
    let wanted = limit.saturating_add(UNCERTAIN_TOKENS);
    let mut tail = PIECE.max(wanted.saturating_mul(16));
    while tail + PIECE < text.len() {
        let start = text.ceil_char_boundary(text.len() - tail);
        let region = &text[start..text.ceil_char_boundary(start + PIECE)];
        let start = start + cut(pipeline, region)?.unwrap_or(0);
        let (mut ids, more) = last_of(pipeline, ["", &text[start..]], wanted, stop)?;
        if more {
            // There may be fewer tokens, if the caller stopped.
            return Ok((ids.split_off(UNCERTAIN_TOKENS.min(ids.len())), true));
        }
        tail = tail.saturating_mul(4);
    }
    last_of(pipeline, texts, limit, stop)
}

/// The last `limit` tokens. The whole text is read.
fn last_of(
    pipeline: &Pipeline,
    texts: [&str; 2],
    limit: usize,
    stop: Stop<'_>,
) -> Result<(Vec<u32>, bool)> {
    let mut pieces = Pieces::new(pipeline, texts, stop);
    let mut ids = Vec::new();
    let mut more = false;
    while let Some(piece) = pieces.next(usize::MAX)? {
        ids.extend(piece);
        let surplus = ids.len().saturating_sub(limit);
        ids.drain(..surplus);
        more |= surplus > 0;
    }
    Ok((ids, more || pieces.is_stopped()))
}

/// A text that is read in pieces.
struct Pieces<'a, 's> {
    pipeline: &'a Pipeline,
    stop: Stop<'s>,
    /// Text that was taken from `rest` and is not yet tokenized.
    pending: String,
    /// Text that was not yet read.
    rest: [&'a str; 2],
    /// Size of the next piece in bytes.
    size: usize,
    done: bool,
}

impl<'a, 's> Pieces<'a, 's> {
    fn new(pipeline: &'a Pipeline, rest: [&'a str; 2], stop: Stop<'s>) -> Self {
        Self { pipeline, stop, pending: String::new(), rest, size: PIECE, done: false }
    }

    /// Whether the caller ended reading before the end of the text.
    fn is_stopped(&self) -> bool {
        !self.done
    }

    /// Tokens of the next piece; none at the end of the text, or if the caller stops. Reading ends
    /// with a piece of more than `wanted` tokens. The tokens beyond `wanted` are then uncertain.
    fn next(&mut self, wanted: usize) -> Result<Option<Vec<u32>>> {
        while !self.done && !(self.stop)() {
            self.fill();
            if self.rest.iter().all(|text| text.is_empty()) {
                self.done = true;
                return encode(self.pipeline, &self.pending).map(Some);
            }
            if let Some(cut) = cut(self.pipeline, &self.pending)? {
                let ids = encode(self.pipeline, &self.pending[..cut])?;
                self.pending.drain(..cut);
                self.size = PIECE;
                return Ok(Some(ids));
            }
            let whole = self.pipeline.encode(self.pending.as_str(), false)?;
            let certain = self.pending.len() - UNCERTAIN;
            let certain = whole.get_offsets().iter().filter(|(_, end)| *end <= certain);
            if certain.count() > wanted {
                self.done = true;
                return Ok(Some(whole.get_ids().into()));
            }
            let (shorter, ends_in_stretch) = without_stretches(&self.pending, whole.get_offsets());
            if shorter.len() <= self.pending.len() - PIECE / 4
                && encode(self.pipeline, &shorter)? == whole.get_ids()
            {
                self.pending = shorter;
                if ends_in_stretch {
                    self.skip_repetition();
                }
            } else {
                self.size = self.pending.len().saturating_mul(2);
            }
        }
        Ok(None)
    }

    /// Moves text from `rest` to `pending` until it has the size of a piece.
    fn fill(&mut self) {
        for text in &mut self.rest {
            let missing = self.size.saturating_sub(self.pending.len());
            let (taken, left) = text.split_at(text.floor_char_boundary(missing));
            self.pending.push_str(taken);
            *text = left;
            if !left.is_empty() {
                return;
            }
        }
    }

    /// Skips the bytes of `rest` that repeat the stretch at the end of `pending`. The last ones
    /// stay, so that the text behind them still follows such a stretch.
    fn skip_repetition(&mut self) {
        let Some(text) = self.rest.iter_mut().find(|text| !text.is_empty()) else { return };
        let end = &self.pending.as_bytes()[self.pending.len() - STRETCH_END..];
        let repeats = |period: &usize| end[*period..] == end[..STRETCH_END - period];
        let Some(period) = (1..=LONGEST_PERIOD).find(repeats) else { return };
        let unit = &end[STRETCH_END - period..];
        let same = text.bytes().zip(unit.iter().cycle()).take_while(|(a, b)| a == *b).count();
        let surplus = same.saturating_sub(STRETCH_END);
        // Whole units are skipped, so that the rest begins with a character.
        *text = &text[surplus - surplus % period..];
    }
}

fn encode(pipeline: &Pipeline, text: &str) -> Result<Vec<u32>> {
    Ok(pipeline.encode_fast(text, false)?.get_ids().into())
}

/// Offset before a space in the second half of the text, where a cut changes no token.
fn cut(pipeline: &Pipeline, text: &str) -> Result<Option<usize>> {
    let half = text.len() / 2;
    let end = text.len().saturating_sub(CONTEXT);
    let mut blank_follows = false;
    let mut tried = 0;
    for (at, character) in text[..text.floor_char_boundary(end)].char_indices().rev() {
        if at < half || tried == MAX_CUTS {
            break;
        }
        let blank = character.is_whitespace();
        if blank_follows && !blank {
            tried += 1;
            let cut = at + character.len_utf8();
            let left = &text[text.floor_char_boundary(cut - CONTEXT.min(cut))..cut];
            // The last token before the spaces may depend on the word behind them.
            let next = text.len() - text[cut..].trim_start().len();
            if next == text.len() {
                blank_follows = false;
                continue;
            }
            let right = &text[cut..text.ceil_char_boundary((next + CONTEXT).min(text.len()))];
            let mut apart = encode(pipeline, left)?;
            apart.extend(encode(pipeline, right)?);
            if encode(pipeline, &format!("{left}{right}"))? == apart {
                return Ok(Some(cut));
            }
        }
        blank_follows = blank;
    }
    Ok(None)
}

/// The text with shortened stretches, and whether it ends in one. A stretch is a long part of the
/// text in which no token begins or ends. Both of its ends are kept.
fn without_stretches(text: &str, offsets: &[(usize, usize)]) -> (String, bool) {
    let mut borders: Vec<usize> = offsets
        .iter()
        .flat_map(|&(start, end)| [start, end])
        .chain([0, text.len()])
        .map(|at| text.floor_char_boundary(at))
        .collect();
    borders.sort_unstable();
    let mut shorter = String::new();
    let mut ends_in_stretch = false;
    for stretch in borders.windows(2).map(|border| &text[border[0]..border[1]]) {
        if stretch.is_empty() {
            continue;
        }
        ends_in_stretch = stretch.len() > 4 * STRETCH_END;
        if !ends_in_stretch {
            shorter.push_str(stretch);
        } else {
            let end = stretch.len() - STRETCH_END;
            shorter.push_str(&stretch[..stretch.floor_char_boundary(STRETCH_END)]);
            shorter.push_str(&stretch[stretch.floor_char_boundary(end)..]);
        }
    }
    (shorter, ends_in_stretch)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use serde_json::{Value, json};

    use super::super::from_json;
    use super::*;

    /// Tokenizers that treat spaces and unknown characters differently.
    fn pipelines() -> Vec<(&'static str, Pipeline)> {
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
            "split": true});
        let words = json!({"type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]});
        let one_space = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
        let sentencepiece = json!({"type": "SentencePiece", "add_dummy_prefix": true,
            "remove_extra_whitespaces": true});
        let pieces = json!([
            ["<unk>", 0.0],
            ["▁", -2.0],
            ["▁word", -3.0],
            ["w", -4.0],
            ["or", -3.5],
            ["d", -4.0],
            ["o", -5.0],
            ["r", -5.0],
            [".", -4.0],
            ["a", -4.5],
            ["aaaa", -5.5],
            ["\n", -6.0]
        ]);
        let unigram = json!({"type": "Unigram", "unk_id": 0, "vocab": pieces});
        let wordpiece = json!({"type": "WordPiece", "unk_token": "<unk>",
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {"<unk>": 0, "word": 1, "w": 2, "##o": 3, "##r": 4, "##d": 5, ".": 6, "a": 7,
                "##a": 8}});
        let bytes = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut bytes: Vec<char> = bytes.into_iter().collect();
        bytes.sort_unstable();
        let mut vocab: serde_json::Map<String, Value> = bytes
            .iter()
            .enumerate()
            .map(|(id, character)| (character.to_string(), json!(id)))
            .collect();
        for (index, merged) in ["or", "Ġw", "aa", "aaaa", "ĠĠ", "ĠĠĠĠ"].iter().enumerate() {
            vocab.insert((*merged).to_owned(), json!(256 + index));
        }
        let bpe = json!({"type": "BPE", "vocab": vocab, "merges": [["o", "r"], ["Ġ", "w"],
            ["a", "a"], ["aa", "aa"], ["Ġ", "Ġ"], ["ĠĠ", "ĠĠ"]]});
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false,
            "trim_offsets": true, "use_regex": true});
        let moses_words = json!({"type": "Split", "pattern": {"String": " "},
            "behavior": "Removed", "invert": false});
        let letters = ["<unk>", "w", "o", "r", "d", "a", ".", "&", ";", "wo", "aa"];
        let ends = ["w</w>", "o</w>", "r</w>", "d</w>", "a</w>", ".</w>", ";</w>", "rd</w>"];
        let vocab: serde_json::Map<String, Value> = (letters.iter().chain(&ends).enumerate())
            .map(|(id, piece)| ((*piece).to_owned(), json!(id)))
            .collect();
        let ends_of_words = json!({"type": "BPE", "vocab": vocab, "unk_token": "<unk>",
            "end_of_word_suffix": "</w>",
            "merges": [["w", "o"], ["a", "a"], ["r", "d</w>"]]});
        [
            ("T5", Value::Null, words, &unigram),
            ("PEGASUS", one_space, metaspace, &unigram),
            ("Marian", sentencepiece, Value::Null, &unigram),
            (
                "BERT",
                json!({"type": "BertNormalizer", "clean_text": true,
                "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}),
                json!({"type": "BertPreTokenizer"}),
                &wordpiece,
            ),
            ("BART", Value::Null, byte_level, &bpe),
            (
                "FSMT",
                json!({"type": "Moses", "language": "de", "lowercase": false}),
                moses_words,
                &ends_of_words,
            ),
        ]
        .map(|(name, normalizer, pre_tokenizer, model)| {
            let file = json!({"version": "1.0", "added_tokens": [{"id": 0, "content": "<mask>",
                "single_word": false, "lstrip": true, "rstrip": false, "normalized": false,
                "special": true}],
                "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": null,
                "decoder": null, "model": model});
            (name, from_json(&file.to_string()).unwrap().0)
        })
        .into()
    }

    /// Long texts with their names.
    fn texts() -> Vec<(&'static str, String)> {
        let random = random_words();
        vec![
            ("words", "word wad. ".repeat(5_000)),
            ("random", random),
            ("blanks", format!("word{}word.", " ".repeat(80_000))),
            ("lines", "\n \t".repeat(20_000) + "a word"),
            ("words far apart", format!("word.{}", " ".repeat(20_000)).repeat(5)),
            ("words less far apart", format!("word.{}", " ".repeat(300)).repeat(300)),
            ("unknown", "🙂".repeat(15_000) + " word"),
            ("unknown and known", ("🙂".repeat(300) + "a").repeat(50)),
            ("masks", "word   <mask> a".repeat(4_000)),
            ("one word", "aord".repeat(15_000)),
            ("nothing", String::new()),
        ]
    }

    /// Words and spaces in random order.
    fn random_words() -> String {
        let parts = ["word", "wad", ".", " ", "  ", "\n", "aaaa", "🙂", "<mask>", "é", " w", "\t"];
        random(&parts, 25_000)
    }

    /// `count` parts in random order.
    fn random(parts: &[&str], count: usize) -> String {
        let mut random = fastrand::Rng::with_seed(1);
        (0..count).map(|_| parts[random.usize(..parts.len())]).collect()
    }

    #[test]
    fn pieces_have_the_tokens_of_the_whole() {
        // In threads: this is the slowest test of the crate.
        let check = |name: &str, pipeline: &Pipeline| {
            for (kind, text) in texts() {
                let whole = encode(pipeline, &format!("sum: {text}")).unwrap();
                for limit in [1, 1024, 1 << 20] {
                    let (ids, more) =
                        first(pipeline, ["sum: ", &text], limit, &mut || false).unwrap();
                    let kept = limit.min(whole.len());
                    let label = format!("{name}, {kind}, {limit}: {} of {}", ids.len(), kept);
                    assert!(ids == whole[..kept], "{label}");
                    assert_eq!(more, whole.len() > limit, "{label}");
                    let (ids, more) =
                        last(pipeline, ["sum: ", &text], limit, &mut || false).unwrap();
                    let label = format!("{name}, {kind}, last {limit}: {} of {}", ids.len(), kept);
                    // BART has tokens of spaces. A long run of spaces is cut like a long word.
                    let exact = (name, kind) != ("BART", "blanks");
                    assert!(!exact || ids == whole[whole.len() - kept..], "{label}");
                    assert_eq!(ids.len(), kept, "{label}");
                    assert_eq!(more, whole.len() > limit, "{label}");
                }
            }
        };
        let pipelines = pipelines();
        thread::scope(|scope| {
            for (name, pipeline) in &pipelines {
                scope.spawn(|| check(name, pipeline));
            }
        });
    }

    #[test]
    fn reading_ends_once_there_are_enough_tokens() {
        let (_, pipeline) = pipelines().swap_remove(0);
        for text in ["word ".repeat(400_000), "aord".repeat(500_000)] {
            let mut stop = || false;
            let mut pieces = Pieces::new(&pipeline, ["", &text], &mut stop);
            let mut found = 0;
            while found <= 100 {
                found += pieces.next(100 - found.min(100)).unwrap().unwrap().len();
            }
            assert!(pieces.rest[1].len() > text.len() - 3 * PIECE);
        }
        // A text of few tokens is read to its end, in bounded memory.
        for text in [" ".repeat(2_000_000), "🙂".repeat(500_000)] {
            let mut stop = || false;
            let mut pieces = Pieces::new(&pipeline, ["a", &text], &mut stop);
            while pieces.next(100).unwrap().is_some() {
                assert!(pieces.pending.len() <= 2 * PIECE);
            }
            assert_eq!(pieces.rest, ["", ""]);
        }
    }

    #[test]
    fn repetition_in_a_stretch_is_skipped() {
        let (_, pipeline) = pipelines().swap_remove(0);
        for unit in [" ", "\n \t", "🙂", "🙂🙃"] {
            let mut asked = 0;
            let mut count = || {
                asked += 1;
                false
            };
            let text = format!("word{} word", unit.repeat(1_000_000));
            let (ids, more) = first(&pipeline, ["", &text], 100, &mut count).unwrap();
            let short = format!("word{} word", unit.repeat(1_000));
            assert_eq!(ids, encode(&pipeline, &short).unwrap(), "{unit:?}");
            assert!(!more && asked < 10, "{unit:?}: {asked} pieces");
        }
    }

    #[test]
    fn the_caller_can_stop_reading() {
        for (name, pipeline) in pipelines() {
            for text in [random_words().repeat(10), random(&["🙂", "🙃"], 300_000)] {
                let mut left = 3;
                let mut stop = || {
                    left -= 1;
                    left == 0
                };
                let mut pieces = Pieces::new(&pipeline, ["", &text], &mut stop);
                while pieces.next(usize::MAX).unwrap().is_some() {}
                assert!(pieces.is_stopped(), "{name}");
                let mut stopped = || true;
                assert!(first(&pipeline, ["", &text], 100, &mut stopped).unwrap().1, "{name}");
                assert!(last(&pipeline, ["", &text], 100, &mut stopped).unwrap().1, "{name}");
            }
        }
    }
}
