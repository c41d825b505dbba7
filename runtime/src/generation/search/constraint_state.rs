//! The progress of a sequence in fulfilling constraints.
//!
//! Implements `ConstraintListState` of transformers' `beam_constraints.py` (4.46.3) with
//! `PhrasalConstraint` and `DisjunctiveConstraint`. A phrase is a single alternative.

use super::super::parameters::Constraint;

/// All constraints of a search.
#[derive(Debug)]
pub(super) struct Constraints {
    list: Vec<Alternatives>,
    /// Tokens of the longest alternative of all constraints.
    longest: usize,
}

/// Token sequences of which one must occur. None is a prefix of another.
#[derive(Debug)]
struct Alternatives {
    words: Vec<Vec<u32>>,
    /// Tokens of the longest sequence.
    longest: usize,
}

impl Alternatives {
    /// Tokens that may follow this prefix of an alternative, in the order of their first
    /// occurrence.
    fn next_tokens(&self, path: &[u32]) -> Vec<u32> {
        let mut tokens = Vec::new();
        for word in &self.words {
            if let Some([token, ..]) = word.strip_prefix(path)
                && !tokens.contains(token)
            {
                tokens.push(*token);
            }
        }
        tokens
    }

    fn advances(&self, path: &[u32], token: u32) -> bool {
        self.words
            .iter()
            .any(|word| word.strip_prefix(path).and_then(<[u32]>::first) == Some(&token))
    }

    fn is_complete(&self, path: &[u32]) -> bool {
        self.words.iter().any(|word| word == path)
    }
}

impl Constraints {
    pub(super) fn new(constraints: &[Constraint]) -> Self {
        let list: Vec<Alternatives> = constraints
            .iter()
            .map(|constraint| {
                let words = match constraint {
                    Constraint::Phrasal(tokens) => vec![tokens.clone()],
                    Constraint::Disjunctive(words) => words.clone(),
                };
                let longest = words.iter().map(Vec::len).max().unwrap_or(0);
                Alternatives { words, longest }
            })
            .collect();
        let longest = list.iter().map(|one| one.longest).max().unwrap_or(0);
        Self { list, longest }
    }
}

/// The constraints that a sequence has fulfilled and begun.
#[derive(Debug, Clone)]
pub(super) struct ConstraintState {
    /// Constraints that are not begun, in the order in which they are tried.
    pending: Vec<usize>,
    /// The constraint that is begun, and its tokens so far.
    current: Option<(usize, Vec<u32>)>,
    fulfilled: usize,
}

impl ConstraintState {
    /// The state after these tokens.
    pub(super) fn of(constraints: &Constraints, tokens: &[u32]) -> Self {
        let mut state =
            Self { pending: (0..constraints.list.len()).collect(), current: None, fulfilled: 0 };
        for token in tokens {
            state.add(constraints, *token);
        }
        state
    }

    /// Whether all constraints are fulfilled.
    pub(super) fn is_complete(&self) -> bool {
        self.pending.is_empty() && self.current.is_none()
    }

    /// Adds a token. A token that breaks the begun constraint is not tried as the beginning of
    /// another one.
    pub(super) fn add(&mut self, constraints: &Constraints, token: u32) {
        let advances =
            |number: &usize, path: &[u32]| constraints.list[*number].advances(path, token);
        let (number, mut path) = match self.current.take() {
            Some((number, path)) if advances(&number, &path) => (number, path),
            Some((number, _)) => {
                self.pending.push(number);
                return;
            }
            None => match self.pending.iter().position(|number| advances(number, &[])) {
                Some(index) => (self.pending.remove(index), Vec::new()),
                None => return,
            },
        };
        path.push(token);
        if constraints.list[number].is_complete(&path) {
            self.fulfilled += 1;
        } else {
            self.current = Some((number, path));
        }
    }

    /// The bank of the sequence: roughly the number of fulfilled tokens. Sequences are ranked
    /// within their bank.
    pub(super) fn bank(&self, constraints: &Constraints) -> usize {
        let under_way = self.current.as_ref().map_or(0, |(number, path)| {
            // A constraint counts as many tokens as the longest one, less its missing tokens.
            constraints.longest - (constraints.list[*number].longest - path.len())
        });
        self.fulfilled * constraints.longest + under_way
    }

    /// Tokens that advance a constraint, each with the bank that it leads to.
    ///
    /// transformers copies a state without copying the tokens of a begun alternative. If several
    /// tokens continue it, each of them also lengthens it for the tokens after it, and in the end
    /// for all. The banks reproduce this.
    pub(super) fn advances(&self, constraints: &Constraints) -> Vec<(u32, usize)> {
        let Some((number, path)) = &self.current else {
            let tokens =
                self.pending.iter().flat_map(|number| constraints.list[*number].next_tokens(&[]));
            return tokens
                .map(|token| (token, self.with(constraints, token).bank(constraints)))
                .collect();
        };
        let alternatives = &constraints.list[*number];
        let mut shared = self.clone();
        let mut path = path.clone();
        let mut advanced: Vec<(u32, Self)> = Vec::new();
        for token in alternatives.next_tokens(&path) {
            shared.current = Some((*number, path.clone()));
            if alternatives.advances(&path, token) {
                path.push(token);
            }
            advanced.push((token, shared.with(constraints, token)));
        }
        let bank = |(token, mut state): (u32, Self)| {
            if let Some((_, own)) = &mut state.current {
                own.clone_from(&path);
            }
            (token, state.bank(constraints))
        };
        advanced.into_iter().map(bank).collect()
    }

    /// A copy of this state with one token more.
    pub(super) fn with(&self, constraints: &Constraints, token: u32) -> Self {
        let mut longer = self.clone();
        longer.add(constraints, token);
        longer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_fulfilled_one_after_the_other() {
        let constraints = Constraints::new(&[
            Constraint::Phrasal(vec![5, 6]),
            Constraint::Disjunctive(vec![vec![7], vec![8, 9, 10]]),
        ]);
        let bank = |tokens: &[u32]| ConstraintState::of(&constraints, tokens).bank(&constraints);
        assert_eq!(bank(&[]), 0);
        assert_eq!(bank(&[5]), 2);
        assert_eq!(bank(&[5, 6]), 3);
        assert_eq!(bank(&[5, 8]), 0, "a token that breaks one does not begin another");
        assert_eq!(bank(&[8]), 1);
        assert_eq!(bank(&[7, 5, 6]), 6);
        assert!(ConstraintState::of(&constraints, &[7, 0, 5, 6]).is_complete());
        assert!(!ConstraintState::of(&constraints, &[7, 5, 0, 6]).is_complete());
    }

    #[test]
    fn every_constraint_not_begun_offers_its_first_tokens() {
        let constraints = Constraints::new(&[
            Constraint::Phrasal(vec![5, 6]),
            Constraint::Disjunctive(vec![vec![7], vec![8, 9], vec![8, 10]]),
        ]);
        let advances =
            |tokens: &[u32]| ConstraintState::of(&constraints, tokens).advances(&constraints);
        assert_eq!(advances(&[]), [(5, 1), (7, 2), (8, 1)]);
        assert_eq!(advances(&[5]), [(6, 2)]);
        assert_eq!(advances(&[8]), [(9, 2), (10, 0)]);
    }
}
