//! Attention in standard ONNX operators, for portable graphs and for patterns without a fused
//! operator.

use super::heads::{Heads, join_heads};
use crate::arch::builder::Builder;
use crate::onnx::graph::{Graph, Value};
use crate::onnx::proto::ElementType::Float;

/// Added to the score of a masked position. It is the smallest finite float, since minus infinity
/// makes a fully masked row NaN.
pub(crate) const MASKED: f32 = f32::MIN;

/// Additive mask of keys, float32 `[batch, source]`: 0 where `mask` is 1 (a token), [`MASKED`]
/// where it is 0 (padding).
pub(crate) fn additive_mask(graph: &mut Graph, mask: &Value) -> Value {
    let [one, masked] = [graph.scalar(1.0), graph.scalar(MASKED)];
    let mask = graph.node("Cast").input(mask).int("to", Float as i64).output();
    let padding = graph.node("Sub").inputs([&one, &mask]).output();
    graph.node("Mul").inputs([&padding, &masked]).output()
}

/// [`additive_mask`], broadcast over heads and queries: `[batch, 1, 1, source]`.
pub(crate) fn score_mask(graph: &mut Graph, mask: &Value) -> Value {
    let mask = additive_mask(graph, mask);
    let axes = graph.int64s(&[1, 2]);
    graph.node("Unsqueeze").inputs([&mask, &axes]).output()
}

/// Additive mask by relative position: 0 for keys at most `before` tokens before the query (any
/// number if `None`) and at most `after` tokens behind it, [`MASKED`] for others. `relative` is
/// int64, the result float32 of the same shape.
pub(crate) fn window_mask(
    graph: &mut Graph,
    relative: &Value,
    before: Option<usize>,
    after: usize,
) -> Value {
    let [zero, masked] = [graph.scalar(0.0), graph.scalar(MASKED)];
    let after = graph.int64_scalar(after as i64);
    let mut hidden = graph.node("Greater").inputs([relative, &after]).output();
    if let Some(before) = before {
        let before = graph.int64_scalar(-(before as i64));
        let earlier = graph.node("Less").inputs([relative, &before]).output();
        hidden = graph.node("Or").inputs([&hidden, &earlier]).output();
    }
    graph.node("Where").inputs([&hidden, &masked, &zero]).output()
}

/// Scores of queries `[.., queries, head_size]` and keys `[.., keys, head_size]`, both of
/// `dimensions` dimensions: `[.., queries, keys]`.
pub(crate) fn scores(
    b: &mut Builder<'_, '_>,
    query: &Value,
    key: &Value,
    dimensions: usize,
) -> Value {
    let mut order: Vec<i64> = (0..dimensions as i64).collect();
    order.swap(dimensions - 2, dimensions - 1);
    let graph = &mut b.graph;
    let key = graph.node("Transpose").input(key).ints("perm", &order).output();
    graph.node("MatMul").inputs([query, &key]).output()
}

/// Applies a soft cap to scores or logits: `softcap * tanh(score / softcap)`.
pub(crate) fn softcapped(graph: &mut Graph, scores: &Value, softcap: f32) -> Value {
    let softcap = graph.scalar(softcap);
    let ratio = graph.node("Div").inputs([scores, &softcap]).output();
    let ratio = graph.node("Tanh").input(&ratio).output();
    graph.node("Mul").inputs([&ratio, &softcap]).output()
}

/// Attention probabilities: the softmax of the scores and of the tensors `added` to them.
pub(crate) fn probs(b: &mut Builder<'_, '_>, scores: &Value, added: &[&Value]) -> Value {
    let graph = &mut b.graph;
    let sum = added
        .iter()
        .fold(scores.clone(), |sum, added| graph.node("Add").inputs([&sum, added]).output());
    graph.node("Softmax").input(&sum).int("axis", -1).output()
}

/// Attention with queries `[batch, heads, queries, head_size]`, which are scaled already, and keys
/// and values of `[batch, heads, keys, head_size]`. `added` is added to the scores. Returns
/// `[batch * queries, heads * head_size]`.
pub(crate) fn attend(
    b: &mut Builder<'_, '_>,
    [query, key, value]: [&Value; 3],
    added: &[&Value],
    heads: Heads,
) -> Value {
    let scores = scores(b, query, key, 4);
    weighted(b, (&scores, value), added, heads)
}

/// [`attend`] from scores, `[batch, heads, queries, keys]`.
pub(crate) fn weighted(
    b: &mut Builder<'_, '_>,
    (scores, value): (&Value, &Value),
    added: &[&Value],
    heads: Heads,
) -> Value {
    let probs = probs(b, scores, added);
    let graph = &mut b.graph;
    let attended = graph.node("MatMul").inputs([&probs, value]).output();
    join_heads(b, &attended, heads)
}

/// Attention to two sets of keys in one softmax: local keys, and global keys of all queries.
/// `parts` are the scores, `[.., queries, keys]`, and the values of each set. `sizes`, int64 `[2]`,
/// are their numbers of keys. `added` is added to the scores of both.
pub(crate) fn attend_to_both(
    b: &mut Builder<'_, '_>,
    parts: [(&Value, &Value); 2],
    sizes: &Value,
    added: &[&Value],
) -> Value {
    let scores = parts.map(|(scores, _)| scores);
    let both = b.graph.node("Concat").inputs(scores).int("axis", -1).output();
    let probs = probs(b, &both, added);
    let graph = &mut b.graph;
    let parts_of_probs: [Value; 2] =
        graph.node("Split").inputs([&probs, sizes]).int("axis", -1).outputs();
    let attended: Vec<_> = parts_of_probs
        .iter()
        .zip(parts)
        .map(|(probs, (_, values))| graph.node("MatMul").inputs([probs, values]).output())
        .collect();
    graph.node("Add").inputs(&attended).output()
}
