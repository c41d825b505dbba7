//! Documents in a batch never influence each other, whatever the parameters.

use std::sync::Arc;
use std::time::{Duration, Instant};

use epitome_runtime::Progress;
use epitome_runtime::generation::{
    Generated, GenerationConfig, GenerationParameters, Limits, StopReason, StopStrings, generate,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::table::{TableModel, as_sources};

const LIMITS: Limits =
    Limits { max_target_positions: Some(40), vocab_size: 40, global_attention: false };

pub(crate) fn config(parameters: &Value) -> GenerationConfig {
    let defaults = json!({"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0});
    let parameters =
        GenerationParameters::from_json(parameters.as_object().expect("map")).expect("valid");
    GenerationConfig::resolve(defaults.as_object().expect("map"), &parameters, LIMITS)
        .expect("consistent")
}

fn run(
    sources: &[Vec<u32>],
    config: &GenerationConfig,
    progress: &mut dyn Progress,
) -> Vec<Generated> {
    let mut model = TableModel::new(LIMITS.vocab_size, sources, config.rows_per_document());
    generate(&mut model, &as_sources(sources), config, progress).expect("the table never fails")
}

fn sources() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(2_u32..40, 1..20), 1..7)
}

fn parameters() -> impl Strategy<Value = Value> {
    let beams = prop_oneof![
        Just(json!({})),
        (
            2_usize..6,
            prop_oneof![Just(json!(true)), Just(json!(false)), Just(json!("never"))],
            -2.0..4.0
        )
            .prop_map(|(beams, early, penalty)| json!({
                "num_beams": beams, "early_stopping": early, "length_penalty": penalty,
                "num_return_sequences": beams - 1,
            })),
        (0_u64..9, 1_usize..4).prop_map(|(seed, count)| json!({
            "do_sample": true, "seed": seed, "num_return_sequences": count, "top_p": 0.9,
        })),
        (1_usize..4, 2_usize..4, 0.1..5.0).prop_map(|(size, groups, penalty)| json!({
            "num_beams": size * groups, "num_beam_groups": groups, "diversity_penalty": penalty,
            "num_return_sequences": size,
        })),
        (2_usize..6, 2_u32..40, 2_u32..40)
            .prop_map(|(beams, one, other)| json!({
                "num_beams": beams, "num_return_sequences": beams,
                "force_words_ids": [[one, other], [[other], [41 - one, one]]],
            }))
            .prop_filter("an alternative begins another", |value| {
                let words = &value["force_words_ids"][1];
                words[0][0] != words[1][0]
            }),
        (0_u64..9).prop_map(
            |seed| json!({"do_sample": true, "num_beams": 3, "seed": seed, "temperature": 1.5})
        ),
    ];
    let others = (2_usize..25, 0_usize..20, 0_usize..4, 0_usize..4, 0.5..2.0, any::<bool>())
        .prop_map(|(new, min, repeat, encoder, penalty, scores)| {
            json!({
                "max_new_tokens": new, "min_length": min.min(new), "no_repeat_ngram_size": repeat,
                "encoder_no_repeat_ngram_size": encoder, "repetition_penalty": penalty,
                "encoder_repetition_penalty": penalty, "output_scores": scores,
            })
        });
    (beams, others).prop_map(|(mut one, other)| {
        one.as_object_mut().expect("map").extend(other.as_object().expect("map").clone());
        one
    })
}

proptest! {
    #[test]
    fn each_document_gets_what_it_gets_alone(sources in sources(), parameters in parameters()) {
        let config = config(&parameters);
        let together = run(&sources, &config, &mut ());
        prop_assert_eq!(together.len(), sources.len());
        for (source, in_batch) in sources.iter().zip(together) {
            let alone = run(std::slice::from_ref(source), &config, &mut ());
            prop_assert_eq!(&alone[0], &in_batch);
            prop_assert_eq!(in_batch.sequences.len(), config.num_return_sequences());
        }
    }
}

proptest! {
    /// Drafts change the number of steps only.
    #[test]
    fn drafts_change_no_token(
        source in prop::collection::vec(0_u32..6, 1..30),
        parameters in parameters(),
        (tokens, ngram_size) in (1_usize..9, 1_usize..4),
    ) {
        let mut plain = parameters.as_object().expect("map").clone();
        for name in ["num_beams", "num_beam_groups", "diversity_penalty", "num_return_sequences",
                     "force_words_ids", "early_stopping", "length_penalty"] {
            plain.remove(name);
        }
        let mut drafting = plain.clone();
        drafting.insert("prompt_lookup_num_tokens".into(), json!(tokens));
        drafting.insert("max_matching_ngram_size".into(), json!(ngram_size));
        let sources = [source];
        let expected = run(&sources, &config(&json!(plain)), &mut ());
        let found = run(&sources, &config(&json!(drafting)), &mut ());
        prop_assert_eq!(&found[0].sequences, &expected[0].sequences);
        prop_assert_eq!(found[0].stopped, expected[0].stopped);
        prop_assert!(found[0].steps <= expected[0].steps);
    }
}

/// Records tokens, and cancels a document.
#[derive(Default)]
struct Recorder {
    tokens: Vec<Vec<u32>>,
    /// Index of the document to cancel, and the number of its steps before.
    cancel: Option<(usize, usize)>,
}

impl Progress for Recorder {
    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        assert_eq!(sequence, 0);
        self.tokens.resize(self.tokens.len().max(document + 1), Vec::new());
        self.tokens[document].push(token);
    }

    fn document_cancelled(&mut self, document: usize) -> bool {
        match &mut self.cancel {
            Some((chosen, 0)) => *chosen == document,
            Some((chosen, left)) => {
                *left -= usize::from(*chosen == document);
                false
            }
            None => false,
        }
    }
}

fn three() -> Vec<Vec<u32>> {
    vec![vec![5, 6, 1], vec![9, 9, 9, 1], vec![30, 2, 17, 8, 1]]
}

#[test]
fn greedy_tokens_are_streamed_as_they_are_returned() {
    let mut recorder = Recorder::default();
    let generated = run(&three(), &config(&json!({"max_new_tokens": 20})), &mut recorder);
    for (tokens, generated) in recorder.tokens.iter().zip(&generated) {
        assert_eq!(*tokens, generated.sequences[0].token_ids[1..]);
        assert_eq!(generated.steps, tokens.len());
    }
}

#[test]
fn a_cancelled_document_leaves_and_the_others_go_on() {
    for parameters in [json!({}), json!({"num_beams": 3})] {
        let config = config(&parameters);
        let mut recorder = Recorder { cancel: Some((1, 2)), ..Recorder::default() };
        let undisturbed = run(&three(), &config, &mut ());
        let generated = run(&three(), &config, &mut recorder);
        assert_eq!(generated[1].stopped, StopReason::Cancelled);
        assert_eq!(generated[1].steps, 2);
        assert_eq!((&generated[0], &generated[2]), (&undisturbed[0], &undisturbed[2]));
    }
}

#[test]
fn time_cuts_a_document_as_its_greatest_length_would() {
    for parameters in [
        json!({"max_time": 0.0, "num_beams": 3, "num_return_sequences": 3, "min_length": 9}),
        json!({"max_time": 0.0, "min_length": 9}),
    ] {
        let generated = run(&three(), &config(&parameters), &mut ());
        for one in generated {
            assert_eq!((one.stopped, one.steps), (StopReason::Deadline, 1));
            assert!(one.sequences.iter().all(|sequence| sequence.token_ids.len() == 2));
        }
    }
}

#[test]
fn a_deadline_is_the_documents_own() {
    let config = config(&json!({"min_length": 9}));
    let tokens = three();
    let mut sources = as_sources(&tokens);
    let undisturbed = run(&tokens, &config, &mut ());
    sources[0].deadline = Instant::now().checked_sub(Duration::from_secs(1));
    let mut model = TableModel::new(LIMITS.vocab_size, &tokens, 1);
    let generated = generate(&mut model, &sources, &config, &mut ()).expect("no failure");
    assert_eq!(generated[0].stopped, StopReason::Deadline);
    assert_eq!(generated[1..], undisturbed[1..]);
}

/// A stop string that is one token.
pub(crate) struct StopAt(pub(crate) u32);

impl StopStrings for StopAt {
    fn ends(&self, token_ids: &[u32]) -> bool {
        token_ids.last() == Some(&self.0)
    }
}

#[test]
fn a_stop_string_is_an_end_token_by_another_name() {
    for beams in [1, 4] {
        // With two end tokens, three candidates are ranked for each beam. The second end token of
        // `stops` gives it three as well.
        let ends = config(&json!({"num_beams": beams, "eos_token_id": [1, 7]}));
        let stops = config(&json!({
            "num_beams": beams, "eos_token_id": [1, 1], "stop_strings": "the end",
        }))
        .with_stop_strings(Arc::new(StopAt(7)));
        assert_eq!(run(&three(), &ends, &mut ()), run(&three(), &stops, &mut ()));
    }
}

/// A tokenizer with a bug.
struct Panics;

impl StopStrings for Panics {
    fn ends(&self, _: &[u32]) -> bool {
        panic!("asked to panic")
    }
}

#[test]
fn a_search_that_panics_is_an_error_of_its_document() {
    let config = config(&json!({"stop_strings": "the end"})).with_stop_strings(Arc::new(Panics));
    let sources = three();
    let mut model = TableModel::new(LIMITS.vocab_size, &sources, 1);
    let error = generate(&mut model, &as_sources(&sources), &config, &mut ());
    assert!(error.expect_err("a panic").to_string().contains("document 0 panicked"));
}

#[test]
fn stop_strings_need_a_matcher() {
    let config = config(&json!({"stop_strings": "the end"}));
    let sources = three();
    let mut model = TableModel::new(LIMITS.vocab_size, &sources, 1);
    let error = generate(&mut model, &as_sources(&sources), &config, &mut ());
    assert!(error.expect_err("refused").to_string().contains("`stop_strings`"));
}

#[test]
fn the_positions_end_a_search_only_when_a_sequence_reaches_them() {
    for others in [
        json!({}),
        json!({"num_beams": 3}),
        json!({"prompt_lookup_num_tokens": 4}),
        json!({"do_sample": true, "num_return_sequences": 2}),
    ] {
        let with = |lengths: Value| {
            let mut parameters = others.as_object().expect("map").clone();
            parameters.extend(lengths.as_object().expect("map").clone());
            config(&json!(parameters))
        };
        let sources = [vec![5, 6, 1]];
        let generated = |config: &GenerationConfig| {
            let rows = config.rows_per_document();
            let mut model = TableModel::new(LIMITS.vocab_size, &sources, rows);
            generate(&mut model, &as_sources(&sources), config, &mut ())
        };
        // The decoder reads 40 tokens, and the last token of a sequence is never read.
        let longest = with(json!({"max_length": 41, "min_length": 41}));
        let longest = generated(&longest).expect("within the positions");
        assert_eq!(longest[0].sequences[0].token_ids.len(), 41);
        let beyond = with(json!({"max_length": 42, "min_length": 42}));
        let error = generated(&beyond).expect_err("beyond the positions").to_string();
        assert!(error.contains("`max_length` is 42") && error.contains("at most 41"), "{error}");
        // The table's end tokens come long before.
        let unreached = with(json!({"max_length": 4000, "early_stopping": true}));
        let unreached = generated(&unreached).expect("not reached");
        assert!(unreached[0].sequences[0].token_ids.len() < 40);
    }
}

#[test]
fn no_documents_need_no_step() {
    assert!(run(&[], &config(&json!({})), &mut ()).is_empty());
}

#[test]
fn samples_follow_seed_and_document() {
    let sample = |seed: u64, sources: &[Vec<u32>]| {
        let config = config(
            &json!({"do_sample": true, "seed": seed, "num_return_sequences": 2, "min_length": 9}),
        );
        run(sources, &config, &mut ())
    };
    let first = sample(1, &three());
    assert_eq!(first, sample(1, &three()));
    assert_ne!(first, sample(2, &three()));
    assert_ne!(first[0].sequences[0], first[0].sequences[1]);
    let mut turned = three();
    turned.reverse();
    let mut turned = sample(1, &turned);
    turned.reverse();
    assert_eq!(first, turned);
}
