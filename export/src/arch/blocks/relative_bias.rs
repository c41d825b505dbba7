//! T5's relative position bias: what is added to an attention score for how far the key is from the
//! query.
//!
//! Distances fall into buckets, near ones into one each, far ones by their logarithm, and each
//! bucket has a trained value a head. Which bucket a distance falls into never changes, so the
//! values are laid out by distance when the graph is written, and the graph only looks them up.

use super::inputs::{DecoderInputs, EncoderInputs};
use super::transformer::StackNames;
use crate::arch::builder::Builder;
use crate::arch::config::{ModelConfig, wrong};
use crate::error::Result;
use crate::onnx::graph::Value;

/// The largest `relative_attention_max_distance`: far above any real one, and a table of it is
/// small.
pub(crate) const LARGEST_DISTANCE: usize = 1 << 16;

/// How an attention's distances fall into buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RelativeBias {
    /// How many buckets.
    pub(crate) buckets: usize,
    /// From here on all distances share the last one.
    pub(crate) max_distance: usize,
    /// Heads, each with values of its own.
    pub(crate) heads: usize,
    /// Whether keys may stand behind the query; otherwise all buckets are for those before it.
    pub(crate) bidirectional: bool,
    /// Which layers have values of their own.
    pub(crate) layers: BiasLayers,
}

/// Which layers have values of their own; the others share the first one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BiasLayers {
    /// The first.
    First,
    /// Every one.
    Every,
}

impl RelativeBias {
    /// The buckets that `config` describes.
    pub(crate) fn from_config(
        config: &ModelConfig,
        layers: BiasLayers,
        heads: usize,
        bidirectional: bool,
    ) -> Result<Self> {
        let (buckets_field, distance_field) =
            ("relative_attention_num_buckets", "relative_attention_max_distance");
        let bias = Self {
            buckets: config.size_or(buckets_field, 32)?,
            max_distance: config.size_or(distance_field, 128)?,
            heads,
            bidirectional,
            layers,
        };
        // Stricter than this stack may need, and the same for both.
        if bias.buckets < 4 || !bias.buckets.is_multiple_of(2) {
            let found = bias.buckets;
            return Err(wrong(
                buckets_field,
                format_args!("is {found}, but must be an even number from 4"),
            ));
        }
        if bias.max_distance <= bias.buckets / 2 || bias.max_distance > LARGEST_DISTANCE {
            let (found, exact) = (bias.max_distance, bias.buckets / 2);
            return Err(wrong(
                distance_field,
                format_args!(
                    "is {found}, but must be above half of {buckets_field} ({exact}) and not above \
                     {LARGEST_DISTANCE}"
                ),
            ));
        }
        Ok(bias)
    }

    /// Checkpoint prefix of the values that a layer of `stack` uses.
    pub(crate) fn name(&self, stack: &StackNames, layer: usize) -> String {
        let layer = match self.layers {
            BiasLayers::First => 0,
            BiasLayers::Every => layer,
        };
        let [attention, _] = stack.self_attention;
        format!("{}.{attention}.relative_attention_bias", stack.layer(layer))
    }

    /// The bucket of the relative position `key - query`.
    ///
    /// Agrees with `_relative_position_bucket` in `transformers/models/t5/modeling_t5.py`, which
    /// takes the logarithm in float32.
    pub(crate) fn bucket(&self, relative: i64) -> usize {
        let (buckets, first, distance) = if self.bidirectional {
            let half = self.buckets / 2;
            let first = if relative > 0 { half } else { 0 };
            (half, first, relative.unsigned_abs() as usize)
        } else {
            (self.buckets, 0, (-relative).max(0) as usize)
        };
        let exact = buckets / 2;
        if distance < exact {
            return first + distance;
        }
        let share = (distance as f32 / exact as f32).ln()
            / ((self.max_distance as f64 / exact as f64).ln() as f32);
        let far = exact + (share * (buckets - exact) as f32) as usize;
        first + far.min(buckets - 1)
    }

    /// The value of every relative position from `-max_distance` to `max_distance` (causal: to 0),
    /// `[heads, positions]`; `name` is the checkpoint prefix of the buckets' values.
    pub(crate) fn by_distance(&self, b: &mut Builder<'_, '_>, name: &str) -> Result<Value> {
        let weight = format!("{name}.weight");
        let values = b.weights.values(&weight, &[self.buckets, self.heads])?;
        let positions: Vec<i64> = self.range().collect();
        let dims = [self.heads, positions.len()];
        b.computed(&format!("{name}.by_distance"), &dims, || {
            let bucket_of: Vec<usize> = positions.iter().map(|&p| self.bucket(p)).collect();
            (0..self.heads)
                .flat_map(|head| {
                    let value = |bucket: &usize| values[bucket * self.heads + head];
                    bucket_of.iter().map(value).collect::<Vec<_>>()
                })
                .collect()
        })
    }

    fn range(&self) -> std::ops::RangeInclusive<i64> {
        let far = self.max_distance as i64;
        -far..=if self.bidirectional { far } else { 0 }
    }

    /// Looks relative positions (int64, of any shape) up: `[heads, ..]`.
    pub(crate) fn look_up(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        relative: &Value,
    ) -> Result<Value> {
        let table = self.by_distance(b, name)?;
        let column = self.column(b, relative);
        let node = b.graph.node("Gather").inputs([&table, &column]);
        Ok(node.int("axis", 1).output())
    }

    /// The table's column of each relative position.
    fn column(&self, b: &mut Builder<'_, '_>, relative: &Value) -> Value {
        let graph = &mut b.graph;
        let (from, to) = self.range().into_inner();
        let [from, to] = [graph.int64_scalar(from), graph.int64_scalar(to)];
        let clipped = graph.node("Clip").inputs([relative, &from, &to]).output();
        graph.node("Sub").inputs([&clipped, &from]).output()
    }

    /// What an encoder's self-attention adds to scores: by distance, `[heads, distances]`, or
    /// written out in the portable layout, `[1, heads, source, source]`.
    pub(crate) fn of_source(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        inputs: &EncoderInputs,
    ) -> Result<Value> {
        if !b.is_portable() {
            return self.by_distance(b, name);
        }
        let relative = inputs.relative(b);
        self.added(b, name, &relative)
    }

    /// The bias, `[1, heads, queries, keys]`, from relative positions, int64 `[queries, keys]`:
    /// what [`relative_of_step`] gives, or [`EncoderInputs::relative`].
    pub(crate) fn added(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        relative: &Value,
    ) -> Result<Value> {
        let bias = self.look_up(b, name, relative)?;
        let axis = b.graph.int64s(&[0]);
        Ok(b.graph.node("Unsqueeze").inputs([&bias, &axis]).output())
    }
}

/// Relative positions of all tokens to the new ones: int64 `[rows, longest history]`, or in the
/// portable layout `[columns, past_length + columns]`.
pub(crate) fn relative_of_step(b: &mut Builder<'_, '_>, inputs: &DecoderInputs) -> Value {
    if let Some(window) = inputs.window() {
        return window.relative(b);
    }
    let (past, longest) = inputs.new_and_longest(b);
    let graph = &mut b.graph;
    let positions = graph.range(&longest);
    graph.node("Sub").inputs([&positions, &past]).output()
}

#[cfg(test)]
mod tests {
    use super::{BiasLayers, RelativeBias};

    fn buckets(bidirectional: bool, positions: impl Iterator<Item = i64>) -> Vec<usize> {
        let bias = RelativeBias {
            buckets: 32,
            max_distance: 128,
            heads: 1,
            bidirectional,
            layers: BiasLayers::First,
        };
        positions.map(|position| bias.bucket(position)).collect()
    }

    #[test]
    fn buckets_are_those_of_transformers() {
        let found = buckets(
            true,
            [0, 1, 7, 8, 11, 12, 15, 16, 22, 23, 31, 32, 45, 46, 63, 64, 90, 91, 127, 1000]
                .into_iter(),
        );
        assert_eq!(
            found,
            [0, 17, 23, 24, 24, 25, 25, 26, 26, 27, 27, 28, 28, 29, 29, 30, 30, 31, 31, 31]
        );
        let found = buckets(
            false,
            [5, 0, -1, -15, -16, -18, -19, -20, -21, -23, -24, -63, -64, -112, -113, -500]
                .into_iter(),
        );
        assert_eq!(found, [0, 0, 1, 15, 16, 16, 17, 17, 18, 18, 19, 26, 26, 30, 31, 31]);
    }
}
