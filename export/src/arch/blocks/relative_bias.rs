//! T5's relative position bias: a value that is added to an attention score, by the distance from
//! the query to the key.
//!
//! Distances are divided into buckets: short distances have one each, long distances share them by
//! their logarithm. Each bucket has a trained value for each head. At export the values are laid
//! out by distance, so that the graph only looks them up.

use super::inputs::{DecoderInputs, EncoderInputs};
use super::transformer::StackNames;
use crate::arch::builder::Builder;
use crate::arch::config::{ModelConfig, wrong};
use crate::error::Result;
use crate::onnx::graph::Value;

/// Limit of `relative_attention_max_distance`, far above real models, with a small table.
pub(crate) const LARGEST_DISTANCE: usize = 1 << 16;

/// The relative bias of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RelativeBias {
    /// Number of buckets.
    pub(crate) buckets: usize,
    /// Distances from here on share the last bucket.
    pub(crate) max_distance: usize,
    /// Number of heads, each with its own values.
    pub(crate) heads: usize,
    /// Whether keys behind the query have buckets of their own; otherwise all buckets are for keys
    /// before it.
    pub(crate) bidirectional: bool,
    /// Which layers have values of their own.
    pub(crate) layers: BiasLayers,
}

/// Which layers have values of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BiasLayers {
    /// The first layer, whose values the others share.
    First,
    /// Every layer.
    Every,
}

impl RelativeBias {
    /// Reads the bias from `config`.
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
        // The check is stricter than a causal stack needs, and the same for both stacks.
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

    /// Checkpoint prefix of the values of a layer of `stack`.
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

    /// The value of every relative position from `-max_distance` to `max_distance` (to 0 if
    /// causal): `[heads, positions]`. `name` is the checkpoint prefix of the values of the buckets.
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

    /// Looks up relative positions, int64 of any shape: `[heads, ..]`.
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

    /// The column of `by_distance` of each relative position.
    fn column(&self, b: &mut Builder<'_, '_>, relative: &Value) -> Value {
        let graph = &mut b.graph;
        let (from, to) = self.range().into_inner();
        let [from, to] = [graph.int64_scalar(from), graph.int64_scalar(to)];
        let clipped = graph.node("Clip").inputs([relative, &from, &to]).output();
        graph.node("Sub").inputs([&clipped, &from]).output()
    }

    /// Bias of an encoder's self-attention: by distance, `[heads, distances]`, or in the portable
    /// layout for all pairs, `[1, heads, source, source]`.
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

    /// The bias, `[1, heads, queries, keys]`, of relative positions, int64 `[queries, keys]`, from
    /// [`relative_of_step`] or [`EncoderInputs::relative`].
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

/// Positions of all tokens relative to the new ones: int64 `[rows, longest history]`, or in the
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
