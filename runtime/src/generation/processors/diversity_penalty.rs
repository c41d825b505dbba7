//! `diversity_penalty`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};

/// Creates the processor if `diversity_penalty` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let penalty = settings.parameters.diversity_penalty;
    made(penalty.filter(|penalty| *penalty > 0.0).map(HammingDiversityLogitsProcessor::new))
}

/// Lowers the score of a token by `penalty` for each beam of earlier groups that chose it at the
/// same step.
///
/// The class is from transformers 4.46.3; version 5 dropped groups of beams.
pub(super) struct HammingDiversityLogitsProcessor {
    penalty: f32,
}

impl HammingDiversityLogitsProcessor {
    pub(super) fn new(penalty: f64) -> Self {
        Self { penalty: penalty as f32 }
    }
}

impl LogitsProcessor for HammingDiversityLogitsProcessor {
    fn effect(&self, context: &Context<'_>) -> Effect {
        if context.peers.is_empty() { Effect::Nothing } else { Effect::Rewrites }
    }

    fn process(&mut self, context: &Context<'_>, scores: &mut [f32]) {
        for (index, token) in context.peers.iter().enumerate() {
            // Subtract once for all beams that chose the token, for the rounding of transformers.
            if !context.peers[..index].contains(token) {
                let beams = context.peers.iter().filter(|other| *other == token).count();
                scores[*token as usize] -= self.penalty * beams as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::{processed, scores};
    use super::*;

    #[test]
    fn tokens_of_earlier_groups_lose_by_the_beams_that_chose_them() {
        let mut processor = HammingDiversityLogitsProcessor::new(1.5);
        let before = scores(50);
        let alone = Context::new(&[0], &[]);
        assert_eq!(processed(&mut processor, &alone, &before), before);
        let after = processed(&mut processor, &alone.beside(&[7, 9, 7]), &before);
        for (token, (before, after)) in before.iter().zip(&after).enumerate() {
            let expected = match token {
                7 => before - 3.0,
                9 => before - 1.5,
                _ => *before,
            };
            assert_eq!(*after, expected, "token {token}");
        }
    }
}
