//! Generation from token ids, for the comparison with other engines. All engines get the same ids
//! and generate the same number of tokens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use epitome_runtime::batching::{Documents, Next, Task};
use epitome_runtime::generation::{EarlyStopping, Generated, GenerationConfig, Source};
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
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
    let mut list = List { job, config: Arc::new(config), next: 0, took: Ok(Took::default()) };
    summarizer.run_tokens(&mut list)?;
    Ok(Took { seconds: start.elapsed().as_secs_f64(), ..list.took? })
}

/// The documents of a job.
struct List<'a> {
    job: &'a Job,
    config: Arc<GenerationConfig>,
    /// The first that was not taken.
    next: usize,
    took: epitome_runtime::Result<Took>,
}

impl Documents for List<'_> {
    fn waiting(&mut self) -> Option<(usize, Next)> {
        let ids = self.job.ids.get(self.next)?;
        Some((self.job.ids.len() - self.next, Next::new(&self.config, ids.len())))
    }

    fn take(&mut self) -> Option<Task> {
        let ids = &self.job.ids[self.next];
        self.next += 1;
        Some(Task {
            document: self.next,
            ids: ids.clone(),
            source: Source::new(ids),
            config: self.config.clone(),
        })
    }

    fn encoded(&mut self, _: usize, took: Duration) {
        if let Ok(all) = &mut self.took {
            all.encode_seconds += took.as_secs_f64();
        }
    }

    fn cancelled(&mut self, _: usize) -> bool {
        self.took.is_err()
    }

    fn ended(&mut self, _: usize, outcome: epitome_runtime::Result<Generated>) {
        match (&mut self.took, outcome) {
            (Ok(took), Ok(generated)) => took.steps = took.steps.max(generated.steps),
            (_, Err(error)) => self.took = Err(error),
            (Err(_), Ok(_)) => {}
        }
    }
}
