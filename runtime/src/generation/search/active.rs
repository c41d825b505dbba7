//! A document that decodes: what it feeds to a step, and what it makes of the logits.

use std::convert::Infallible;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::super::config::{GenerationConfig, Strategy};
use super::super::error::{GenerateError, ParameterError};
use super::super::model::{Feed, Rows, Source};
use super::super::outcome::{Generated, StopReason};
use super::document_search::{DocumentSearch, Fault, Workspace};
use super::lookup::Drafter;
use super::{beam, constrained, groups, single};

/// A document that decodes.
pub(super) struct Active {
    /// Its number in reports.
    pub(super) document: usize,
    /// Its number in the decoder.
    place: usize,
    config: Arc<GenerationConfig>,
    search: Box<dyn DocumentSearch>,
    workspace: Workspace,
    /// Drafts what the only row may go on with.
    drafter: Option<Drafter>,
    /// Decoder steps made.
    steps: usize,
    /// Tokens that the decoder has read of each row.
    read: usize,
    fed: Fed,
    /// Tokens of the last step that are final, and their sequences.
    emitted: Vec<(usize, u32)>,
    /// Set once the search has ended.
    pub(super) ended: Option<Ended>,
}

/// How a search ended.
pub(super) type Ended = Result<StopReason, GenerateError<Infallible>>;

/// What a document feeds to the step that is under way.
#[derive(Debug, Clone, Default)]
struct Fed {
    kind: Kind,
    /// Where its tokens and parents are among those of all documents.
    tokens: Range<usize>,
    parents: Range<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    /// A token of the prompt that is not its last: nothing is chosen behind it.
    #[default]
    Prompt,
    /// The newest token of each row.
    Newest,
    /// The newest token of the only row, and a draft behind it.
    Draft,
}

impl Active {
    /// The search of a document that has the number `place` in the decoder.
    pub(super) fn new(
        document: usize,
        place: usize,
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
            place,
            search,
            workspace: Workspace {
                processors: config.processors()?,
                vocab_size,
                maxima: Vec::new(),
                sums: Vec::new(),
            },
            drafter: config.lookup.map(|lookup| {
                let ends = config.eos_token_ids().to_vec();
                Drafter::new(lookup, source.token_ids.clone(), vocab_size, ends)
            }),
            config,
            steps: 0,
            read: 0,
            fed: Fed::default(),
            emitted: Vec::new(),
            ended: None,
        })
    }

    /// The document's number in the decoder.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// Decoder rows.
    pub(super) fn rows(&self) -> usize {
        self.config.rows_per_document()
    }

    /// Whether it drafts, where there is room.
    pub(super) fn drafts(&self) -> bool {
        self.drafter.is_some()
    }

    /// Decoder steps made.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Appends what it feeds to the next step, with a draft of at most `most_drafted` tokens.
    pub(super) fn feed(
        &mut self,
        tokens: &mut Vec<u32>,
        parents: &mut Vec<u32>,
        most_drafted: usize,
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
        } else if self.draft(tokens, most_drafted) {
            Kind::Draft
        } else {
            self.search.feed(tokens, parents);
            Kind::Newest
        };
        self.fed =
            Fed { kind, tokens: first_token..tokens.len(), parents: first_parent..parents.len() };
    }

    /// What was fed, of the tokens and parents of all documents.
    pub(super) fn fed<'a>(&self, tokens: &'a [u32], parents: &'a [u32]) -> Feed<'a> {
        Feed {
            document: self.place,
            past: self.read,
            tokens: &tokens[self.fed.tokens.clone()],
            rows: match self.fed.kind {
                Kind::Draft => Rows::Successive,
                _ => Rows::Beams(&parents[self.fed.parents.clone()]),
            },
        }
    }

    /// Rows of the step that are this document's.
    pub(super) fn rows_fed(&self) -> usize {
        self.fed.tokens.len()
    }

    /// Appends the newest token of the only row and a draft of what follows, of `most` tokens at
    /// most; `false` where there is none.
    fn draft(&self, tokens: &mut Vec<u32>, most: usize) -> bool {
        let (Some(drafter), Some(history)) = (&self.drafter, self.search.only_history()) else {
            return false;
        };
        let lengths = &self.config.lengths;
        // The step itself gives one token more than the draft has.
        let room = lengths.max_length.saturating_sub(history.len() + 1).min(most);
        let room = room.min(lengths.longest_history().saturating_sub(history.len()));
        let first = tokens.len();
        tokens.extend(history.last());
        drafter.propose(history, room, tokens);
        if tokens.len() > first + 1 {
            return true;
        }
        tokens.truncate(first);
        false
    }

    /// Lets the search choose from the logits of this document's rows.
    pub(super) fn advance(&mut self, logits: &mut [f32], tokens: &[u32]) {
        self.steps += 1;
        let chosen = catch_unwind(AssertUnwindSafe(|| match self.fed.kind {
            Kind::Prompt => {
                self.read += 1;
                Ok(None)
            }
            Kind::Newest => {
                self.read += 1;
                self.choose(logits)
            }
            Kind::Draft => self.verify(logits, &tokens[self.fed.tokens.clone()]),
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
        self.search.advance(logits, &mut self.workspace, &mut emit).map_err(|fault| match fault {
            Fault::NotANumber => GenerateError::NotANumber { document, length },
            Fault::NothingToSample => GenerateError::NothingToSample { document, length },
        })
    }

    /// Lets the search choose for as long as it chooses what was drafted.
    fn verify(
        &mut self,
        logits: &mut [f32],
        fed: &[u32],
    ) -> Result<Option<StopReason>, GenerateError<Infallible>> {
        for (place, row) in logits.chunks_exact_mut(self.workspace.vocab_size).enumerate() {
            self.read += 1;
            let stopped = self.choose(row)?;
            let chosen = self.search.only_history().and_then(<[u32]>::last);
            if stopped.is_some() || chosen != fed.get(place + 1) {
                return Ok(stopped);
            }
        }
        Ok(None)
    }

    /// Tokens of the last step that are final, and their sequences.
    pub(super) fn take_emitted(&mut self) -> impl Iterator<Item = (usize, u32)> {
        self.emitted.drain(..)
    }

    /// What was generated.
    pub(super) fn conclude(&mut self, stopped: StopReason) -> Generated {
        Generated { sequences: self.search.conclude(stopped), steps: self.steps, stopped }
    }
}
