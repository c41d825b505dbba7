//! Tests of documents of any length: read in parts, truncated, or by their most central sentences.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use crate::common::{self, bundle, fixture};
use epitome_runtime::generation::StopReason;
use epitome_runtime::long_document::Read;
use epitome_runtime::{
    GenerationParameters, Length, LongDocument, LongOptions, Progress, Reading, Summarizer, Summary,
};

const READINGS: [Reading; 3] = Reading::ALL;

fn summarizer() -> Summarizer {
    common::summarizer(bundle("tiny/pegasus-relu"))
}

fn greedy() -> GenerationParameters {
    GenerationParameters { num_beams: Some(1), max_new_tokens: Some(12), ..Default::default() }
}

fn options(reading: Reading, length: Option<Length>) -> LongOptions {
    LongOptions { reading, length }
}

/// All articles, one section each.
fn long_document() -> LongDocument<'static> {
    let mut document = LongDocument::default();
    let mut paths: Vec<PathBuf> =
        fs::read_dir(fixture("articles")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        document.push_section(Some(&name), &fs::read_to_string(&path).unwrap());
    }
    document
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[test]
fn a_short_document_gets_the_models_own_summary_however_it_is_read() {
    let mut summarizer = summarizer();
    let text = "A window shows values of many sensors. It can be moved.";
    let own = summarizer.summarize(&[text], &greedy()).unwrap().remove(0);
    for reading in READINGS {
        let options = options(reading, None);
        let summary =
            summarizer.summarize_long(&LongDocument::new(text), &options, &greedy()).unwrap();
        assert_eq!(summary.sequences[0].token_ids, own.sequences[0].token_ids);
        assert_eq!(summary.text(), own.text());
        assert!(!summary.truncated);
        assert_eq!(summary.read, Some(Read { words: 11, words_read: 11, parts: 1 }));
    }
}

#[test]
fn first_is_what_transformers_truncates() {
    let mut summarizer = summarizer();
    let document = long_document();
    let own = summarizer.summarize(&[document.text()], &greedy()).unwrap().remove(0);
    let options = options(Reading::First, None);
    let summary = summarizer.summarize_long(&document, &options, &greedy()).unwrap();
    assert_eq!(summary.sequences[0].token_ids, own.sequences[0].token_ids);
    assert_eq!(summary.input_tokens, own.input_tokens);
    assert!(summary.truncated && own.truncated);
    let read = summary.read.unwrap();
    assert_eq!((read.words, read.parts), (words(document.text()), 1));
    // The read words are the longest beginning that fits.
    let text = document.text();
    let is_too_long = |words: usize| {
        let last = text.split_whitespace().nth(words - 1).unwrap();
        let end = last.as_ptr() as usize + last.len() - text.as_ptr() as usize;
        summarizer.tokenizer().encode(&text[..end]).unwrap().truncated
    };
    assert!(!is_too_long(read.words_read - 1) && is_too_long(read.words_read + 1), "{read:?}");
}

#[test]
fn parts_hold_all_words_and_fit_the_window() {
    let mut summarizer = summarizer();
    let window = summarizer.bundle().manifest().max_source_tokens;
    let document = long_document();
    let options = options(Reading::Parts, None);
    let summary = summarizer.summarize_long(&document, &options, &greedy()).unwrap();
    let read = summary.read.unwrap();
    let all = words(document.text());
    assert_eq!((read.words, read.words_read), (all, all));
    assert!(read.parts > 2 && !summary.truncated, "{read}");
    assert!(summary.input_tokens <= read.parts * window);
    let whole = summarizer.tokenizer().encode(document.text()).unwrap();
    assert!(whole.truncated && summary.input_tokens > window);
    assert!(summary.sequences.len() == 1 && !summary.text().is_empty());
    let three =
        GenerationParameters { num_beams: Some(3), num_return_sequences: Some(3), ..greedy() };
    let summary = summarizer.summarize_long(&document, &options, &three).unwrap();
    assert_eq!(summary.sequences.len(), 3);
}

#[test]
fn lexrank_reads_one_window() {
    let mut summarizer = summarizer();
    let window = summarizer.bundle().manifest().max_source_tokens;
    let options = options(Reading::Lexrank, None);
    let summary = summarizer.summarize_long(&long_document(), &options, &greedy()).unwrap();
    let read = summary.read.unwrap();
    assert!(read.parts == 1 && read.words_read > 0 && read.words_read < read.words, "{read}");
    assert!(summary.truncated && summary.input_tokens <= window);
}

#[test]
fn the_budget_holds_in_every_way() {
    let mut summarizer = summarizer();
    let document = long_document();
    let all = words(document.text());
    for reading in READINGS {
        for length in [Length::Words(20), Length::Words(45), Length::Percent(5.0), Length::Short] {
            let budget = length.words(all);
            let options = options(reading, Some(length));
            let summary = summarizer.summarize_long(&document, &options, &greedy()).unwrap();
            // No sentence has more than 12 words, which are 12 tokens.
            let count = words(summary.text());
            assert!(count <= budget, "{reading:?}, {length}: {count} words");
        }
    }
}

/// Keeps summaries in the order in which they arrive.
#[derive(Default)]
struct Collected(Vec<(usize, Summary)>);

impl Progress for Collected {
    fn summarized(&mut self, document: usize, summary: Summary) {
        self.0.push((document, summary));
    }
}

#[test]
fn documents_together_get_what_each_gets_alone() {
    let mut summarizer = summarizer();
    let long = long_document();
    let half = long.text().len() / 2;
    let documents =
        [long.clone(), LongDocument::new("A short one."), LongDocument::new(&long.text()[..half])];
    for reading in READINGS {
        for length in [None, Some(Length::Words(30))] {
            let options = options(reading, length);
            let mut together = Collected::default();
            summarizer.summarize_long_each(&documents, &options, &greedy(), &mut together).unwrap();
            let numbers: HashSet<usize> = together.0.iter().map(|(number, _)| *number).collect();
            assert_eq!((numbers.len(), together.0.len()), (3, 3));
            for (number, summary) in &together.0 {
                let alone =
                    summarizer.summarize_long(&documents[*number], &options, &greedy()).unwrap();
                assert_eq!(alone.text(), summary.text(), "{reading:?}, document {number}");
                assert_eq!(alone.read, summary.read);
                assert_eq!(alone.input_tokens, summary.input_tokens);
            }
        }
    }
}

#[test]
fn hostile_texts_are_read_to_their_end() {
    let mut summarizer = summarizer();
    let units = ["word", "word ", "\u{1f642}", "a.", "\n\n", ") ", "\u{e9}\u{301}", ". ", "# \n"];
    for unit in units {
        let text = format!("x{}x", unit.repeat(6000 / unit.len()));
        for reading in READINGS {
            let document = LongDocument::new(text.as_str());
            let options = options(reading, Some(Length::Words(50)));
            let summary = summarizer.summarize_long(&document, &options, &greedy()).unwrap();
            let read = summary.read.unwrap();
            assert!(read.words_read <= read.words && read.words > 0, "{unit:?}: {read}");
            assert!(reading != Reading::Parts || read.words_read == read.words, "{unit:?}: {read}");
        }
    }
    let blank =
        summarizer.summarize_long(&LongDocument::new(" \n"), &LongOptions::default(), &greedy());
    assert!(blank.unwrap_err().to_string().contains("empty"));
}

/// Cancels after a number of checks.
struct Impatient {
    left: usize,
    summaries: Vec<Summary>,
}

impl Progress for Impatient {
    fn document_cancelled(&mut self, _document: usize) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    fn summarized(&mut self, _document: usize, summary: Summary) {
        self.summaries.push(summary);
    }
}

#[test]
fn a_document_that_nobody_waits_for_ends_at_once() {
    let mut summarizer = summarizer();
    let text = "Many words stand in this sentence. ".repeat(20_000);
    for reading in READINGS {
        for left in [1, 5, 50] {
            let mut impatient = Impatient { left, summaries: Vec::new() };
            let documents = [LongDocument::new(text.as_str())];
            let options = options(reading, None);
            summarizer
                .summarize_long_each(&documents, &options, &greedy(), &mut impatient)
                .unwrap();
            let [summary] = impatient.summaries.as_slice() else { panic!("one summary") };
            // Greedy search checks once per step, so a short text may end before.
            let ended = summary.stopped == StopReason::Cancelled || left == 50;
            assert!(ended, "{reading:?}, {left}: {:?}", summary.stopped);
        }
    }
}
