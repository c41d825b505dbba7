//! Properties of every processor, over random rows.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::LogitsProcessors;
use super::processor::{Context, Effect, LogitsProcessor};
use crate::generation::{GenerationConfig, GenerationParameters, Limits};

const VOCAB: u32 = 40;

/// The allowed changes of a processor to scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Forbids tokens, whatever their scores. Idempotent.
    Forbids,
    /// Forbids tokens by their scores, never all of them.
    Filters,
    /// A filter that ignores the tokens that it dropped. Idempotent.
    FiltersOnce,
    /// Forces some tokens, even those that were forbidden. Idempotent.
    Forces,
    /// Changes scores; forbidden tokens stay forbidden.
    Rewrites,
    /// Changes scores; forbidden tokens stay forbidden. Idempotent up to rounding.
    RewritesOnce,
    /// Replaces NaN and infinity by finite numbers. Idempotent.
    Mends,
}

fn tokens(end: usize) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(2..VOCAB, 1..end)
}

/// The parameters of one processor.
fn parameters() -> impl Strategy<Value = (Kind, Value)> {
    let sampled = |name: &'static str, kind, values: std::ops::Range<f64>| {
        values.prop_map(move |value| {
            let mut object = json!({"do_sample": true, "top_k": 0});
            object[name] = json!(value);
            (kind, object)
        })
    };
    let forbids = prop_oneof![
        (1_usize..5).prop_map(|size| json!({"no_repeat_ngram_size": size})),
        (1_usize..5).prop_map(|size| json!({"encoder_no_repeat_ngram_size": size})),
        prop::collection::vec(tokens(4), 1..5).prop_map(|words| json!({"bad_words_ids": words})),
        (1_usize..16).prop_map(|length| json!({"min_length": length})),
        (1_usize..16).prop_map(|length| json!({"min_new_tokens": length})),
        tokens(9).prop_map(|tokens| json!({"suppress_tokens": tokens})),
        tokens(9).prop_map(|tokens| json!({"begin_suppress_tokens": tokens})),
    ];
    let bias = prop::collection::vec((tokens(3), -9.0..9.0), 1..4);
    prop_oneof![
        7 => forbids.prop_map(|value| (Kind::Forbids, value)),
        1 => (2..VOCAB).prop_map(|token| (Kind::Forces, json!({"forced_bos_token_id": token}))),
        1 => tokens(3).prop_map(|tokens| (Kind::Forces, json!({"forced_eos_token_id": tokens}))),
        1 => Just((Kind::Mends, json!({"remove_invalid_values": true}))),
        1 => Just((Kind::RewritesOnce, json!({"renormalize_logits": true}))),
        1 => (0.3..3.0).prop_map(|x| (Kind::Rewrites, json!({"repetition_penalty": x}))),
        1 => (0.3..3.0).prop_map(|x| (Kind::Rewrites, json!({"encoder_repetition_penalty": x}))),
        1 => bias.prop_map(|bias| (Kind::Rewrites, json!({"sequence_bias": bias}))),
        1 => (0_usize..9, 0.5..2.0).prop_map(|(start, factor)| {
            (Kind::Rewrites, json!({"exponential_decay_length_penalty": [start, factor]}))
        }),
        1 => (0.1..9.0).prop_map(|x| {
            (Kind::Rewrites, json!({"num_beams": 2, "num_beam_groups": 2, "diversity_penalty": x}))
        }),
        1 => sampled("temperature", Kind::Rewrites, 0.1..5.0),
        1 => (1_usize..50).prop_map(|k| {
            (Kind::FiltersOnce, json!({"do_sample": true, "top_k": k}))
        }),
        1 => sampled("top_h", Kind::Filters, 0.05..1.0),
        1 => sampled("top_p", Kind::Filters, 0.0..1.0),
        1 => sampled("min_p", Kind::FiltersOnce, 0.0..1.0),
        1 => sampled("typical_p", Kind::Filters, 0.05..0.99),
        1 => sampled("epsilon_cutoff", Kind::Filters, 0.001..0.9),
        1 => sampled("eta_cutoff", Kind::Filters, 0.001..0.9),
    ]
}

/// The processors of `parameters`.
fn processors(parameters: &Value) -> LogitsProcessors {
    let defaults = json!({"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0});
    let parameters = GenerationParameters::from_json(parameters.as_object().expect("a map"));
    let limits = Limits {
        max_target_positions: Some(20),
        vocab_size: VOCAB as usize,
        global_attention: false,
    };
    let defaults = defaults.as_object().expect("a map");
    let config = GenerationConfig::resolve(defaults, &parameters.expect("valid"), limits);
    config.and_then(|config| config.processors()).expect("consistent")
}

/// Scores, of which some but not all are minus infinity.
fn scores() -> impl Strategy<Value = Vec<f32>> {
    let score = prop_oneof![
        9 => -12.0_f32..12.0,
        1 => Just(f32::NEG_INFINITY),
    ];
    prop::collection::vec(score, VOCAB as usize).prop_map(|mut scores| {
        scores[3] = scores[3].max(-5.0);
        scores
    })
}

fn once(processor: &mut dyn LogitsProcessor, context: &Context<'_>, scores: &[f32]) -> Vec<f32> {
    let mut after = scores.to_vec();
    processor.process(context, &mut after);
    after
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_processor_does_what_it_says_and_no_more(
        (kind, parameters) in parameters(),
        before in scores(),
        history in prop::collection::vec(2..VOCAB, 0..19),
        source in prop::collection::vec(2..VOCAB, 1..12),
        peers in prop::collection::vec(2..VOCAB, 0..3),
    ) {
        let history: Vec<u32> = [0].into_iter().chain(history).collect();
        let context = Context::new(&history, &source).beside(&peers);
        let mut processors = processors(&parameters);
        for processor in &mut processors.list {
            let processor = processor.as_mut();
            let effect = processor.effect(&context);
            let after = once(processor, &context, &before);
            let twice = once(processor, &context, &after);
            let pairs = || before.iter().copied().zip(after.iter().copied());
            let only_forbids =
                || pairs().all(|(before, after)| same(before, after) || after == f32::NEG_INFINITY);
            if effect == Effect::Nothing {
                prop_assert!(pairs().all(|(before, after)| same(before, after)));
            }
            if effect == Effect::Forbids {
                prop_assert!(only_forbids());
            }
            // Forbidden tokens stay forbidden, unless tokens are forced or scores made finite.
            if !matches!(kind, Kind::Forces | Kind::Mends) {
                let stays_forbidden =
                    |(before, after): (f32, f32)| before > f32::NEG_INFINITY || after == before;
                prop_assert!(pairs().all(stays_forbidden));
            }
            prop_assert!(after.iter().all(|score| !score.is_nan()));
            let stays = || after.iter().zip(&twice).all(|(once, twice)| same(*once, *twice));
            match kind {
                Kind::Forbids => {
                    prop_assert!(effect <= Effect::Forbids);
                    prop_assert!(stays());
                }
                Kind::Filters | Kind::FiltersOnce => {
                    prop_assert!(only_forbids());
                    prop_assert!(after.iter().any(|score| *score > f32::NEG_INFINITY));
                    prop_assert!(kind == Kind::Filters || stays());
                }
                Kind::Forces => {
                    prop_assert!(stays());
                    let is_forced = |score: &f32| *score == 0.0 || *score == f32::NEG_INFINITY;
                    prop_assert!(effect == Effect::Nothing || after.iter().all(is_forced));
                }
                Kind::Mends => prop_assert!(after.iter().all(|score| score.is_finite()) && stays()),
                Kind::RewritesOnce => {
                    let near =
                        |(once, twice): (&f32, &f32)| once == twice || (once - twice).abs() < 1e-4;
                    prop_assert!(after.iter().zip(&twice).all(near));
                }
                Kind::Rewrites => {}
            }
        }
    }
}
