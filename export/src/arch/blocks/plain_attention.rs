//! Attention step by step, in operators of the ONNX standard: where a graph must be portable, and
//! where no fused operator does what is wanted.

use super::heads::{Heads, flatten};
use crate::arch::builder::Builder;
use crate::onnx::graph::{Graph, Value};
use crate::onnx::proto::ElementType::Float;

/// Added to the score of a padded position: the smallest finite float, since minus infinity makes a
/// fully masked row NaN.
pub(crate) const MASKED: f32 = f32::MIN;

/// What is added to the scores of keys: 0 for a token, [`MASKED`] for padding; float32 of the shape
/// of `mask`, `[batch, source]`, which has 1 for a token and 0 for padding.
pub(crate) fn additive_mask(graph: &mut Graph, mask: &Value) -> Value {
    let [one, masked] = [graph.scalar(1.0), graph.scalar(MASKED)];
    let mask = graph.node("Cast").input(mask).int("to", Float as i64).output();
    let padding = graph.node("Sub").inputs([&one, &mask]).output();
    graph.node("Mul").inputs([&padding, &masked]).output()
}

/// The same, broadcast over heads and queries: `[batch, 1, 1, source]`.
pub(crate) fn score_mask(graph: &mut Graph, mask: &Value) -> Value {
    let mask = additive_mask(graph, mask);
    let axes = graph.int64s(&[1, 2]);
    graph.node("Unsqueeze").inputs([&mask, &axes]).output()
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

/// The weight of each key: the softmax of the scores and of what is added to them.
pub(crate) fn probs(b: &mut Builder<'_, '_>, scores: &Value, added: &[&Value]) -> Value {
    let graph = &mut b.graph;
    let sum = added
        .iter()
        .fold(scores.clone(), |sum, added| graph.node("Add").inputs([&sum, added]).output());
    graph.node("Softmax").input(&sum).int("axis", -1).output()
}

/// Attention: queries `[batch, heads, queries, head_size]`, already scaled,
/// keys and values of the same shape but for their number; `added` goes to the scores. Gives
/// `[batch * queries, heads * head_size]`.
pub(crate) fn attend(
    b: &mut Builder<'_, '_>,
    [query, key, value]: [&Value; 3],
    added: &[&Value],
    heads: Heads,
) -> Value {
    let scores = scores(b, query, key, 4);
    let probs = probs(b, &scores, added);
    let graph = &mut b.graph;
    let attended = graph.node("MatMul").inputs([&probs, value]).output();
    let attended = graph.node("Transpose").input(&attended).ints("perm", &[0, 2, 1, 3]).output();
    flatten(b, &attended, heads.hidden())
}
