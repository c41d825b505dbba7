//! Running beams and their continuations, for diverse and constrained beam search.

/// A running beam.
#[derive(Debug, Clone, Default)]
pub(super) struct Running {
    pub(super) tokens: Vec<u32>,
    pub(super) token_scores: Vec<f32>,
    /// Log-probability of the sequence.
    pub(super) score: f32,
}

impl Running {
    /// The beams at the start of a search. Only the first one counts, or all would choose the same
    /// tokens.
    pub(super) fn start(prompt: &[u32], beams: usize) -> Vec<Self> {
        let beam = |number| Self {
            tokens: prompt.to_vec(),
            token_scores: Vec::new(),
            score: if number == 0 { 0.0 } else { -1.0e9 },
        };
        (0..beams).map(beam).collect()
    }

    /// Becomes `other`, extended by a token, and keeps its allocations.
    pub(super) fn extend(&mut self, other: &Self, choice: &Ranked) {
        self.tokens.clone_from(&other.tokens);
        self.tokens.push(choice.token);
        self.token_scores.clone_from(&other.token_scores);
        self.token_scores.push(choice.token_score);
        self.score = choice.score;
    }
}

/// A continuation of a beam.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ranked {
    /// Index of the beam among those that are ranked together.
    pub(super) beam: usize,
    pub(super) token: u32,
    /// Log-probability of the token alone, after the processors.
    pub(super) token_score: f32,
    /// Log-probability of the sequence.
    pub(super) score: f32,
}
