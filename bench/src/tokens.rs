//! Generation from token ids, as the comparison with peers needs it: every engine gets the same ids and
//! must generate as many tokens, whatever they mean.

use std::time::Instant;

use epitome_runtime::generation::{EarlyStopping, Source, generate};
use epitome_runtime::{GenerationParameters, Summarizer};
use serde::{Deserialize, Serialize};

use crate::error::Result;

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
/// [`Error::Runtime`](crate::Error::Runtime) when the model does not allow it, or fails.
pub fn run(summarizer: &mut Summarizer, job: &Job) -> Result<Took> {
    let config = summarizer.configure(&GenerationParameters {
        num_beams: Some(job.beams),
        min_new_tokens: Some(job.tokens),
        max_new_tokens: Some(job.tokens),
        length_penalty: Some(1.0),
        no_repeat_ngram_size: Some(0),
        early_stopping: Some(EarlyStopping::False),
        ..Default::default()
    })?;
    let start = Instant::now();
    let (encoder, decoder) = summarizer.sessions();
    let memories = job
        .ids
        .iter()
        .map(|ids| encoder.encode(ids))
        .collect::<epitome_runtime::Result<_>>()?;
    let encoded = start.elapsed();
    let mut decoding = decoder.start(memories, config.rows_per_document(), config.max_length())?;
    let sources: Vec<_> = job.ids.iter().map(|ids| Source::new(ids)).collect();
    let generated = generate(&mut decoding, &sources, &config, &mut ())
        .map_err(epitome_runtime::Error::from)?;
    Ok(Took {
        seconds: start.elapsed().as_secs_f64(),
        encode_seconds: encoded.as_secs_f64(),
        steps: generated.iter().map(|one| one.steps).max().unwrap_or(0),
    })
}
