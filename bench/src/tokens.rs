//! Generation from token ids, for the comparison with other engines. All engines get the same ids
//! and generate the same number of tokens.

use std::time::Instant;

use anyhow::Result;
use epitome_runtime::generation::{EarlyStopping, Source, generate};
use epitome_runtime::{GenerationParameters, Summarizer};
use serde::{Deserialize, Serialize};

/// What to generate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Job {
    /// Source tokens of each document.
    pub ids: Vec<Vec<u32>>,
    /// Beams of each document.
    pub beams: usize,
    /// Tokens to generate, no fewer and no more.
    pub tokens: usize,
}

/// How long it took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Took {
    /// All of it.
    pub seconds: f64,
    /// The encoder, over all documents.
    pub encode_seconds: f64,
    /// Decoder steps.
    pub steps: usize,
}

/// Generates for all documents together.
///
/// # Errors
///
/// When the model does not allow so many tokens or beams, or fails.
pub fn run(summarizer: &mut Summarizer, job: &Job) -> Result<Took> {
    let config = summarizer.configure(&GenerationParameters {
        num_beams: Some(job.beams),
        min_new_tokens: Some(job.tokens as i64),
        max_new_tokens: Some(job.tokens),
        length_penalty: Some(1.0),
        no_repeat_ngram_size: Some(0),
        early_stopping: Some(EarlyStopping::False),
        ..Default::default()
    })?;
    let start = Instant::now();
    let (encoder, decoder) = summarizer.sessions();
    let memories =
        job.ids.iter().map(|ids| encoder.encode(ids)).collect::<epitome_runtime::Result<_>>()?;
    let encoded = start.elapsed();
    let mut decoding = decoder.start(memories, config.rows_per_document(), config.max_length())?;
    let sources: Vec<_> = job.ids.iter().map(|ids| Source::new(ids)).collect();
    let generated = generate(&mut decoding, &sources, &config, &mut ())?;
    Ok(Took {
        seconds: start.elapsed().as_secs_f64(),
        encode_seconds: encoded.as_secs_f64(),
        steps: generated.iter().map(|one| one.steps).max().unwrap_or(0),
    })
}
