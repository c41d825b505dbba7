//! Trained keys and values before those of the tokens, in every layer (MVP's prompts).
//!
//! The checkpoint holds them as a table and two linear layers. Their result is constant, so that it
//! is computed at export, in float32 in every precision.

use std::cell::OnceCell;

use epitome_runtime::kernels::activation::Activation;

use super::heads::{Heads, flatten, split_heads};
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// Name of the table below the prefix.
const TABLE: &str = "prompt_embedding.weight";

/// The prompts of one attention, in all layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prompt {
    /// Checkpoint prefix.
    pub(crate) name: &'static str,
    /// Number of keys and values in each layer.
    pub(crate) length: usize,
    /// Size of a key or value of all heads together.
    pub(crate) hidden: usize,
    /// Size between the two linear layers.
    pub(crate) inner: usize,
    /// Number of layers.
    pub(crate) layers: usize,
}

/// The prompt of one layer.
#[derive(Clone, Debug)]
pub(crate) struct LayerPrompt {
    /// Keys: float32 `[length, hidden]`.
    pub(crate) key: Value,
    /// Values: float32 `[length, hidden]`.
    pub(crate) value: Value,
    /// The prompt that it belongs to.
    pub(crate) of: Prompt,
}

impl Prompt {
    /// Whether the checkpoint has the prompt.
    pub(crate) fn is_in(&self, b: &Builder<'_, '_>) -> bool {
        b.weights.has(&format!("{}.{TABLE}", self.name))
    }

    /// The prompt of each layer.
    ///
    /// Agrees with `MvpPrompt` in `transformers/models/mvp/modeling_mvp.py`.
    pub(crate) fn of_layers(&self, b: &mut Builder<'_, '_>) -> Result<Vec<LayerPrompt>> {
        let &Self { name, length, hidden, inner, layers } = self;
        let outputs = layers * 2 * hidden;
        let mut values =
            |part: &str, dims: &[usize]| b.weights.values(&format!("{name}.{part}"), dims);
        let table = values(TABLE, &[length, hidden])?;
        let first = [
            values("prompt_trans.0.weight", &[inner, hidden])?,
            values("prompt_trans.0.bias", &[inner])?,
        ];
        let second = [
            values("prompt_trans.2.weight", &[outputs, inner])?,
            values("prompt_trans.2.bias", &[outputs])?,
        ];
        let all = OnceCell::new();
        let compute = || {
            let columns = transposed(&table, hidden);
            let mut x = linear(&columns, length, &first);
            x.iter_mut().for_each(|x| *x = Activation::Gelu.of(*x));
            linear(&x, length, &second)
        };
        let mut part = |layer: usize, part: usize, kind: &str| {
            b.computed(&format!("{name}.{layer}.{kind}"), &[length, hidden], || {
                let columns = &all.get_or_init(compute)[(layer * 2 + part) * hidden * length..];
                transposed(&columns[..hidden * length], length)
            })
        };
        (0..layers)
            .map(|layer| {
                let (key, value) = (part(layer, 0, "key")?, part(layer, 1, "value")?);
                Ok(LayerPrompt { key, value, of: *self })
            })
            .collect()
    }

    /// Puts zeros for the prompt's keys before an additive mask of `dimensions` dimensions.
    pub(crate) fn mask(&self, b: &mut Builder<'_, '_>, mask: &Value, dimensions: usize) -> Value {
        let mut pads = vec![0; 2 * dimensions];
        pads[dimensions - 1] = self.length as i64;
        let (pads, zero) = (b.graph.int64s(&pads), b.graph.scalar(0.0));
        b.graph.node("Pad").inputs([mask, &pads, &zero]).output()
    }
}

impl LayerPrompt {
    /// Puts `part`, keys or values of the prompt, before those of the tokens,
    /// `[batch * tokens, hidden]`: `[batch * (length + tokens), hidden]`. `shape` is int64
    /// `[batch, tokens]`.
    pub(crate) fn before(
        &self,
        b: &mut Builder<'_, '_>,
        part: &Value,
        rows: &Value,
        shape: &Value,
    ) -> Value {
        let prompt = self.expanded(b, part, shape);
        let shape = b.graph.shape(shape, &[self.of.hidden as i64]);
        let rows = b.graph.node("Reshape").inputs([rows, &shape]).output();
        let all = b.graph.node("Concat").inputs([&prompt, &rows]).int("axis", 1).output();
        flatten(b, &all, self.of.hidden)
    }

    /// The shape `[batch, length + tokens]`, from `[batch, tokens]`.
    pub(crate) fn shape(&self, b: &mut Builder<'_, '_>, shape: &Value) -> Value {
        let length = b.graph.int64s(&[0, self.of.length as i64]);
        b.graph.node("Add").inputs([shape, &length]).output()
    }

    /// Keys and values of the prompt, `[batch, heads, length, head_size]`. `shape` is int64
    /// `[batch, ..]`.
    pub(crate) fn of_heads(
        &self,
        b: &mut Builder<'_, '_>,
        shape: &Value,
        heads: Heads,
    ) -> [Value; 2] {
        let batch = first(b, shape);
        let shape = b.graph.shape(&batch, &[self.of.length as i64]);
        [&self.key, &self.value].map(|part| {
            let prompt = self.expanded(b, part, &batch);
            split_heads(b, &prompt, &shape, heads)
        })
    }

    /// Keys and values of the prompt, `[batch * length, hidden]`, and their mask of ones, int32
    /// `[batch, length]`, as global keys of a source.
    pub(crate) fn of_batch(&self, b: &mut Builder<'_, '_>, shape: &Value) -> [Value; 3] {
        let [key, value] = [&self.key, &self.value].map(|part| {
            let part = self.expanded(b, part, shape);
            flatten(b, &part, self.of.hidden)
        });
        let batch = first(b, shape);
        let shape = b.graph.shape(&batch, &[self.of.length as i64]);
        let one = b.graph.int32s(&[1]);
        let mask = b.graph.node("Expand").inputs([&one, &shape]).output();
        [key, value, mask]
    }

    /// Repeats `part` for each document: `[batch, length, hidden]`.
    fn expanded(&self, b: &mut Builder<'_, '_>, part: &Value, shape: &Value) -> Value {
        let batch = first(b, shape);
        let shape = b.graph.shape(&batch, &[1, 1]);
        b.graph.node("Expand").inputs([part, &shape]).output()
    }
}

/// The first dimension of a shape, int64 `[1]`.
fn first(b: &mut Builder<'_, '_>, shape: &Value) -> Value {
    let index = b.graph.int64s(&[0]);
    b.graph.node("Gather").inputs([shape, &index]).output()
}

/// Applies a linear layer to columns: `[size_in, count]` to `[size_out, count]`.
fn linear(x: &[f32], count: usize, [weight, bias]: &[Vec<f32>; 2]) -> Vec<f32> {
    let size_in = x.len() / count;
    let rows = weight.chunks_exact(size_in).zip(bias);
    rows.flat_map(|(weights, bias)| {
        let mut sums = vec![*bias; count];
        for (weight, column) in weights.iter().zip(x.chunks_exact(count)) {
            sums.iter_mut().zip(column).for_each(|(sum, x)| *sum += weight * x);
        }
        sums
    })
    .collect()
}

/// Transposes `[rows, width]` to `[width, rows]`.
fn transposed(matrix: &[f32], width: usize) -> Vec<f32> {
    (0..width).flat_map(|column| matrix.iter().skip(column).step_by(width).copied()).collect()
}
