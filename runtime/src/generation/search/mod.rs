//! The searches of several documents, which make their steps together.

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
use crate::progress::Progress;

/// Rows of a step from which on several threads choose: below, a thread costs more than it saves.
const ROWS_OF_THREADS: usize = 12;

/// Generates for several documents at once; each gets exactly what it would get alone.
///
/// The results are in the order of `sources`. The documents must have joined `model` under the
/// numbers from 0 on, with [`GenerationConfig::rows_per_document`] rows each, and nothing decoded
/// yet.
///
/// With `prompt_lookup_num_tokens` a document takes several tokens a step where its draft is right.
///
/// Implements `GenerationMixin.generate` from its fifth step on (transformers 5.24.0).
///
/// # Errors
/// [`GenerateError::Model`] if a step fails; [`GenerateError::NotANumber`] if the model's scores
/// are no numbers; [`GenerateError::NothingToSample`] if the parameters forbid every token when
/// sampling; [`GenerateError::Parameter`] if stop strings are asked for and nobody [knows
/// texts](GenerationConfig::with_stop_strings); [`GenerateError::Vocabulary`] and
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

/// Whether searches of this configuration can follow a decoder of so many tokens.
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

/// Follows searches.
pub(crate) trait Observer {
    /// Whether nobody waits for the document any more. Asked before each step.
    fn cancelled(&mut self, document: usize) -> bool;

    /// A token became final.
    fn token(&mut self, document: usize, sequence: usize, token: u32);

    /// A search ended, and the document has left.
    fn ended(&mut self, document: usize, outcome: Result<Generated, GenerateError<Infallible>>);
}

/// Keeps the results of [`generate`].
struct Collector<'a> {
    progress: &'a mut dyn Progress,
    results: Vec<Option<Generated>>,
    error: Option<GenerateError<Infallible>>,
}

impl Observer for Collector<'_> {
    fn cancelled(&mut self, document: usize) -> bool {
        self.progress.document_cancelled(document)
    }

    fn token(&mut self, document: usize, sequence: usize, token: u32) {
        self.progress.token(document, sequence, token);
    }

    fn ended(&mut self, document: usize, outcome: Result<Generated, GenerateError<Infallible>>) {
        match outcome {
            Ok(generated) => {
                self.progress.generated(document, &generated);
                self.results[document] = Some(generated);
            }
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
    }
}

/// The searches that are under way. Each is at a length of its own, with parameters of its own.
pub(crate) struct Searches {
    active: Vec<Active>,
    threads: usize,
    /// Rows of a step that drafts may fill.
    rows: usize,
    tokens: Vec<u32>,
    parents: Vec<u32>,
}

impl Searches {
    /// None yet; so many threads will choose. Documents draft only as long as a step has so many
    /// rows at most. A document alone drafts as much as its parameters say.
    pub(crate) fn new(threads: usize, rows: usize) -> Self {
        Self { active: Vec::new(), threads, rows, tokens: Vec::new(), parents: Vec::new() }
    }

    /// Starts the search of a document, which has joined the decoder under the number `place`.
    pub(crate) fn start(
        &mut self,
        document: usize,
        place: usize,
        source: &Source,
        config: Arc<GenerationConfig>,
    ) -> Result<(), ParameterError> {
        self.active.push(Active::new(document, place, source, config)?);
        Ok(())
    }

    /// Whether none is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// The rows that each document fed to the last step, and the steps that it has made.
    pub(crate) fn progress(&self) -> impl Iterator<Item = (usize, usize)> {
        self.active.iter().map(|active| (active.rows_fed().max(active.rows()), active.steps()))
    }

    /// Makes one decoder step, and lets every search choose. Gives the rows of the step, which are
    /// none where all documents ended before it.
    ///
    /// # Errors
    /// [`GenerateError::Model`] and [`GenerateError::LogitsShape`], which are of the step and of no
    /// document. What is wrong with a document is told to the observer.
    pub(crate) fn step<M: StepModel>(
        &mut self,
        model: &mut M,
        observer: &mut dyn Observer,
    ) -> Result<usize, GenerateError<M::Error>> {
        self.feed(observer);
        self.drop_ended(model, observer);
        if self.active.is_empty() {
            return Ok(0);
        }
        let feeds: Vec<_> =
            self.active.iter().map(|active| active.fed(&self.tokens, &self.parents)).collect();
        let vocab_size = model.vocab_size();
        let logits = model.step(&feeds).map_err(GenerateError::Model)?;
        let rows: usize = self.active.iter().map(Active::rows_fed).sum();
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

    /// Collects what the documents feed to the next step.
    fn feed(&mut self, observer: &mut dyn Observer) {
        self.tokens.clear();
        self.parents.clear();
        let rows: usize = self.active.iter().map(Active::rows).sum();
        // Rows that are left for drafts, and documents that may take them.
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
            let own = active.rows_fed() * vocab_size;
            let (own, rest) = std::mem::take(&mut logits).split_at_mut(own);
            logits = rest;
            parts.push((active, own));
        }
        let tokens = self.tokens.as_slice();
        if self.threads < 2 || rows < ROWS_OF_THREADS || parts.len() < 2 {
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
                // Where the system starts no thread, those that run do its share.
                if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
    }

    /// Takes out the documents whose search has ended.
    fn drop_ended<M: StepModel>(&mut self, model: &mut M, observer: &mut dyn Observer) {
        self.active.retain_mut(|active| {
            let Some(ended) = active.ended.take() else { return true };
            model.leave(active.place());
            observer.ended(active.document, ended.map(|stopped| active.conclude(stopped)));
            false
        });
    }
}

/// Lets searches choose, each from the logits of its rows.
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

    /// Goes on with the number behind each token, and keeps the rows of each step.
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

    /// The rows of each step of so many documents with drafts of 20 tokens, and what they got.
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
