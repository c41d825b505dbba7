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
use std::sync::Arc;
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
    let mut searches = Searches::new(1);
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
    tokens: Vec<u32>,
    parents: Vec<u32>,
}

impl Searches {
    /// None yet; so many threads will choose.
    pub(crate) fn new(threads: usize) -> Self {
        Self { active: Vec::new(), threads, tokens: Vec::new(), parents: Vec::new() }
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

    /// Decoder rows of all documents.
    pub(crate) fn rows(&self) -> usize {
        self.active.iter().map(Active::rows).sum()
    }

    /// The rows of each document, and the steps that it has made.
    pub(crate) fn progress(&self) -> impl Iterator<Item = (usize, usize)> {
        self.active.iter().map(|active| (active.rows(), active.steps()))
    }

    /// Makes one decoder step, and lets every search choose.
    ///
    /// # Errors
    /// [`GenerateError::Model`] and [`GenerateError::LogitsShape`], which are of the step and of no
    /// document. What is wrong with a document is told to the observer.
    pub(crate) fn step<M: StepModel>(
        &mut self,
        model: &mut M,
        observer: &mut dyn Observer,
    ) -> Result<(), GenerateError<M::Error>> {
        self.tokens.clear();
        self.parents.clear();
        for active in &mut self.active {
            if observer.cancelled(active.document) {
                active.ended = Some(Ok(StopReason::Cancelled));
            } else {
                active.feed(&mut self.tokens, &mut self.parents);
            }
        }
        self.drop_ended(model, observer);
        if self.active.is_empty() {
            return Ok(());
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
        Ok(())
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
        thread::scope(|scope| {
            let mut shares = parts.chunks_mut(share);
            let own = shares.next();
            for others in shares {
                scope.spawn(move || choose(others, tokens));
            }
            if let Some(own) = own {
                choose(own, tokens);
            }
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
