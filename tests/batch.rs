//! Documents in a batch never influence each other: what each gets together is what it gets alone.

mod common;

use common::{Exported, fixture};
use epitome_runtime::{GenerationParameters, Progress, Summarizer, Summary};
use serde_json::json;

/// Settings that end at different lengths, leave the batch early, and return several sequences.
fn settings() -> Vec<GenerationParameters> {
    [
        json!({}),
        json!({"num_beams": 1, "max_length": 20}),
        json!({"num_beams": 2, "length_penalty": 2.0, "early_stopping": "never", "max_length": 24}),
        json!({"num_beams": 4, "length_penalty": -1.0, "early_stopping": true, "max_length": 24}),
        json!({"num_beams": 8, "num_return_sequences": 3, "no_repeat_ngram_size": 2, "max_length": 16}),
        json!({"num_beams": 3, "min_new_tokens": 6, "max_new_tokens": 12}),
    ]
    .iter()
    .map(|fields| GenerationParameters::from_json(fields.as_object().unwrap()).unwrap())
    .collect()
}

/// Documents of very different lengths, so that batches are padded and shrink as some finish.
fn documents() -> Vec<String> {
    let mut documents = Vec::new();
    for article in ["neuron", "enigma", "perl", "hunspell", "xwax", "beep"] {
        let text = std::fs::read_to_string(fixture(format!("articles/{article}.txt"))).unwrap();
        let words: Vec<&str> = text.split_whitespace().collect();
        for length in [1, 3, 9, 25] {
            documents.push(words[..length.min(words.len())].join(" "));
        }
    }
    documents
}

#[test]
fn every_document_gets_in_a_batch_what_it_gets_alone() {
    for model in ["tiny/pegasus-relu", "tiny/pegasus-gelu", "tiny/pegasus-swish"] {
        let exported = Exported::of(model);
        let mut summarizer = Summarizer::open(exported.path()).unwrap();
        let documents = documents();
        for parameters in settings() {
            let together = summarizer.summarize(&documents, &parameters).unwrap();
            assert_eq!(together.len(), documents.len());
            for (text, batched) in documents.iter().zip(&together) {
                let alone = summarizer.summarize(&[text], &parameters).unwrap().remove(0);
                let ids = |summary: &Summary| -> Vec<Vec<u32>> {
                    summary.sequences.iter().map(|s| s.token_ids.clone()).collect()
                };
                assert_eq!(ids(batched), ids(&alone), "{model}: '{text}' with {parameters:?}");
                assert_eq!(batched.steps, alone.steps, "{model}: '{text}' with {parameters:?}");
                assert_eq!(batched.stopped, alone.stopped);
            }
        }
    }
}

/// The documents that tokens were made for, one after another.
#[derive(Default)]
struct Turns(Vec<usize>);

impl Progress for Turns {
    fn token(&mut self, document: usize, _: usize, _: u32) {
        self.0.push(document);
    }
}

#[test]
fn as_many_rows_as_are_set_decode_together() {
    let exported = Exported::of("tiny/pegasus-relu");
    let mut summarizer = Summarizer::open(exported.path()).unwrap();
    let documents = ["A river rose."; 40];
    let greedy = json!({"num_beams": 1, "max_length": 8});
    let greedy = GenerationParameters::from_json(greedy.as_object().unwrap()).unwrap();
    for rows in [1, 16, 40] {
        summarizer.set_rows_together(rows.try_into().unwrap());
        let mut turns = Turns::default();
        summarizer.summarize_each(&documents, &greedy, &mut turns).unwrap();
        let again = turns.0.iter().skip(1).position(|&document| document == 0);
        assert_eq!(again.unwrap() + 1, rows);
    }
}

#[test]
fn an_empty_document_is_named_by_its_place() {
    let exported = Exported::of("tiny/pegasus-relu");
    let mut summarizer = Summarizer::open(exported.path()).unwrap();
    let error = summarizer.summarize(&["text", "  "], &GenerationParameters::default());
    assert_eq!(error.unwrap_err().to_string(), "document 1 is empty: give it some text");
    let nothing: [&str; 0] = [];
    assert!(summarizer.summarize(&nothing, &GenerationParameters::default()).unwrap().is_empty());
}
