//! Attention step by step, in operators of the ONNX standard: where a graph must be portable, and
//! where no fused operator does what is wanted.

use super::attention::{Heads, MASKED, rows};
use crate::arch::Builder;
use crate::onnx::graph::{Graph, Value};
use crate::onnx::proto::ElementType::Float;

/// What is added to the scores of keys: 0 for a token, [`MASKED`] for padding; float32 of the shape
/// of `mask`, `[batch, source]`, which has 1 for a token and 0 for padding.
pub fn additive_mask(graph: &mut Graph, mask: &Value) -> Value {
    let [one, masked] = [graph.scalar(1.0), graph.scalar(MASKED)];
    let mask = graph
        .node("Cast")
        .input(mask)
        .int("to", Float as i64)
        .output();
    let padding = graph.node("Sub").inputs([&one, &mask]).output();
    graph.node("Mul").inputs([&padding, &masked]).output()
}

/// The same, broadcast over heads and queries: `[batch, 1, 1, source]`.
pub fn score_mask(graph: &mut Graph, mask: &Value) -> Value {
    let mask = additive_mask(graph, mask);
    let axes = graph.int64s(&[1, 2]);
    graph.node("Unsqueeze").inputs([&mask, &axes]).output()
}

/// Scores of queries `[.., queries, head_size]` and keys `[.., keys, head_size]`, both of
/// `dimensions` dimensions: `[.., queries, keys]`.
pub fn scores(b: &mut Builder<'_, '_>, query: &Value, key: &Value, dimensions: usize) -> Value {
    let mut order: Vec<i64> = (0..dimensions as i64).collect();
    order.swap(dimensions - 2, dimensions - 1);
    let graph = &mut b.graph;
    let key = graph
        .node("Transpose")
        .input(key)
        .ints("perm", &order)
        .output();
    graph.node("MatMul").inputs([query, &key]).output()
}

/// The share of each key: the softmax of scores and what is added to them.
pub fn shares(b: &mut Builder<'_, '_>, scores: &Value, added: &[&Value]) -> Value {
    let graph = &mut b.graph;
    let sum = added.iter().fold(scores.clone(), |sum, added| {
        graph.node("Add").inputs([&sum, added]).output()
    });
    graph.node("Softmax").input(&sum).int("axis", -1).output()
}

/// Values by the share of their keys: queries `[batch, heads, queries, head_size]`, already scaled,
/// keys and values of the same shape but for their number; `added` goes to the scores. Gives
/// `[batch * queries, heads * head_size]`.
pub fn attend(
    b: &mut Builder<'_, '_>,
    [query, key, value]: [&Value; 3],
    added: &[&Value],
    heads: Heads,
) -> Value {
    let scores = scores(b, query, key, 4);
    let shares = shares(b, &scores, added);
    let graph = &mut b.graph;
    let attended = graph.node("MatMul").inputs([&shares, value]).output();
    let attended = graph
        .node("Transpose")
        .input(&attended)
        .ints("perm", &[0, 2, 1, 3])
        .output();
    rows(b, &attended, heads.hidden())
}
