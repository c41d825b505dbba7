//! The loop that drives the searches of several documents in lockstep.

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

use document_search::{DocumentSearch, Fault, Workspace};

use super::config::{GenerationConfig, Lengths, Strategy};
use super::error::{GenerateError, ParameterError};
use super::model::{DraftModel, Source, StepModel};
use super::outcome::{Generated, StopReason};
use crate::progress::Progress;

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
        progress: &mut dyn Progress,
    ) -> Result<(), GenerateError<E>> {
        let document = self.document;
        let mut emit = |sequence, token| progress.token(document, sequence, token);
        let length = self.search.length();
        self.stopped =
            self.search.advance(logits, workspace, &mut emit).map_err(|fault| match fault {
                Fault::NotANumber => GenerateError::NotANumber { document, length },
                Fault::NothingToSample => GenerateError::NothingToSample { document, length },
            })?;
        Ok(())
    }
}

/// Generates for several documents at once; each gets exactly what it would get alone.
///
/// The results are in the order of `sources`. `model` must be set to the same documents, with
/// [`GenerationConfig::rows_per_document`] rows each and room for [`GenerationConfig::max_length`]
/// tokens, and nothing decoded yet.
///
/// With `prompt_lookup_num_tokens` a document that decodes alone takes several tokens a step where
/// its draft is right; those that decode together take one each, as ever.
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
    sources: &[Source<'_>],
    config: &GenerationConfig,
    progress: &mut dyn Progress,
) -> Result<Vec<Generated>, GenerateError<M::Error>> {
    if model.vocab_size() != config.tokens.vocab_size {
        return Err(GenerateError::Vocabulary {
            model: model.vocab_size(),
            config: config.tokens.vocab_size,
        });
    }
    if !config.stop_strings().is_empty() && config.stopping.matcher.is_none() {
        return Err(GenerateError::Parameter(ParameterError::NotSupported {
            name: "stop_strings",
            value: format!("{} texts without a tokenizer", config.stop_strings().len()),
        }));
    }
    let mut results = vec![None; sources.len()];
    let mut batch = Batch::new(config, sources)?;
    while batch.drop_finished(model, &mut results, progress)? {
        batch.step(model, progress)?;
    }
    Ok(results.into_iter().flatten().collect())
}

/// The documents still decoding, all at the same length.
struct Batch<'a> {
    active: Vec<Active<'a>>,
    workspace: Workspace,
    rows: usize,
    steps: usize,
    tokens: Vec<u32>,
    parents: Vec<u32>,
    kept: Vec<usize>,
    /// Drafts what a single document may go on with.
    drafter: Option<lookup::Drafter<'a>>,
    /// All tokens of the prompt but the last go through the decoder before the first choice.
    lengths: &'a Lengths,
}

impl<'a> Batch<'a> {
    fn new(config: &'a GenerationConfig, sources: &[Source<'a>]) -> Result<Self, ParameterError> {
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
                Strategy::GroupBeam { beams, groups } => {
                    Box::new(groups::GroupBeamSearch::new(config, source, *beams, *groups))
                }
                Strategy::ConstrainedBeam { beams, constraints } => Box::new(
                    constrained::ConstrainedBeamSearch::new(config, source, *beams, constraints),
                ),
            },
            stopped: None,
        };
        Ok(Self {
            active: sources.iter().enumerate().map(start).collect(),
            workspace: Workspace {
                processors: config.processors()?,
                vocab_size: config.tokens.vocab_size,
                maxima: Vec::new(),
                sums: Vec::new(),
            },
            rows: config.rows_per_document(),
            steps: 0,
            tokens: Vec::new(),
            parents: Vec::new(),
            kept: Vec::new(),
            drafter: match (config.lookup, sources) {
                (Some(lookup), [source]) => Some(lookup::Drafter::new(
                    lookup,
                    source.token_ids,
                    config.tokens.vocab_size,
                    config.eos_token_ids(),
                )),
                _ => None,
            },
            lengths: &config.lengths,
        })
    }

    /// Takes finished and cancelled documents out of the batch. `false` when none is left.
    fn drop_finished<M: StepModel>(
        &mut self,
        model: &mut M,
        results: &mut [Option<Generated>],
        progress: &mut dyn Progress,
    ) -> Result<bool, GenerateError<M::Error>> {
        self.kept.clear();
        for (place, active) in self.active.iter_mut().enumerate() {
            if active.stopped.is_none() && progress.document_cancelled(active.document) {
                active.stopped = Some(StopReason::Cancelled);
            }
            match active.stopped {
                None => self.kept.push(place),
                Some(stopped) => {
                    let sequences = active.search.conclude(stopped);
                    let generated = Generated { sequences, steps: self.steps, stopped };
                    progress.generated(active.document, &generated);
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
        progress: &mut dyn Progress,
    ) -> Result<(), GenerateError<M::Error>> {
        self.tokens.clear();
        self.parents.clear();
        let reading = self.steps + 1 < self.lengths.prompt.len();
        let length = match self.active.first() {
            Some(active) if !reading => active.search.length(),
            _ => self.steps + 1,
        };
        if let Some(positions) = self.lengths.positions
            && length > positions
        {
            return Err(self.lengths.beyond_positions(positions).into());
        }
        if !reading
            && self.draft()
            && let Some(model) = model.as_draft_model()
        {
            return self.verify(model, progress);
        }
        self.tokens.clear();
        for active in &self.active {
            if reading {
                self.tokens.extend(std::iter::repeat_n(self.lengths.prompt[self.steps], self.rows));
                self.parents.extend((0..self.rows).map(|row| row as u32));
            } else {
                active.search.feed(&mut self.tokens, &mut self.parents);
            }
        }
        let logits = model.step(&self.tokens, &self.parents).map_err(GenerateError::Model)?;
        self.steps += 1;
        let expected = self.tokens.len() * self.workspace.vocab_size;
        if logits.len() != expected {
            return Err(GenerateError::LogitsShape { expected, found: logits.len() });
        }
        if reading {
            return Ok(());
        }
        let shares = logits.chunks_exact_mut(self.rows * self.workspace.vocab_size);
        for (active, share) in self.active.iter_mut().zip(shares) {
            active.advance(share, &mut self.workspace, progress)?;
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
        let room = self.lengths.max_length.saturating_sub(history.len() + 1);
        let positions = self.lengths.longest_history();
        let room = room.min(positions.saturating_sub(history.len()));
        self.tokens.extend(history.last());
        drafter.propose(history, room, &mut self.tokens);
        self.tokens.len() > 1
    }

    /// Reads the newest token and its draft in one step, and lets the search choose for as long as
    /// it chooses what was drafted.
    fn verify<E>(
        &mut self,
        model: &mut dyn DraftModel<Error = E>,
        progress: &mut dyn Progress,
    ) -> Result<(), GenerateError<E>> {
        let logits = model.read(&self.tokens).map_err(GenerateError::Model)?;
        self.steps += 1;
        let vocab_size = self.workspace.vocab_size;
        let expected = self.tokens.len() * vocab_size;
        if logits.len() != expected {
            return Err(GenerateError::LogitsShape { expected, found: logits.len() });
        }
        let active = &mut self.active[0];
        let mut right = 0;
        for row in logits.chunks_exact_mut(vocab_size) {
            active.advance(row, &mut self.workspace, progress)?;
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
