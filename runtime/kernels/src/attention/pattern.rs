//! The tokens that a token attends to ("sees").

use std::ops::Range;

/// The tokens that each token of a document sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// All tokens.
    Full,
    /// The tokens within a distance.
    Window {
        /// Positions before the token's own.
        before: usize,
        /// Positions after the token's own.
        after: usize,
    },
    /// The tokens of the same block.
    Blocks {
        /// Positions of a block, at least one.
        size: usize,
        /// Positions by which the first block is shorter than `size`, less than `size`.
        lead: usize,
    },
    /// In a long document, the tokens of the same block, of the two neighbouring blocks, and of the
    /// first and the last block. The tokens of the first and the last block see all tokens. In a
    /// short document, every token sees all. (Zaheer et al. 2020, "Big Bird: Transformers for
    /// Longer Sequences".)
    BigBird {
        /// Positions of a block, at least one.
        size: usize,
        /// Random blocks of the model. The first block counts this many times more for a token that
        /// does not see all tokens.
        random_blocks: usize,
    },
}

/// Ranges of positions that a token sees, at most.
pub(super) const RANGES: usize = 3;

impl Pattern {
    /// The positions that the token at `position` sees, in ranges that do not overlap. Within a
    /// group of tokens ([`group_end`](Self::group_end)), the ends of each range never decrease from
    /// one token to the next.
    pub(super) fn seen(self, position: usize, source: usize) -> [Range<usize>; RANGES] {
        let one = |range: Range<usize>| [range.start..range.end.min(source), 0..0, 0..0];
        match self {
            Self::Full => one(0..source),
            Self::Window { before, after } => {
                one(position.saturating_sub(before)..position.saturating_add(after + 1))
            }
            Self::Blocks { size, lead } => {
                let block = (position + lead) / size;
                one((block * size).saturating_sub(lead)..(block + 1) * size - lead)
            }
            Self::BigBird { size, .. } if self.is_sparse(position, source) => {
                let (block, last) = (position / size, (source - 1) / size);
                let near = (block - 1).max(1)..(block + 2).min(last);
                [0..size, near.start * size..near.end * size, last * size..source]
            }
            Self::BigBird { .. } => one(0..source),
        }
    }

    /// Bias of the scores of the first range that the token at `position` sees.
    pub(super) fn first_range_bias(self, position: usize, source: usize) -> Option<f32> {
        match self {
            Self::BigBird { random_blocks, .. } if self.is_sparse(position, source) => {
                Some((1.0 + random_blocks as f32).ln())
            }
            _ => None,
        }
    }

    /// Whether the pattern is [`BigBird`](Self::BigBird) and the token does not see all tokens.
    fn is_sparse(self, position: usize, source: usize) -> bool {
        let Self::BigBird { size, random_blocks } = self else {
            return false;
        };
        let longest_full = random_blocks.saturating_mul(2).saturating_add(5).saturating_mul(size);
        let block = position / size;
        source > longest_full && block > 0 && block < (source - 1) / size
    }

    /// End of the group of tokens that see the same blocks as the token at `position`.
    pub(super) fn group_end(self, position: usize) -> usize {
        match self {
            Self::Full | Self::Window { .. } => usize::MAX,
            Self::Blocks { size, lead } => ((position + lead) / size + 1) * size - lead,
            Self::BigBird { size, .. } => (position / size + 1) * size,
        }
    }

    /// A range that holds every position that these tokens see.
    pub(super) fn seen_by(self, positions: &Range<usize>, source: usize) -> Range<usize> {
        match self {
            Self::Full | Self::BigBird { .. } => 0..source,
            Self::Window { .. } | Self::Blocks { .. } => {
                let [first, ..] = self.seen(positions.start, source);
                let [last, ..] = self.seen(positions.end - 1, source);
                first.start..last.end
            }
        }
    }
}
