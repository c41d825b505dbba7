//! Documents in a batch never influence each other: results together equal results alone.

use std::collections::HashSet;
use std::sync::Arc;

use crate::common::{bundle, fixture, summarizer};
use epitome_runtime::batching::{Demand, Goal};
use epitome_runtime::generation::{GenerationConfig, StopReason};
use epitome_runtime::observer::Observer;
use epitome_runtime::summarizer::{TextModel, Texts};
use epitome_runtime::{GenerationParameters, Progress, Summary};
use serde_json::json;

/// Settings that end at different lengths, leave the batch early, or return several sequences.
fn settings() -> Vec<GenerationParameters> {
    [
        json!({}),
        json!({"num_beams": 1, "max_length": 20}),
        json!({"num_beams": 2, "length_penalty": 2.0, "early_stopping": "never", "max_length": 24}),
        json!({"num_beams": 4, "length_penalty": -1.0, "early_stopping": true, "max_length": 24}),
        json!({
            "num_beams": 8,
            "num_return_sequences": 3,
            "no_repeat_ngram_size": 2,
            "max_length": 16,
        }),
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
        let mut summarizer = summarizer(bundle(model));
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

/// Counts the documents that decode at the same time: those that have a token and no summary yet.
#[derive(Default)]
struct Together {
    decoding: HashSet<usize>,
    most: usize,
    finished: Vec<usize>,
}

impl Progress for Together {
    fn token(&mut self, document: usize, _: usize, _: u32) {
        self.decoding.insert(document);
        self.most = self.most.max(self.decoding.len());
    }

    fn summarized(&mut self, document: usize, _: Summary) {
        self.decoding.remove(&document);
        self.finished.push(document);
    }
}

#[test]
fn documents_join_and_leave_and_only_so_many_rows_decode_together() {
    let mut summarizer = summarizer(bundle("tiny/pegasus-relu"));
    let documents = ["A river rose."; 40];
    let greedy = json!({"num_beams": 1, "max_length": 24, "min_length": 24});
    let greedy = GenerationParameters::from_json(greedy.as_object().unwrap()).unwrap();
    for rows in [1, 16, 40] {
        summarizer.set_rows_together(rows.try_into().unwrap());
        let mut together = Together::default();
        summarizer.summarize_each(&documents, &greedy, &mut together).unwrap();
        // The number of documents that join depends on the duration of their steps.
        assert!(together.most <= rows && together.most >= rows.min(2), "{}", together.most);
        assert_eq!(together.finished, (0..40).collect::<Vec<_>>());
    }
}

/// Texts with different parameters.
struct Mixed<'a> {
    texts: &'a [(String, GenerationParameters)],
    next: usize,
    goal: Goal,
    /// Index of the text that is cancelled, and the number of checks before that.
    cancel: Option<(usize, usize)>,
    ended: Vec<Option<epitome_runtime::Result<Summary>>>,
}

impl Texts for Mixed<'_> {
    fn waiting(&mut self) -> Option<(usize, Demand)> {
        let (text, _) = self.texts.get(self.next)?;
        let demand = Demand { rows: 4, tokens: text.len() / 4, longest: 40 };
        Some((self.texts.len() - self.next, demand))
    }

    fn goal(&self) -> Goal {
        self.goal
    }

    fn take(&mut self) -> Option<usize> {
        self.next += 1;
        Some(self.next - 1)
    }

    fn text(&self, number: usize) -> &str {
        &self.texts[number].0
    }

    fn config(
        &self,
        number: usize,
        model: &TextModel,
    ) -> epitome_runtime::Result<Arc<GenerationConfig>> {
        Ok(Arc::new(model.configure(&self.texts[number].1)?))
    }
}

impl Observer<epitome_runtime::Result<Summary>> for Mixed<'_> {
    fn cancelled(&mut self, number: usize) -> bool {
        match &mut self.cancel {
            Some((chosen, left)) if *chosen == number => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            _ => false,
        }
    }

    fn ended(&mut self, number: usize, result: epitome_runtime::Result<Summary>) {
        assert!(self.ended[number].replace(result).is_none(), "it ended before");
    }
}

/// Decodes greedy search, beams, groups, sampling, constraints and drafts together, with different
/// lengths. One document is cancelled, and one fails.
#[test]
fn documents_of_all_parameters_decode_side_by_side() {
    let parameters: Vec<_> = [
        json!({"num_beams": 1, "max_length": 20}),
        json!({"num_beams": 4, "max_length": 24, "length_penalty": 2.0}),
        json!({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0, "max_length": 12}),
        json!({"do_sample": true, "num_return_sequences": 3, "seed": 5, "max_length": 16}),
        json!({"num_beams": 3, "force_words_ids": [[7, 8]], "max_length": 18}),
        json!({"num_beams": 1, "prompt_lookup_num_tokens": 4, "max_length": 24}),
        json!({"num_beams": 2, "do_sample": true, "seed": 1, "max_length": 14}),
        json!({"num_beams": 1, "max_length": 22, "decoder_input_ids": [0, 5, 9]}),
    ]
    .iter()
    .map(|fields| GenerationParameters::from_json(fields.as_object().unwrap()).unwrap())
    .collect();
    let texts: Vec<_> = documents().into_iter().zip(parameters.iter().cycle().cloned()).collect();
    for model in ["tiny/pegasus-relu", "tiny/t5-gated", "tiny/bart-gelu"] {
        let mut summarizer = summarizer(bundle(model));
        let (cancelled, failing) = (9, 12);
        let mut texts = texts.clone();
        // A token that the model does not have.
        texts[failing].1.decoder_input_ids = Some(vec![u32::MAX]);
        for goal in [Goal::Throughput, Goal::Latency] {
            let ended = texts.iter().map(|_| None).collect();
            let cancel = Some((cancelled, 6));
            let mut mixed = Mixed { texts: &texts, next: 0, goal, cancel, ended };
            summarizer.run(&mut mixed).unwrap();
            for (number, ((text, parameters), ended)) in texts.iter().zip(mixed.ended).enumerate() {
                let ended = ended.expect("every text ends");
                if number == failing {
                    assert!(ended.unwrap_err().to_string().contains("decoder_input_ids"));
                    continue;
                }
                let ended = ended.unwrap();
                if number == cancelled {
                    assert_eq!(ended.stopped, StopReason::Cancelled);
                    continue;
                }
                let alone = summarizer.summarize(&[text], parameters).unwrap().remove(0);
                let of = |summary: &Summary| {
                    let sequences = summary.sequences.iter();
                    let sequences = sequences.map(|it| (it.token_ids.clone(), it.score));
                    (sequences.collect::<Vec<_>>(), summary.steps, summary.stopped)
                };
                assert_eq!(of(&ended), of(&alone), "{model}: '{text}' with {parameters:?}");
            }
        }
    }
}

#[test]
fn an_empty_document_is_named_by_its_place() {
    let mut summarizer = summarizer(bundle("tiny/pegasus-relu"));
    let error = summarizer.summarize(&["text", "  "], &GenerationParameters::default());
    assert_eq!(error.unwrap_err().to_string(), "document 1 is empty: give it some text");
    let nothing: [&str; 0] = [];
    assert!(summarizer.summarize(&nothing, &GenerationParameters::default()).unwrap().is_empty());
}
