//! The heads of an attention layer, and the shapes that tokens have with and without them.

use crate::arch::builder::Builder;
use crate::onnx::graph::Value;

/// The heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    /// Number of heads.
    pub(crate) count: usize,
    /// Size of each head.
    pub(crate) size: usize,
}

impl Heads {
    /// Size of all heads together.
    pub(crate) fn hidden(self) -> usize {
        self.count * self.size
    }
}

/// `[batch * source, heads * head_size]` to `[batch, heads, source, head_size]`; `shape` is int64
/// `[batch, source]`.
pub(crate) fn split_heads(
    b: &mut Builder<'_, '_>,
    x: &Value,
    shape: &Value,
    heads: Heads,
) -> Value {
    let sizes = [heads.count as i64, heads.size as i64];
    let shape = b.graph.shape(shape, &sizes);
    let split = b.graph.node("Reshape").inputs([x, &shape]).output();
    b.graph.node("Transpose").input(&split).ints("perm", &[0, 2, 1, 3]).output()
}

/// `[batch, heads, source, head_size]` to `[batch * source, heads * head_size]`.
pub(crate) fn join_heads(b: &mut Builder<'_, '_>, x: &Value, heads: Heads) -> Value {
    let x = b.graph.node("Transpose").input(x).ints("perm", &[0, 2, 1, 3]).output();
    flatten(b, &x, heads.hidden())
}

/// Flattens all dimensions but the last, of size `hidden`: `[.., hidden]` to `[rows, hidden]`.
pub(crate) fn flatten(b: &mut Builder<'_, '_>, x: &Value, hidden: usize) -> Value {
    let shape = b.graph.int64s(&[-1, hidden as i64]);
    b.graph.node("Reshape").inputs([x, &shape]).output()
}
