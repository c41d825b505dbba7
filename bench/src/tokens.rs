//! Generation from token ids, for the comparison with other engines. All engines get the same ids
//! and generate the same number of tokens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use epitome_runtime::batching::{Demand, Documents, Task};
use epitome_runtime::generation::{EarlyStopping, Generated, GenerationConfig, Source};
use epitome_runtime::observer::Observer;
use epitome_runtime::{GenerationParameters, Summarizer};
use serde::{Deserialize, Serialize};

/// Documents and parameters of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Job {
    /// Source tokens of each document.
    pub ids: Vec<Vec<u32>>,
    /// Number of beams.
    pub beams: usize,
    /// Exact number of tokens to generate.
    pub tokens: usize,
}

/// Timing of a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timing {
    /// Total time in seconds.
    pub seconds: f64,
    /// Time of the encoder in seconds, over all documents.
    pub encode_seconds: f64,
    /// Number of decoder steps.
    pub steps: usize,
}

/// Generates for all documents together.
///
/// # Errors
///
/// When the model does not allow so many tokens or beams, or fails.
pub fn run(summarizer: &mut Summarizer, job: &Job) -> Result<Timing> {
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
    let mut list = List { job, config: Arc::new(config), next: 0, timing: Ok(Timing::default()) };
    summarizer.run_tokens(&mut list)?;
    Ok(Timing { seconds: start.elapsed().as_secs_f64(), ..list.timing? })
}

/// The documents of a job.
struct List<'a> {
    job: &'a Job,
    config: Arc<GenerationConfig>,
    /// Index of the next document.
    next: usize,
    timing: epitome_runtime::Result<Timing>,
}

impl Documents for List<'_> {
    fn waiting(&mut self) -> Option<(usize, Demand)> {
        let ids = self.job.ids.get(self.next)?;
        Some((self.job.ids.len() - self.next, Demand::new(&self.config, ids.len())))
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
        if let Ok(all) = &mut self.timing {
            all.encode_seconds += took.as_secs_f64();
        }
    }
}

impl Observer<epitome_runtime::Result<Generated>> for List<'_> {
    fn cancelled(&mut self, _: usize) -> bool {
        self.timing.is_err()
    }

    fn ended(&mut self, _: usize, result: epitome_runtime::Result<Generated>) {
        match (&mut self.timing, result) {
            (Ok(timing), Ok(generated)) => timing.steps = timing.steps.max(generated.steps),
            (_, Err(error)) => self.timing = Err(error),
            (Err(_), Ok(_)) => {}
        }
    }
}
