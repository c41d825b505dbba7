//! The searches of several documents, which share each decoder step.

mod active;
mod beam;
mod constrained;
mod constraint_state;
mod document_search;
mod groups;
mod hypotheses;
mod lookup;
mod ranking;
mod running;
mod single;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use active::Active;

use super::config::GenerationConfig;
use super::error::{GenerateError, ParameterError};
use super::model::{Source, StepModel};
use super::outcome::{Generated, StopReason};
use crate::observer::Observer;
use crate::progress::Progress;

/// Minimum number of rows for which several threads choose tokens. With fewer rows a thread costs
/// more than it saves.
const MIN_ROWS_FOR_THREADS: usize = 12;

/// How the search of a document ended.
pub(crate) type SearchResult = Result<Generated, GenerateError<Infallible>>;

/// Generates for several documents together. Each result is the same as if the document were alone.
///
/// The results are in the order of `sources`. The documents must have joined `model` with the
/// numbers from 0 on and [`GenerationConfig::rows_per_document`] rows each, and no step must have
/// been made.
///
/// With `prompt_lookup_num_tokens` a step adds several tokens to a document if its draft is right.
///
/// Implements `GenerationMixin.generate` (transformers 5.24.0), from its fifth step on.
///
/// # Errors
/// [`GenerateError::Model`] if a step fails; [`GenerateError::NotANumber`] if the model's scores
/// are not finite; [`GenerateError::NothingToSample`] if the parameters forbid every token when
/// sampling; [`GenerateError::Parameter`] if the parameters have stop strings without a
/// [matcher](GenerationConfig::with_stop_strings); [`GenerateError::Vocabulary`] and
/// [`GenerateError::LogitsShape`] if model and configuration do not belong together.
pub fn generate<M: StepModel>(
    model: &mut M,
    sources: &[Source],
    config: &GenerationConfig,
    progress: &mut dyn Progress,
) -> Result<Vec<Generated>, GenerateError<M::Error>> {
    let config = Arc::new(config.clone());
    let mut searches = Searches::new(1, usize::MAX);
    check(model.vocab_size(), &config).map_err(GenerateError::of_model)?;
    for (document, source) in sources.iter().enumerate() {
        searches.start(document, document, source, config.clone())?;
    }
    let results = vec![None; sources.len()];
    let mut collector = Collector { progress, results, error: None };
    while !searches.is_empty() {
        searches.step(model, &mut collector)?;
        if let Some(error) = collector.error.take() {
            return Err(error.of_model());
        }
    }
    Ok(collector.results.into_iter().flatten().collect())
}

/// Checks that this configuration fits a decoder with `vocab_size` tokens.
pub(crate) fn check(
    vocab_size: usize,
    config: &GenerationConfig,
) -> Result<(), GenerateError<Infallible>> {
    if vocab_size != config.tokens.vocab_size {
        return Err(GenerateError::Vocabulary {
            model: vocab_size,
            config: config.tokens.vocab_size,
        });
    }
    if !config.stop_strings().is_empty() && config.stopping.matcher.is_none() {
        return Err(GenerateError::Parameter(ParameterError::NotSupported {
            name: "stop_strings",
            value: format!("{} texts without a tokenizer", config.stop_strings().len()),
        }));
    }
    Ok(())
}

/// Keeps the results of [`generate`].
struct Collector<'a> {
    progress: &'a mut dyn Progress,
    results: Vec<Option<Generated>>,
    error: Option<GenerateError<Infallible>>,
}

impl Observer<SearchResult> for Collector<'_> {
    fn cancelled(&mut self, document: usize) -> bool {
        self.progress.document_cancelled(document)
    }

    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        self.progress.token(document, sequence, token);
    }

    fn ended(&mut self, document: usize, result: SearchResult) {
        match result {
            Ok(generated) => self.results[document] = Some(generated),
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
    }
}

/// The running searches. Each has its own length and parameters.
pub(crate) struct Searches {
    active: Vec<Active>,
    threads: usize,
    /// Maximum number of rows in a step with drafts.
    rows: usize,
    tokens: Vec<u32>,
    parents: Vec<u32>,
}

impl Searches {
    /// Creates an empty set of searches. `threads` threads choose tokens. Drafts fill a step up to
    /// `rows` rows; only its parameters limit the draft of a document that runs alone.
    pub(crate) fn new(threads: usize, rows: usize) -> Self {
        Self { active: Vec::new(), threads, rows, tokens: Vec::new(), parents: Vec::new() }
    }

    /// Starts the search of a document that has joined the decoder in this slot.
    pub(crate) fn start(
        &mut self,
        document: usize,
        slot: usize,
        source: &Source,
        config: Arc<GenerationConfig>,
    ) -> Result<(), ParameterError> {
        self.active.push(Active::new(document, slot, source, config)?);
        Ok(())
    }

    /// Whether no search is running.
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// For each document: its rows in the last step, and the number of its steps.
    pub(crate) fn progress(&self) -> impl Iterator<Item = (usize, usize)> {
        self.active.iter().map(|active| (active.input_rows().max(active.rows()), active.steps()))
    }

    /// Makes one decoder step, and lets every search choose. Returns the number of rows of the
    /// step; 0 if all documents ended before it.
    ///
    /// # Errors
    /// [`GenerateError::Model`] and [`GenerateError::LogitsShape`]: the whole step failed. The
    /// observer receives the errors of single documents.
    pub(crate) fn step<M: StepModel>(
        &mut self,
        model: &mut M,
        observer: &mut dyn Observer<SearchResult>,
    ) -> Result<usize, GenerateError<M::Error>> {
        self.feed(observer);
        self.drop_ended(model, observer);
        if self.active.is_empty() {
            return Ok(0);
        }
        let feeds: Vec<_> =
            self.active.iter().map(|active| active.as_feed(&self.tokens, &self.parents)).collect();
        let vocab_size = model.vocab_size();
        let logits = model.step(&feeds).map_err(GenerateError::Model)?;
        let rows: usize = self.active.iter().map(Active::input_rows).sum();
        let expected = rows * vocab_size;
        if logits.len() != expected {
            return Err(GenerateError::LogitsShape { expected, found: logits.len() });
        }
        self.advance(logits, rows, vocab_size);
        for active in &mut self.active {
            let document = active.document;
            for (sequence, token) in active.take_emitted() {
                observer.token(document, sequence, token);
            }
        }
        self.drop_ended(model, observer);
        Ok(rows)
    }

    /// Collects the tokens that the documents feed to the next step.
    fn feed(&mut self, observer: &mut dyn Observer<SearchResult>) {
        self.tokens.clear();
        self.parents.clear();
        let rows: usize = self.active.iter().map(Active::rows).sum();
        // Rows left for drafts, and the number of documents that may use them.
        let alone = self.active.len() == 1;
        let mut spare = if alone { usize::MAX } else { self.rows.saturating_sub(rows) };
        let mut drafting = self.active.iter().filter(|active| active.drafts()).count();
        for active in &mut self.active {
            if observer.cancelled(active.document) {
                active.ended = Some(Ok(StopReason::Cancelled));
                drafting -= usize::from(active.drafts());
                continue;
            }
            let before = self.tokens.len();
            active.feed(&mut self.tokens, &mut self.parents, spare / drafting.max(1));
            let fed = self.tokens.len() - before;
            spare -= fed.saturating_sub(active.rows());
            drafting -= usize::from(active.drafts());
        }
    }

    /// Lets every search choose from the logits of its rows.
    fn advance(&mut self, mut logits: &mut [f32], rows: usize, vocab_size: usize) {
        let mut parts = Vec::with_capacity(self.active.len());
        for active in &mut self.active {
            let own = active.input_rows() * vocab_size;
            let (own, rest) = std::mem::take(&mut logits).split_at_mut(own);
            logits = rest;
            parts.push((active, own));
        }
        let tokens = self.tokens.as_slice();
        if self.threads < 2 || rows < MIN_ROWS_FOR_THREADS || parts.len() < 2 {
            return choose(&mut parts, tokens);
        }
        let share = parts.len().div_ceil(self.threads);
        let others = parts.len().div_ceil(share) - 1;
        let shares = Mutex::new(parts.chunks_mut(share));
        let next = || shares.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some(share) = next() {
                choose(share, tokens);
            }
        };
        thread::scope(|scope| {
            for _ in 0..others {
                // If the system starts no thread, the running threads do its work.
                if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
    }

    /// Removes the documents whose search has ended.
    fn drop_ended<M: StepModel>(
        &mut self,
        model: &mut M,
        observer: &mut dyn Observer<SearchResult>,
    ) {
        self.active.retain_mut(|active| {
            let Some(ended) = active.ended.take() else { return true };
            model.leave(active.slot());
            observer.ended(active.document, ended.map(|stopped| active.conclude(stopped)));
            false
        });
    }
}

/// Lets each search choose from the logits of its rows.
fn choose(parts: &mut [(&mut Active, &mut [f32])], tokens: &[u32]) {
    for (active, logits) in parts {
        active.advance(logits, tokens);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config::Limits;
    use super::super::model::Feed;
    use super::super::parameters::GenerationParameters;
    use super::*;

    const VOCAB_SIZE: usize = 64;

    /// A model that continues each token `n` with `n + 1`, and records the rows of each step.
    #[derive(Default)]
    struct Counting {
        rows: Vec<usize>,
        logits: Vec<f32>,
    }

    impl StepModel for Counting {
        type Error = Infallible;

        fn vocab_size(&self) -> usize {
            VOCAB_SIZE
        }

        fn step(&mut self, feeds: &[Feed<'_>]) -> Result<&mut [f32], Infallible> {
            let tokens: Vec<u32> = feeds.iter().flat_map(|feed| feed.tokens).copied().collect();
            self.rows.push(tokens.len());
            self.logits = vec![0.0; tokens.len() * VOCAB_SIZE];
            for (row, token) in self.logits.chunks_exact_mut(VOCAB_SIZE).zip(tokens) {
                row[token as usize + 1] = 1.0;
            }
            Ok(&mut self.logits)
        }

        fn leave(&mut self, _: usize) {}
    }

    /// Decodes documents with drafts of 20 tokens. Returns the rows of each step and the results.
    fn run(documents: usize, threads: usize, rows: usize) -> (Vec<usize>, Vec<Generated>) {
        let defaults = json!({"decoder_start_token_id": 2, "eos_token_id": 1, "pad_token_id": 0});
        let asked = json!({"prompt_lookup_num_tokens": 20, "max_length": 30});
        let asked = GenerationParameters::from_json(asked.as_object().unwrap()).unwrap();
        let limits = Limits {
            max_target_positions: Some(40),
            vocab_size: VOCAB_SIZE,
            global_attention: false,
        };
        let config =
            GenerationConfig::resolve(defaults.as_object().unwrap(), &asked, limits).unwrap();
        let (config, source) = (Arc::new(config), (2..50).collect::<Vec<u32>>());
        let mut searches = Searches::new(threads, rows);
        for number in 0..documents {
            searches.start(number, number, &Source::new(&source), config.clone()).unwrap();
        }
        let mut model = Counting::default();
        let mut collector =
            Collector { progress: &mut (), results: vec![None; documents], error: None };
        while !searches.is_empty() {
            let rows = searches.step(&mut model, &mut collector).unwrap();
            assert_eq!(model.rows.last(), Some(&rows));
        }
        (model.rows, collector.results.into_iter().flatten().collect())
    }

    #[test]
    fn drafts_fill_the_rows_that_others_leave() {
        let (rows, alone) = run(1, 1, 9);
        assert_eq!(rows[0], 21, "alone, all of it");
        for (threads, documents) in [(1, 3), (4, 3), (4, 9)] {
            let (rows, together) = run(documents, threads, documents + 6);
            assert!(rows.iter().all(|&rows| rows <= documents + 6), "{rows:?}");
            assert!(rows[0] > documents, "{rows:?}");
            assert_eq!(together.len(), documents);
            assert!(together.iter().all(|one| one.sequences == alone[0].sequences));
        }
        let (rows, _) = run(4, 1, 4);
        assert!(rows.iter().all(|&rows| rows == 4), "no room for drafts: {rows:?}");
    }
}
