//! Bias of the scores by the distance between the key and the query.

/// Biases of each head by distance.
#[derive(Clone, Copy, Debug)]
pub struct RelativeBias<'a> {
    /// `[heads, distances]`
    values: &'a [f32],
    /// Number of values of a head, which is odd.
    distances: usize,
}

impl<'a> RelativeBias<'a> {
    /// Biases of the distances `key - query` from `-distance` to `distance`:
    /// `[heads, 2 * distance + 1]`. Keys that are farther have the bias of the farthest distance.
    /// `None` if `dims` is not the shape of such a tensor.
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

    /// The biases of one head.
    pub(super) fn head(self, head: usize) -> HeadBias<'a> {
        HeadBias(&self.values[head * self.distances..][..self.distances])
    }
}

/// Biases of one head, from the farthest distance before the query to the farthest after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadBias<'a>(&'a [f32]);

impl HeadBias<'_> {
    /// Writes the biases of `count` successive distances from `first` on to `biases`. The biases of
    /// the keys of a query are then a slice of it.
    pub(super) fn expand(self, first: isize, count: usize, biases: &mut Vec<f32>) {
        let farthest = (self.0.len() / 2) as isize;
        biases.clear();
        biases.extend(
            (first..first + count as isize)
                .map(|distance| self.0[(distance.clamp(-farthest, farthest) + farthest) as usize]),
        );
    }
}
