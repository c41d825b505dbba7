//! Attention step by step, in operators of the ONNX standard: where a graph must be portable, and
//! where no fused operator does what is wanted.

use super::heads::{Heads, join_heads};
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

/// What is added to scores for relative positions of keys, int64: 0 for those that are at most
/// `before` tokens before the query (all, where it says nothing) and at most `after` behind it,
/// [`MASKED`] for others; float32 of the same shape.
pub(crate) fn unseen(
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

/// Scores, or logits, that approach `softcap` and do not reach it.
pub(crate) fn softcapped(graph: &mut Graph, scores: &Value, softcap: f32) -> Value {
    let softcap = graph.scalar(softcap);
    let share = graph.node("Div").inputs([scores, &softcap]).output();
    let share = graph.node("Tanh").input(&share).output();
    graph.node("Mul").inputs([&share, &softcap]).output()
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
    weighted(b, (&scores, value), added, heads)
}

/// The same, from scores `[batch, heads, queries, keys]`.
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

/// Attention to two kinds of keys at once: to those in reach and to some that all queries see.
/// `parts` are the scores, `[.., queries, keys]`, and the values of each kind, and
/// `sizes` says how many keys both have: int64 `[2]`. `added` goes to the scores of all.
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
    let shares: [Value; 2] = graph.node("Split").inputs([&probs, sizes]).int("axis", -1).outputs();
    let attended: Vec<_> = shares
        .iter()
        .zip(parts)
        .map(|(probs, (_, values))| graph.node("MatMul").inputs([probs, values]).output())
        .collect();
    graph.node("Add").inputs(&attended).output()
}
