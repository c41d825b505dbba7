//! Measures the time of a search per decoder step in milliseconds, with PEGASUS' vocabulary and
//! without a decoder.
//!
//! ```text
//! cargo run --release -p epitome-runtime --example search_cost
//! ```

use std::convert::Infallible;
use std::time::{Duration, Instant};

use epitome_runtime::generation::{
    Feed, GenerationConfig, GenerationParameters, Limits, Source, StepModel, generate,
};
use serde_json::json;

const VOCAB: usize = 96_103;
const STEPS: usize = 64;
const REPEATS: usize = 9;

/// Returns the same logits at every step, and measures the time to copy them.
struct Fixed {
    pristine: Vec<f32>,
    logits: Vec<f32>,
    copying: Duration,
}

impl StepModel for Fixed {
    type Error = Infallible;

    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn step(&mut self, feeds: &[Feed<'_>]) -> Result<&mut [f32], Infallible> {
        let start = Instant::now();
        let rows: usize = feeds.iter().map(|feed| feed.tokens.len()).sum();
        self.logits.clear();
        self.logits.extend_from_slice(&self.pristine[..rows * VOCAB]);
        self.copying += start.elapsed();
        Ok(&mut self.logits)
    }

    fn leave(&mut self, _: usize) {}
}

/// Random logits: sums of four uniform numbers, scaled.
fn logits(count: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(12_345);
    (0..count).map(|_| ((0..4).map(|_| random.f32()).sum::<f32>() - 2.0) * 6.0).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut model =
        Fixed { pristine: logits(8 * VOCAB), logits: Vec::new(), copying: Duration::ZERO };
    let defaults = json!({"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0});
    let defaults = defaults.as_object().ok_or("an object")?;
    let source = [5; 512];
    for mut parameters in [
        json!({"num_beams": 1}),
        json!({"num_beams": 4}),
        json!({"num_beams": 8}),
        json!({"num_beams": 8, "no_repeat_ngram_size": 3}),
        json!({"num_beams": 8, "repetition_penalty": 1.2}),
        json!({"num_beams": 8, "renormalize_logits": true}),
        json!({"num_beams": 8, "num_beam_groups": 4, "diversity_penalty": 1.0}),
        json!({"num_beams": 8, "force_words_ids": [[5, 6, 7], [[8, 9], [10]]]}),
        json!({"do_sample": true}),
        json!({"do_sample": true, "top_k": 0}),
        json!({"do_sample": true, "top_k": 0, "top_p": 0.9}),
        json!({"do_sample": true, "top_k": 0, "typical_p": 0.9}),
        json!({"do_sample": true, "num_beams": 8}),
        json!({"do_sample": true, "num_beams": 8, "top_k": 0}),
    ] {
        let name = parameters.to_string();
        parameters["min_new_tokens"] = json!(STEPS);
        parameters["max_new_tokens"] = json!(STEPS);
        let parameters = parameters.as_object().ok_or("an object")?;
        let parameters = GenerationParameters::from_json(parameters)?;
        let limits =
            Limits { max_target_positions: None, vocab_size: VOCAB, global_attention: false };
        let config = GenerationConfig::resolve(defaults, &parameters, limits)?;
        let mut least = f64::INFINITY;
        for _ in 0..REPEATS {
            model.copying = Duration::ZERO;
            let start = Instant::now();
            let generated = generate(&mut model, &[Source::new(&source)], &config, &mut ())?;
            let seconds = (start.elapsed() - model.copying).as_secs_f64();
            least = least.min(seconds / generated[0].steps as f64);
        }
        println!("{:8.3} ms  {name}", least * 1e3);
    }
    Ok(())
}
