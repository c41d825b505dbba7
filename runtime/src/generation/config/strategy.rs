//! The search strategy: transformers' generation mode.

use super::super::error::ParameterError;
use super::super::parameters::{Constraint, EarlyStopping, GenerationParameters, MAX_ROWS};
use super::beam_mode::BeamMode;
use super::tokens::SpecialTokens;

/// The search strategy: transformers' generation mode.
#[derive(Debug, Clone)]
pub(crate) enum Strategy {
    /// Greedy search: the best token at each step.
    Greedy,
    /// Sampling: a random token at each step.
    Sample(Sampling),
    /// Beam search; with `sampling`, candidates are drawn instead of ranked.
    Beam { beams: Beams, sampling: Option<Sampling> },
    /// Diverse beam search. The number of groups divides the number of beams.
    GroupBeam { beams: Beams, groups: usize },
    /// Constrained beam search.
    ConstrainedBeam { beams: Beams, constraints: Vec<Constraint> },
}

/// Settings of beam search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beams {
    pub(crate) num_beams: usize,
    pub(crate) length_penalty: f64,
    pub(crate) early_stopping: EarlyStopping,
}

/// Settings of sampling.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampling {
    pub(crate) seed: u64,
}

impl Strategy {
    /// `merged` is `params` merged with the model's defaults.
    pub(super) fn resolve(
        merged: &GenerationParameters,
        params: &GenerationParameters,
        tokens: &SpecialTokens,
    ) -> Result<Self, ParameterError> {
        let mode = BeamMode::resolve(merged, params)?;
        let num_beams = merged.num_beams.unwrap_or(1);
        let seed = merged.seed.unwrap_or(0);
        let sampling = merged.do_sample.unwrap_or(false).then_some(Sampling { seed });
        if num_beams == 1 {
            return Ok(sampling.map_or(Self::Greedy, Self::Sample));
        }
        let candidates = tokens.candidates_per_beam();
        if tokens.vocab_size < candidates {
            return Err(ParameterError::Contradiction {
                name: "num_beams",
                value: num_beams.to_string(),
                reason: format!(
                    "the vocabulary has {} tokens, too few to rank {candidates} candidates for \
                     each beam",
                    tokens.vocab_size
                ),
            });
        }
        let beams = Beams {
            num_beams,
            length_penalty: merged.length_penalty.unwrap_or(1.0),
            early_stopping: merged.early_stopping.unwrap_or_default(),
        };
        Ok(match mode {
            BeamMode::Plain => Self::Beam { beams, sampling },
            BeamMode::Groups(groups) => Self::GroupBeam { beams, groups },
            BeamMode::Constraints(constraints) => {
                for constraint in &constraints {
                    tokens.check("force_words_ids", &constraint.tokens())?;
                }
                Self::ConstrainedBeam { beams, constraints }
            }
        })
    }

    /// Settings of beam search, if there are beams.
    pub(super) fn beams(&self) -> Option<Beams> {
        match self {
            Self::Greedy | Self::Sample(_) => None,
            Self::Beam { beams, .. }
            | Self::GroupBeam { beams, .. }
            | Self::ConstrainedBeam { beams, .. } => Some(*beams),
        }
    }

    /// Number of sequences returned for each document.
    pub(super) fn return_sequences(
        &self,
        merged: &GenerationParameters,
    ) -> Result<usize, ParameterError> {
        let wanted = merged.num_return_sequences.unwrap_or(1);
        let (max, reason) = match (self, self.beams()) {
            (_, Some(Beams { num_beams, .. })) => {
                (num_beams, format!("beam search finds at most `num_beams`, which is {num_beams}"))
            }
            (Self::Greedy, None) => (
                1,
                "greedy search finds one; set `num_beams` to that many, or `do_sample`".to_owned(),
            ),
            (_, None) => (MAX_ROWS, String::new()),
        };
        if wanted > max {
            return Err(ParameterError::Contradiction {
                name: "num_return_sequences",
                value: wanted.to_string(),
                reason,
            });
        }
        Ok(wanted)
    }
}
