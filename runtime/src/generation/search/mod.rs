//! The loop that drives the searches of several documents in lockstep.

mod beam;
mod constrained;
mod groups;
mod hypotheses;
mod lookup;
mod progress;
mod ranking;
mod single;

use super::config::{GenerationConfig, Strategy};
use super::error::{GenerateError, ParameterError};
use super::kernels::normalizer::{Normalizer, block_maxima, materialize, normalize};
use super::model::{DraftModel, Source, StepModel};
use super::observer::Observer;
use super::outcome::{Generated, Hypothesis, StopReason};
use super::processors::{Context, Effect, LogitsProcessors};

/// The search of one document: which tokens its rows feed to the decoder, and what becomes of the logits.
trait DocumentSearch {
    /// Appends the newest token of each row, and the row of this document whose history it continues.
    fn feed(&self, tokens: &mut Vec<u32>, parents: &mut Vec<u32>);

    /// Takes the logits of this document's rows and moves one token on. `Some` is the end of the search.
    ///
    /// `emit` is told of tokens that are final: (sequence, token).
    fn advance(
        &mut self,
        logits: &mut [f32],
        workspace: &mut Workspace,
        emit: &mut dyn FnMut(usize, u32),
    ) -> Result<Option<StopReason>, Fault>;

    /// The history of the only row, where there is one that grows token by token.
    fn only_history(&self) -> Option<&[u32]> {
        None
    }

    /// Tokens in the rows' histories.
    fn length(&self) -> usize;

    /// The sequences, best first.
    fn conclude(&mut self, stopped: StopReason) -> Vec<Hypothesis>;
}

/// Why scores could not be used; the loop adds where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    NotANumber,
    NothingToSample,
}

/// What the searches share: the processors, and scratch space that keeps steps free of allocations.
struct Workspace {
    processors: LogitsProcessors,
    vocab_size: usize,
    /// Maxima of a row's blocks.
    maxima: Vec<f32>,
    /// Sums of a row's blocks.
    sums: Vec<f32>,
}

impl Workspace {
    /// Lets the processors change a row of a beam, and says how to read it then. Leaves the maxima of
    /// its blocks, or what is no less, behind.
    fn prepare(&mut self, context: &Context<'_>, row: &mut [f32]) -> Result<Normalizer, Fault> {
        let effect = self.processors.effect(context);
        let normalizer = normalize(row, &mut self.maxima, &mut self.sums);
        if effect == Effect::Rewrites {
            materialize(row, normalizer);
            self.processors.process(context, row);
            let nan = block_maxima(row, &mut self.maxima);
            return if nan {
                Err(Fault::NotANumber)
            } else {
                Ok(Normalizer::IDENTITY)
            };
        }
        if !normalizer.is_valid() {
            return Err(Fault::NotANumber);
        }
        if effect == Effect::Forbids {
            // Scores only fall, so the maxima still bound them.
            self.processors.process(context, row);
        }
        Ok(normalizer)
    }
}

/// One document that is decoding.
struct Active<'a> {
    /// Its index in the call.
    document: usize,
    search: Box<dyn DocumentSearch + 'a>,
    /// Set once the search has ended.
    stopped: Option<StopReason>,
}

impl Active<'_> {
    /// Lets the search choose from the logits of this document's rows.
    fn advance<E>(
        &mut self,
        logits: &mut [f32],
        workspace: &mut Workspace,
        observer: &mut dyn Observer,
    ) -> Result<(), GenerateError<E>> {
        let document = self.document;
        let mut emit = |sequence, token| observer.token(document, sequence, token);
        let length = self.search.length();
        self.stopped = self
            .search
            .advance(logits, workspace, &mut emit)
            .map_err(|fault| match fault {
                Fault::NotANumber => GenerateError::NotANumber { document, length },
                Fault::NothingToSample => GenerateError::NothingToSample { document, length },
            })?;
        Ok(())
    }
}

/// Generates for several documents at once; each gets exactly what it would get alone.
///
/// The results are in the order of `sources`. `model` must be set to the same documents, with
/// [`GenerationConfig::rows_per_document`] rows each and room for [`GenerationConfig::max_length`] tokens, and
/// nothing decoded yet.
///
/// With `prompt_lookup_num_tokens` a document that decodes alone takes several tokens a step where its
/// draft is right; those that decode together take one each, as ever.
///
/// Implements `GenerationMixin.generate` from its fifth step on (transformers 5.23.0).
///
/// # Errors
/// [`GenerateError::Model`] if a step fails; [`GenerateError::NotANumber`] if the model's scores are no numbers;
/// [`GenerateError::NothingToSample`] if the parameters forbid every token when sampling;
/// [`GenerateError::Parameter`] if stop strings are asked for and nobody
/// [knows texts](GenerationConfig::with_stop_strings); [`GenerateError::Vocabulary`] and
/// [`GenerateError::LogitsShape`] if model and configuration do not belong together.
pub fn generate<M: StepModel>(
    model: &mut M,
    sources: &[Source<'_>],
    config: &GenerationConfig,
    observer: &mut dyn Observer,
) -> Result<Vec<Generated>, GenerateError<M::Error>> {
    if model.vocab_size() != config.vocab_size {
        return Err(GenerateError::Vocabulary {
            model: model.vocab_size(),
            config: config.vocab_size,
        });
    }
    if !config.stop_strings().is_empty() && config.stopping.matcher.is_none() {
        return Err(GenerateError::Parameter(ParameterError::NotSupported {
            name: "stop_strings",
            value: format!("{:?} without a tokenizer", config.stop_strings()),
        }));
    }
    let mut results = vec![None; sources.len()];
    let mut batch = Batch::new(config, sources);
    while batch.drop_finished(model, &mut results, observer)? {
        batch.step(model, observer)?;
    }
    Ok(results.into_iter().flatten().collect())
}

/// The documents still decoding, all at the same length.
struct Batch<'a> {
    active: Vec<Active<'a>>,
    workspace: Workspace,
    /// Tokens that are given; all but the last go through the decoder before the first choice.
    prompt: &'a [u32],
    rows: usize,
    steps: usize,
    tokens: Vec<u32>,
    parents: Vec<u32>,
    kept: Vec<usize>,
    /// Drafts what a single document may go on with.
    drafter: Option<lookup::Drafter<'a>>,
    max_length: usize,
}

impl<'a> Batch<'a> {
    fn new(config: &'a GenerationConfig, sources: &[Source<'a>]) -> Self {
        let start = |(document, source): (usize, &Source<'a>)| Active {
            document,
            search: match &config.strategy {
                Strategy::Greedy => Box::new(single::SingleSearch::new(config, source, None)),
                Strategy::Sample(sampling) => {
                    Box::new(single::SingleSearch::new(config, source, Some(sampling)))
                }
                Strategy::Beam { beams, sampling } => {
                    let sampling = sampling.as_ref();
                    Box::new(beam::BeamSearch::new(config, source, *beams, sampling))
                }
                Strategy::GroupBeam { beams, groups } => Box::new(groups::GroupBeamSearch::new(
                    config, source, *beams, *groups,
                )),
                Strategy::ConstrainedBeam { beams, constraints } => Box::new(
                    constrained::ConstrainedBeamSearch::new(config, source, *beams, constraints),
                ),
            },
            stopped: None,
        };
        Self {
            active: sources.iter().enumerate().map(start).collect(),
            workspace: Workspace {
                processors: LogitsProcessors::new(config),
                vocab_size: config.vocab_size,
                maxima: Vec::new(),
                sums: Vec::new(),
            },
            prompt: &config.lengths.prompt,
            rows: config.rows_per_document(),
            steps: 0,
            tokens: Vec::new(),
            parents: Vec::new(),
            kept: Vec::new(),
            drafter: match (config.lookup, sources) {
                (Some(lookup), [source]) => Some(lookup::Drafter::new(
                    lookup,
                    source.token_ids,
                    config.vocab_size,
                    config.eos_token_ids(),
                )),
                _ => None,
            },
            max_length: config.max_length(),
        }
    }

    /// Takes finished and cancelled documents out of the batch. `false` when none is left.
    fn drop_finished<M: StepModel>(
        &mut self,
        model: &mut M,
        results: &mut [Option<Generated>],
        observer: &mut dyn Observer,
    ) -> Result<bool, GenerateError<M::Error>> {
        self.kept.clear();
        for (place, active) in self.active.iter_mut().enumerate() {
            if active.stopped.is_none() && observer.cancelled(active.document) {
                active.stopped = Some(StopReason::Cancelled);
            }
            match active.stopped {
                None => self.kept.push(place),
                Some(stopped) => {
                    let sequences = active.search.conclude(stopped);
                    let generated = Generated {
                        sequences,
                        steps: self.steps,
                        stopped,
                    };
                    observer.finished(active.document, &generated);
                    results[active.document] = Some(generated);
                }
            }
        }
        if self.kept.len() < self.active.len() {
            self.active.retain(|active| active.stopped.is_none());
            if !self.active.is_empty() {
                model.retain(&self.kept).map_err(GenerateError::Model)?;
            }
        }
        Ok(!self.active.is_empty())
    }

    /// Makes one decoder step, and lets every search choose.
    fn step<M: StepModel>(
        &mut self,
        model: &mut M,
        observer: &mut dyn Observer,
    ) -> Result<(), GenerateError<M::Error>> {
        self.tokens.clear();
        self.parents.clear();
        let reading = self.steps + 1 < self.prompt.len();
        if !reading
            && self.draft()
            && let Some(model) = model.as_draft_model()
        {
            return self.verify(model, observer);
        }
        self.tokens.clear();
        for active in &self.active {
            if reading {
                self.tokens
                    .extend(std::iter::repeat_n(self.prompt[self.steps], self.rows));
                self.parents.extend((0..self.rows).map(|row| row as u32));
            } else {
                active.search.feed(&mut self.tokens, &mut self.parents);
            }
        }
        let logits = model
            .step(&self.tokens, &self.parents)
            .map_err(GenerateError::Model)?;
        self.steps += 1;
        let expected = self.tokens.len() * self.workspace.vocab_size;
        if logits.len() != expected {
            return Err(GenerateError::LogitsShape {
                expected,
                found: logits.len(),
            });
        }
        if reading {
            return Ok(());
        }
        let shares = logits.chunks_exact_mut(self.rows * self.workspace.vocab_size);
        for (active, share) in self.active.iter_mut().zip(shares) {
            active.advance(share, &mut self.workspace, observer)?;
        }
        Ok(())
    }

    /// Leaves the newest token of a single row and a draft of what follows in `tokens`; `false`
    /// where there is none.
    fn draft(&mut self) -> bool {
        let (Some(drafter), [active]) = (&self.drafter, self.active.as_slice()) else {
            return false;
        };
        let Some(history) = active.search.only_history() else {
            return false;
        };
        // The step itself gives one token more than the draft has.
        let room = self.max_length.saturating_sub(history.len() + 1);
        self.tokens.extend(history.last());
        drafter.propose(history, room, &mut self.tokens);
        self.tokens.len() > 1
    }

    /// Reads the newest token and its draft in one step, and lets the search choose for as long as it
    /// chooses what was drafted.
    fn verify<E>(
        &mut self,
        model: &mut dyn DraftModel<Error = E>,
        observer: &mut dyn Observer,
    ) -> Result<(), GenerateError<E>> {
        let logits = model.read(&self.tokens).map_err(GenerateError::Model)?;
        self.steps += 1;
        let vocab_size = self.workspace.vocab_size;
        let expected = self.tokens.len() * vocab_size;
        if logits.len() != expected {
            return Err(GenerateError::LogitsShape {
                expected,
                found: logits.len(),
            });
        }
        let active = &mut self.active[0];
        let mut right = 0;
        for row in logits.chunks_exact_mut(vocab_size) {
            active.advance(row, &mut self.workspace, observer)?;
            right += 1;
            let chosen = active.search.only_history().and_then(<[u32]>::last);
            if active.stopped.is_some() || chosen != self.tokens.get(right) {
                break;
            }
        }
        model.forget(self.tokens.len() - right);
        Ok(())
    }
}
