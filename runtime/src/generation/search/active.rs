//! A document that is being decoded: its input to a step, and its choice from the logits.

use std::convert::Infallible;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::super::config::{GenerationConfig, Strategy};
use super::super::error::{GenerateError, ParameterError};
use super::super::model::{Feed, Rows, Source};
use super::super::outcome::{Generated, StopReason};
use super::document_search::{DocumentSearch, Fault, Scratch};
use super::lookup::Drafter;
use super::{beam, constrained, groups, single};

/// A document that is being decoded.
pub(super) struct Active {
    /// Number of the document in reports.
    pub(super) document: usize,
    /// Slot of the document in the decoder.
    slot: usize,
    config: Arc<GenerationConfig>,
    search: Box<dyn DocumentSearch>,
    scratch: Scratch,
    /// Drafts the continuation of the only row, for prompt lookup.
    drafter: Option<Drafter>,
    /// Decoder steps made.
    steps: usize,
    /// Number of tokens of each row that the decoder has read.
    read: usize,
    input: StepInput,
    /// Final tokens of the last step: (sequence, token).
    emitted: Vec<(usize, u32)>,
    /// Result of the search once it has ended.
    pub(super) ended: Option<Ended>,
}

/// How a search ended.
pub(super) type Ended = Result<StopReason, GenerateError<Infallible>>;

/// Input of a document to the current step.
#[derive(Debug, Clone, Default)]
struct StepInput {
    kind: Kind,
    /// Range of its tokens in the tokens of all documents.
    tokens: Range<usize>,
    /// Range of its parents in the parents of all documents.
    parents: Range<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    /// A token of the prompt before its last one: no token is chosen after it.
    #[default]
    Prompt,
    /// The newest token of each row.
    Newest,
    /// The newest token of the only row, followed by a draft.
    Draft,
}

impl Active {
    /// Starts the search of a document that has this slot in the decoder.
    pub(super) fn new(
        document: usize,
        slot: usize,
        source: &Source,
        config: Arc<GenerationConfig>,
    ) -> Result<Self, ParameterError> {
        let search: Box<dyn DocumentSearch> = match &config.strategy {
            Strategy::Greedy => Box::new(single::SingleSearch::new(&config, source, None)),
            Strategy::Sample(sampling) => {
                Box::new(single::SingleSearch::new(&config, source, Some(sampling)))
            }
            Strategy::Beam { beams, sampling } => {
                Box::new(beam::BeamSearch::new(&config, source, *beams, sampling.as_ref()))
            }
            Strategy::GroupBeam { beams, groups } => {
                Box::new(groups::GroupBeamSearch::new(&config, source, *beams, *groups))
            }
            Strategy::ConstrainedBeam { beams, constraints } => Box::new(
                constrained::ConstrainedBeamSearch::new(&config, source, *beams, constraints),
            ),
        };
        let vocab_size = config.tokens.vocab_size;
        Ok(Self {
            document,
            slot,
            search,
            scratch: Scratch {
                processors: config.processors()?,
                vocab_size,
                maxima: Vec::new(),
                sums: Vec::new(),
            },
            drafter: config.lookup.map(|lookup| {
                let ends = config.tokens.eos.clone();
                Drafter::new(lookup, source.token_ids.clone(), vocab_size, ends)
            }),
            config,
            steps: 0,
            read: 0,
            input: StepInput::default(),
            emitted: Vec::new(),
            ended: None,
        })
    }

    /// Slot of the document in the decoder.
    pub(super) fn slot(&self) -> usize {
        self.slot
    }

    /// Decoder rows.
    pub(super) fn rows(&self) -> usize {
        self.config.rows_per_document()
    }

    /// Whether the document drafts tokens if rows are left for them.
    pub(super) fn drafts(&self) -> bool {
        self.drafter.is_some()
    }

    /// Decoder steps made.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Appends the input to the next step, with a draft of at most `max_drafted` tokens.
    pub(super) fn feed(
        &mut self,
        tokens: &mut Vec<u32>,
        parents: &mut Vec<u32>,
        max_drafted: usize,
    ) {
        let (first_token, first_parent) = (tokens.len(), parents.len());
        let lengths = &self.config.lengths;
        let rows = self.rows();
        let reading = self.read + 1 < lengths.prompt.len();
        let length = if reading { self.read + 1 } else { self.search.length() };
        if let Some(positions) = lengths.positions
            && length > positions
        {
            self.ended = Some(Err(lengths.beyond_positions(positions).into()));
            return;
        }
        let kind = if reading {
            tokens.extend(std::iter::repeat_n(lengths.prompt[self.read], rows));
            parents.extend((0..rows).map(|row| row as u32));
            Kind::Prompt
        } else if self.draft(tokens, max_drafted) {
            Kind::Draft
        } else {
            self.search.feed(tokens, parents);
            Kind::Newest
        };
        self.input = StepInput {
            kind,
            tokens: first_token..tokens.len(),
            parents: first_parent..parents.len(),
        };
    }

    /// The input to the step, from the tokens and parents of all documents.
    pub(super) fn as_feed<'a>(&self, tokens: &'a [u32], parents: &'a [u32]) -> Feed<'a> {
        Feed {
            document: self.slot,
            past: self.read,
            tokens: &tokens[self.input.tokens.clone()],
            rows: match self.input.kind {
                Kind::Draft => Rows::Successive,
                _ => Rows::Beams(&parents[self.input.parents.clone()]),
            },
        }
    }

    /// Rows of this document in the step.
    pub(super) fn input_rows(&self) -> usize {
        self.input.tokens.len()
    }

    /// Appends the newest token of the only row and a draft of at most `max` tokens after it.
    /// Appends nothing and returns `false` if there is no draft.
    fn draft(&self, tokens: &mut Vec<u32>, max: usize) -> bool {
        let (Some(drafter), Some(history)) = (&self.drafter, self.search.only_history()) else {
            return false;
        };
        let lengths = &self.config.lengths;
        // The step adds one token more than the draft has.
        let max = lengths.max_length.saturating_sub(history.len() + 1).min(max);
        let max = max.min(lengths.longest_history().saturating_sub(history.len()));
        let first = tokens.len();
        tokens.extend(history.last());
        drafter.propose(history, max, tokens);
        if tokens.len() > first + 1 {
            return true;
        }
        tokens.truncate(first);
        false
    }

    /// Lets the search choose from the logits of this document's rows.
    pub(super) fn advance(&mut self, logits: &mut [f32], tokens: &[u32]) {
        self.steps += 1;
        let chosen = catch_unwind(AssertUnwindSafe(|| match self.input.kind {
            Kind::Prompt => {
                self.read += 1;
                Ok(None)
            }
            Kind::Newest => {
                self.read += 1;
                self.choose(logits)
            }
            Kind::Draft => self.verify(logits, &tokens[self.input.tokens.clone()]),
        }));
        self.ended = match chosen {
            Ok(chosen) => chosen.transpose(),
            Err(_) => Some(Err(GenerateError::Panicked { document: self.document })),
        };
    }

    fn choose(
        &mut self,
        logits: &mut [f32],
    ) -> Result<Option<StopReason>, GenerateError<Infallible>> {
        let document = self.document;
        let emitted = &mut self.emitted;
        let mut emit = |sequence, token| emitted.push((sequence, token));
        let length = self.search.length();
        self.search.advance(logits, &mut self.scratch, &mut emit).map_err(|fault| match fault {
            Fault::NotANumber => GenerateError::NotANumber { document, length },
            Fault::NothingToSample => GenerateError::NothingToSample { document, length },
        })
    }

    /// Lets the search choose token after token while it chooses the tokens of the draft.
    fn verify(
        &mut self,
        logits: &mut [f32],
        fed: &[u32],
    ) -> Result<Option<StopReason>, GenerateError<Infallible>> {
        for (offset, row) in logits.chunks_exact_mut(self.scratch.vocab_size).enumerate() {
            self.read += 1;
            let stopped = self.choose(row)?;
            let chosen = self.search.only_history().and_then(<[u32]>::last);
            if stopped.is_some() || chosen != fed.get(offset + 1) {
                return Ok(stopped);
            }
        }
        Ok(None)
    }

    /// Final tokens of the last step: (sequence, token).
    pub(super) fn take_emitted(&mut self) -> impl Iterator<Item = (usize, u32)> {
        self.emitted.drain(..)
    }

    /// The result of the search.
    pub(super) fn conclude(&mut self, stopped: StopReason) -> Generated {
        Generated { sequences: self.search.conclude(stopped), steps: self.steps, stopped }
    }
}
