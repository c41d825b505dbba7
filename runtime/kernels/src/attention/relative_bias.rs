//! What is added to a score for how far the key is from the query.

/// Values by distance, for each head.
#[derive(Clone, Copy, Debug)]
pub struct RelativeBias<'a> {
    /// `[heads, 2 * distance + 1]`
    values: &'a [f32],
    /// Values of a head.
    distances: usize,
}

impl<'a> RelativeBias<'a> {
    /// The values of the distances `key - query` from `-distance` to `distance`, `[heads, 2 *
    /// distance + 1]`: keys that are farther have the value of the farthest. None where `dims` are
    /// not so.
    pub fn new(dims: &[usize], values: &'a [f32], heads: usize) -> Option<Self> {
        match *dims {
            [count, distances]
                if count == heads
                    && distances % 2 == 1
                    && count.checked_mul(distances) == Some(values.len()) =>
            {
                Some(Self { values, distances })
            }
            _ => None,
        }
    }

    /// The values of one head.
    pub(super) fn of_head(self, head: usize) -> HeadBias<'a> {
        HeadBias(&self.values[head * self.distances..][..self.distances])
    }
}

/// The values of one head, from the distance farthest before the query to the one farthest behind.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadBias<'a>(&'a [f32]);

impl HeadBias<'_> {
    /// Lays out the values of `count` distances from `first` on: a query's keys have theirs one
    /// behind the other.
    pub(super) fn lay_out(self, first: isize, count: usize, laid_out: &mut Vec<f32>) {
        let farthest = (self.0.len() / 2) as isize;
        laid_out.clear();
        laid_out.extend(
            (first..first + count as isize)
                .map(|distance| self.0[(distance.clamp(-farthest, farthest) + farthest) as usize]),
        );
    }
}
