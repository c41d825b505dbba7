//! Decoder steps with two hidden states for each new token, in successive rows: the token's own,
//! and that of the predicting stream (see [`super::predicting`]).

use super::heads::{Heads, flatten};
use super::linear::linear;
use super::plain_attention::{MASKED, probs, scores};
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// Number of hidden states of a token: its own and its stream's.
pub(crate) const STREAMS: usize = 2;

/// Data of a step that self-attention with streams needs.
pub(crate) struct Streams {
    /// int64 `[states, heads, tokens + 1]`: the bucket of each token's distance from a hidden
    /// state, and last the bucket of its own key.
    pub(crate) buckets: Value,
    /// Number of buckets.
    pub(crate) count: usize,
    /// int64 `[rows or columns, streams, tokens]`: how far before a hidden state each token is.
    pub(crate) distances: Value,
    /// int64 `[1]`: number of tokens of the longest history; in the portable layout of all.
    pub(crate) total: Value,
}

impl Streams {
    /// Bias of the scores of a layer's self-attention, from its hidden states, `[states, hidden]`:
    /// `[states, heads, tokens + 1]`, the bias of a state's own key last. `name` is the checkpoint
    /// prefix of the attention.
    pub(crate) fn bias(
        &self,
        b: &mut Builder<'_, '_>,
        name: &str,
        (x, hidden): (&Value, usize),
        heads: Heads,
    ) -> Result<Value> {
        let sizes = (hidden, self.count * heads.count);
        let values = linear(b, &format!("{name}.relative_pos_embeddings"), x, sizes)?;
        let graph = &mut b.graph;
        let shape = graph.int64s(&[-1, self.count as i64, heads.count as i64]);
        let values = graph.node("Reshape").inputs([&values, &shape]).output();
        let values = graph.node("Transpose").input(&values).ints("perm", &[0, 2, 1]).output();
        let node = graph.node("GatherElements").inputs([&values, &self.buckets]);
        Ok(node.int("axis", 2).output())
    }

    /// Self-attention in standard operators. Queries, which are scaled already, keys and values of
    /// all rows are `[batch, heads, rows of a document, head_size]`. `tokens` are the keys and
    /// values of the tokens so far. `shape` is int64 `[batch, rows of a document]`. Returns
    /// `[rows, heads * head_size]`.
    pub(crate) fn attend(
        &self,
        b: &mut Builder<'_, '_>,
        [query, key, value]: &[Value; 3],
        [keys, values]: &[Value; 2],
        (bias, shape): (&Value, &Value),
        heads: Heads,
    ) -> Value {
        let graph = &mut b.graph;
        let shape = graph.shape(shape, &[heads.count as i64, -1]);
        let bias = graph.node("Reshape").inputs([bias, &shape]).output();
        let bias = graph.node("Transpose").input(&bias).ints("perm", &[0, 2, 1, 3]).output();
        let scores = scores(b, query, keys, 4);
        let mask = self.causal_mask(b);
        let graph = &mut b.graph;
        let scores = graph.node("Add").inputs([&scores, &mask]).output();
        let own = graph.node("Mul").inputs([query, key]).output();
        let last = graph.int64s(&[-1]);
        let own = graph.node("ReduceSum").inputs([&own, &last]).output();
        let scores = graph.node("Concat").inputs([&scores, &own]).int("axis", 3).output();
        let probs = probs(b, &scores, &[&bias]);
        let graph = &mut b.graph;
        let one = graph.int64s(&[1]);
        let sizes = graph.node("Concat").inputs([&self.total, &one]).int("axis", 0).output();
        let node = graph.node("Split").inputs([&probs, &sizes]).int("axis", 3);
        let [of_tokens, of_own]: [Value; 2] = node.outputs();
        let attended = graph.node("MatMul").inputs([&of_tokens, values]).output();
        let own = graph.node("Mul").inputs([&of_own, value]).output();
        let attended = graph.node("Add").inputs([&attended, &own]).output();
        let node = graph.node("Transpose").input(&attended).ints("perm", &[0, 2, 1, 3]);
        let attended = node.output();
        flatten(b, &attended, heads.hidden())
    }

    /// Additive mask that hides all tokens that are not before a row: float32
    /// `[rows of a document, past_length + new]`.
    fn causal_mask(&self, b: &mut Builder<'_, '_>) -> Value {
        b.graph.shared("streams", "causal_mask", |graph| {
            let [here, zero, masked] =
                [graph.int64_scalar(0), graph.scalar(0.0), graph.scalar(MASKED)];
            let later = graph.node("LessOrEqual").inputs([&self.distances, &here]).output();
            let mask = graph.node("Where").inputs([&later, &masked, &zero]).output();
            let rows = graph.int64s(&[-1]);
            let node = graph.node("Concat").inputs([&rows, &self.total]).int("axis", 0);
            let shape = node.output();
            graph.node("Reshape").inputs([&mask, &shape]).output()
        })
    }
}

/// Selects the rows of tokens along `axis`, without those of the streams.
pub(crate) fn token_rows(b: &mut Builder<'_, '_>, x: &Value, axis: i64) -> Value {
    every_second(b, x, 0, axis)
}

/// Selects the rows of the stream: `[batch * columns * 2, hidden]` to `[batch * columns, hidden]`.
pub(crate) fn stream_rows(b: &mut Builder<'_, '_>, x: &Value) -> Value {
    every_second(b, x, 1, 0)
}

fn every_second(b: &mut Builder<'_, '_>, x: &Value, first: i64, axis: i64) -> Value {
    let graph = &mut b.graph;
    let [first, end] = [graph.int64s(&[first]), graph.int64s(&[i64::MAX])];
    let [axis, step] = [graph.int64s(&[axis]), graph.int64s(&[STREAMS as i64])];
    graph.node("Slice").inputs([x, &first, &end, &axis, &step]).output()
}
