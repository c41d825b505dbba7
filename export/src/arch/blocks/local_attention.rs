//! Block-local attention, for sources that are too long for full attention.
//!
//! A source is padded to whole blocks. Queries, keys and values are
//! `[batch, heads, blocks, size, head_size]`, and scores are a matrix product within each block.
//! Additive masks limit the reach further.

use super::heads::{Heads, join_heads};
use super::inputs::EncoderInputs;
use super::plain_attention::{MASKED, additive_mask};
use crate::arch::builder::Builder;
use crate::onnx::graph::Value;

/// Division of a source into blocks.
pub(crate) struct Blocks {
    /// Tokens of a block.
    pub(crate) size: usize,
    /// Padding before the first token.
    lead: usize,
    /// int64 `[2]`: padding before the first token and behind the last.
    pads: Value,
}

impl Blocks {
    /// Divides the source into blocks of `size` tokens. The first block begins with `lead` padding
    /// positions.
    pub(crate) fn new(
        b: &mut Builder<'_, '_>,
        inputs: &EncoderInputs,
        size: usize,
        lead: usize,
    ) -> Self {
        let graph = &mut b.graph;
        let [lead_value, size_value] = [graph.int64s(&[lead as i64]), graph.int64s(&[size as i64])];
        // Padding to the next multiple of `size`: `-length` modulo `size`.
        let length = match lead {
            0 => inputs.source_length.clone(),
            _ => graph.node("Add").inputs([&inputs.source_length, &lead_value]).output(),
        };
        let negative = graph.node("Neg").input(&length).output();
        let behind = graph.node("Mod").inputs([&negative, &size_value]).output();
        let pads = graph.node("Concat").inputs([&lead_value, &behind]).int("axis", 0).output();
        Self { size, lead, pads }
    }

    /// `[batch, heads, source, head_size]` to `[batch, heads, blocks, size, head_size]`.
    pub(crate) fn split(&self, b: &mut Builder<'_, '_>, x: &Value, heads: Heads) -> Value {
        let columns = b.graph.int64s(&[heads.size as i64]);
        self.split_rows(b, x, &columns)
    }

    /// `[batch, heads, source, columns]` to `[batch, heads, blocks, size, columns]`; `columns` is
    /// int64 `[1]`.
    pub(crate) fn split_rows(&self, b: &mut Builder<'_, '_>, x: &Value, columns: &Value) -> Value {
        let graph = &mut b.graph;
        let [zero, axis] = [graph.scalar(0.0), graph.int64s(&[2])];
        let leading = graph.int64s(&[0, 0, -1, self.size as i64]);
        let shape = graph.node("Concat").inputs([&leading, columns]).int("axis", 0).output();
        let padded = graph.node("Pad").inputs([x, &self.pads, &zero, &axis]).output();
        graph.node("Reshape").inputs([&padded, &shape]).output()
    }

    /// `[batch, heads, blocks, size, head_size]` to `[batch * source, heads * head_size]`.
    pub(crate) fn join(
        &self,
        b: &mut Builder<'_, '_>,
        x: &Value,
        inputs: &EncoderInputs,
        heads: Heads,
    ) -> Value {
        let graph = &mut b.graph;
        let shape = graph.int64s(&[0, 0, -1, heads.size as i64]);
        let [from, axis] = [graph.int64s(&[self.lead as i64]), graph.int64s(&[2])];
        let joined = graph.node("Reshape").inputs([x, &shape]).output();
        let to = match self.lead {
            0 => inputs.source_length.clone(),
            _ => graph.node("Add").inputs([&inputs.source_length, &from]).output(),
        };
        let tokens = graph.node("Slice").inputs([&joined, &from, &to, &axis]).output();
        join_heads(b, &tokens, heads)
    }

    /// Additive mask of keys: 0 where `mask`, int32 `[batch, source]`, is 1, and [`MASKED`] where
    /// it is 0 and for padding. float32 `[batch, 1, blocks, 1, size]`.
    pub(crate) fn mask(&self, b: &mut Builder<'_, '_>, mask: &Value) -> Value {
        let mask = additive_mask(&mut b.graph, mask);
        let graph = &mut b.graph;
        let [masked, axis] = [graph.scalar(MASKED), graph.int64s(&[1])];
        let padded = graph.node("Pad").inputs([&mask, &self.pads, &masked, &axis]).output();
        let shape = graph.int64s(&[0, 1, -1, 1, self.size as i64]);
        graph.node("Reshape").inputs([&padded, &shape]).output()
    }

    /// Positions of the keys of a block and its [`neighbours`] relative to its queries: int64
    /// `[size, 3 * size]`.
    pub(crate) fn relative(&self, b: &mut Builder<'_, '_>) -> Value {
        let size = self.size as i64;
        let ends = [b.graph.int64s(&[size]), b.graph.int64s(&[3 * size])];
        let [queries, keys] = ends.map(|end| b.graph.range(&end));
        let graph = &mut b.graph;
        let [rows, first] = [graph.int64s(&[1]), graph.int64_scalar(size)];
        let queries = graph.node("Add").inputs([&queries, &first]).output();
        let queries = graph.node("Unsqueeze").inputs([&queries, &rows]).output();
        graph.node("Sub").inputs([&keys, &queries]).output()
    }
}

/// Additive mask of distances: 0 where `relative` is at most `reach`, [`MASKED`] elsewhere. float32
/// of the shape of `relative`.
pub(crate) fn within(b: &mut Builder<'_, '_>, relative: &Value, reach: usize) -> Value {
    let graph = &mut b.graph;
    let reach = graph.int64_scalar(reach as i64);
    let [zero, masked] = [graph.scalar(0.0), graph.scalar(MASKED)];
    let distance = graph.node("Abs").input(relative).output();
    let near = graph.node("LessOrEqual").inputs([&distance, &reach]).output();
    graph.node("Where").inputs([&near, &zero, &masked]).output()
}

/// Joins each block with the blocks before and behind it, along `axis`. Beyond the ends the values
/// are `fill`. Dimension 2 of `x` counts the blocks.
pub(crate) fn neighbours(b: &mut Builder<'_, '_>, x: &Value, axis: i64, fill: f32) -> Value {
    let graph = &mut b.graph;
    let [fill, one_each, blocks] = [graph.scalar(fill), graph.int64s(&[1, 1]), graph.int64s(&[2])];
    let padded = graph.node("Pad").inputs([x, &one_each, &fill, &blocks]).output();
    let parts = [(0, -2), (1, -1), (2, i64::MAX)].map(|(from, to)| {
        let [from, to] = [graph.int64s(&[from]), graph.int64s(&[to])];
        graph.node("Slice").inputs([&padded, &from, &to, &blocks]).output()
    });
    graph.node("Concat").inputs(&parts).int("axis", axis).output()
}
