//! Inputs of the encoder and decoder graphs, as the blocks use them. [`super::io`] declares them
//! under the names of each layout.

use super::heads::flatten;
use super::linear::linear;
use super::plain_attention::{score_mask, window_mask};
use super::prompt::{LayerPrompt, Prompt};
use super::streams::Streams;
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;
use crate::onnx::proto::ElementType::{Int32, Int64};

/// The encoder's inputs.
pub(crate) struct EncoderInputs {
    /// int64 `[batch, source]`.
    pub(crate) input_ids: Value,
    /// int32 `[batch, source]`: 1 for a token, 0 for padding.
    pub(crate) mask: Value,
    /// int32 `[batch, source]` or `[1, source]`: 1 for a token with global attention. `None` if the
    /// model has no global attention.
    pub(crate) global_attention_mask: Option<Value>,
    /// int64 `[2]`: the shape `[batch, source]`.
    pub(crate) shape: Value,
    /// int64 `[1]`: the padded source length.
    pub(crate) source_length: Value,
}

impl EncoderInputs {
    /// The inputs, from token ids, int64 `[batch, source]`, and masks, int32 of the same shape.
    pub(super) fn new(
        b: &mut Builder<'_, '_>,
        input_ids: Value,
        (mask, global_attention_mask): (Value, Option<Value>),
    ) -> Self {
        b.graph.scoped("shapes", |graph| {
            let shape = graph.node("Shape").input(&input_ids).output();
            let source_length =
                graph.node("Shape").input(&input_ids).int("start", 1).int("end", 2).output();
            Self { input_ids, mask, global_attention_mask, shape, source_length }
        })
    }

    /// The shape `[batch, source, size]`.
    pub(crate) fn with_size(&self, b: &mut Builder<'_, '_>, size: usize) -> Value {
        b.graph.shape(&self.shape, &[size as i64])
    }

    /// Positions of the tokens: int64 `[source]`.
    fn positions(&self, b: &mut Builder<'_, '_>) -> Value {
        b.graph.shared("positions", "source", |graph| graph.range(&self.source_length))
    }

    /// Positions of all keys relative to all queries: int64 `[source, source]`.
    pub(crate) fn relative(&self, b: &mut Builder<'_, '_>) -> Value {
        let positions = self.positions(b);
        b.graph.shared("positions", "relative", |graph| {
            let [rows, columns] = [graph.int64s(&[1]), graph.int64s(&[0])];
            let queries = graph.node("Unsqueeze").inputs([&positions, &rows]).output();
            let keys = graph.node("Unsqueeze").inputs([&positions, &columns]).output();
            graph.node("Sub").inputs([&keys, &queries]).output()
        })
    }

    /// Additive mask of the scores of keys: float32 `[batch, 1, 1, source]`.
    pub(crate) fn score_mask(&self, b: &mut Builder<'_, '_>) -> Value {
        b.graph.shared("mask", "scores", |graph| score_mask(graph, &self.mask))
    }
}

/// The decoder's inputs. In a bundle each row has one new token and a length of its own; rows are
/// the beams of documents, or successive tokens of one. In the portable layout a row is a document,
/// and the columns are its new tokens.
pub(crate) struct DecoderInputs {
    /// int64 `[rows, columns]`: the newest tokens.
    pub(crate) input_ids: Value,
    /// int64 `[2]`: the shape `[rows, columns]`.
    pub(crate) shape: Value,
    /// int64 `[2]`: the shape of the hidden states, which has more rows with streams.
    pub(crate) states: Value,
    /// Data of the predicting stream.
    pub(crate) streams: Option<Streams>,
    /// int32 `[rows, 1]`: number of tokens that the cache holds for each row. In the portable
    /// layout `[1]`, for all rows.
    pub(crate) past_length: Value,
    /// int32 `[rows, 1]`: positions of the new tokens. In the portable layout `[columns]`.
    pub(crate) positions: Value,
    /// int32 `[documents, 3]`: for each document its rows, the first slot of its cross-attention
    /// and its source tokens. In the portable layout the additive mask of cross-attention, float32
    /// `[batch, 1, 1, source]`.
    pub(crate) source: Value,
    /// How self-attention reads the past keys and values.
    pub(crate) past: Past,
}

/// How self-attention reads the past keys and values.
pub(crate) enum Past {
    /// The cache is written in place: the new token of each row has a slot of its own.
    InPlace {
        /// int32 `[rows, max_length]`: the cache slot of each token of a row, the new token last.
        cache_indirection: Value,
    },
    /// The past keys and values are inputs. The outputs are these with several new tokens appended
    /// (portable layout).
    Given {
        /// The new tokens.
        window: Window,
        /// The source of cross-attention at the first step.
        source: Recomputed,
    },
}

/// Several new tokens of a row.
pub(crate) struct Window {
    /// int64 `[columns]`: positions of the new tokens.
    new: Value,
    /// int64 `[1]`: number of tokens, `past_length + columns`.
    total: Value,
}

impl Window {
    /// int64 `[columns, past_length + columns]`: positions of all tokens relative to the new ones.
    pub(crate) fn relative(&self, b: &mut Builder<'_, '_>) -> Value {
        b.graph.shared("positions", "relative", |graph| {
            let keys = graph.range(&self.total);
            let rows = graph.int64s(&[1]);
            let queries = graph.node("Unsqueeze").inputs([&self.new, &rows]).output();
            graph.node("Sub").inputs([&keys, &queries]).output()
        })
    }

    /// int64 `[1]`: number of tokens, past and new.
    pub(crate) fn total(&self) -> &Value {
        &self.total
    }

    /// Additive mask that hides later tokens, and tokens more than `before` back: float32
    /// `[columns, past_length + columns]`.
    pub(crate) fn causal_mask(&self, b: &mut Builder<'_, '_>, before: Option<usize>) -> Value {
        let relative = self.relative(b);
        b.graph.shared("positions", &format!("causal{before:?}"), |graph| {
            window_mask(graph, &relative, before, 0)
        })
    }
}

/// The tokens that a graph reads.
#[derive(Clone, Copy)]
pub(crate) enum Tokens<'a> {
    /// All tokens of a source.
    Source(&'a EncoderInputs),
    /// The newest tokens of a summary.
    Step(&'a DecoderInputs),
}

impl<'a> Tokens<'a> {
    /// int64 `[rows, columns]`.
    pub(crate) fn ids(self) -> &'a Value {
        match self {
            Self::Source(inputs) => &inputs.input_ids,
            Self::Step(inputs) => &inputs.input_ids,
        }
    }

    /// int64 `[2]`: the shape `[rows, columns]` of their hidden states.
    pub(crate) fn shape(self) -> &'a Value {
        match self {
            Self::Source(inputs) => &inputs.shape,
            Self::Step(inputs) => &inputs.states,
        }
    }

    /// Positions of the tokens, int64: one for each column if all rows are equal, else one for each
    /// row.
    pub(crate) fn positions(self, b: &mut Builder<'_, '_>) -> Value {
        match self {
            Self::Source(inputs) => inputs.positions(b),
            Self::Step(inputs) => b.graph.shared("positions", "step", |graph| {
                let flat = graph.int64s(&[-1]);
                let positions = graph.node("Cast").input(&inputs.positions);
                let positions = positions.int("to", Int64 as i64).output();
                graph.node("Reshape").inputs([&positions, &flat]).output()
            }),
        }
    }
}

/// The encoder's output that cross-attention reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Size of the encoder's hidden states.
    pub(crate) size: usize,
    /// Linear layer that is applied to them first: its checkpoint prefix and its output size.
    pub(crate) projection: Option<(&'static str, usize)>,
    /// Prompt before the keys and values.
    pub(crate) prompt: Option<Prompt>,
}

impl Memory {
    /// The hidden states without a linear layer or a prompt.
    pub(crate) fn plain(size: usize) -> Self {
        Self { size, projection: None, prompt: None }
    }

    /// Size of the hidden states that cross-attention reads.
    pub(crate) fn projected_size(&self) -> usize {
        self.projection.map_or(self.size, |(_, size)| size)
    }

    /// Applies the linear layer, if there is one: `[rows, size]` to `[rows, projected size]`.
    pub(crate) fn project(&self, b: &mut Builder<'_, '_>, hidden_states: &Value) -> Result<Value> {
        match self.projection {
            Some((name, size)) => linear(b, name, hidden_states, (self.size, size)),
            None => Ok(hidden_states.clone()),
        }
    }
}

/// Inputs from which keys and values of cross-attention are computed at the first step.
pub(crate) struct Recomputed {
    /// bool `[1]`: whether there is a cache.
    pub(crate) use_cache: Value,
    /// float32 `[batch, source, hidden]`.
    pub(crate) hidden_states: Value,
    /// int64 `[2]`: the shape `[batch, source]`.
    pub(crate) shape: Value,
    /// How cross-attention reads the hidden states.
    pub(crate) memory: Memory,
}

impl Recomputed {
    /// The hidden states that cross-attention reads: `[batch * source, projected size]`.
    pub(crate) fn projected(&self, b: &mut Builder<'_, '_>) -> Result<Value> {
        let hidden_states = flatten(b, &self.hidden_states, self.memory.size);
        self.memory.project(b, &hidden_states)
    }
}

impl DecoderInputs {
    /// Inputs with several new tokens in each row (int64 `[batch, columns]`) behind `past` others
    /// (int64 `[1]`). `recomputed` is the source of cross-attention.
    pub(super) fn of_several(
        b: &mut Builder<'_, '_>,
        (input_ids, past, source): (Value, Value, Value),
        recomputed: Recomputed,
    ) -> Self {
        b.graph.enter("positions");
        let shape = b.graph.node("Shape").input(&input_ids).output();
        let node = b.graph.node("Shape").input(&input_ids);
        let columns = node.int("start", 1).int("end", 2).output();
        let total = b.graph.node("Add").inputs([&past, &columns]).output();
        let graph = &mut b.graph;
        let new = graph.range(&columns);
        let new = graph.node("Add").inputs([&new, &past]).output();
        let [past_length, positions] = [&past, &new].map(|value| {
            let node = graph.node("Cast").input(value);
            node.int("to", Int32 as i64).output()
        });
        graph.leave();
        Self {
            input_ids,
            states: shape.clone(),
            shape,
            streams: None,
            past_length,
            positions,
            source,
            past: Past::Given { window: Window { new, total }, source: recomputed },
        }
    }

    /// Positions of the new tokens, int64 `[rows, 1]`, and the length of the longest history with
    /// them, int64 `[1]`. In the portable layout `[columns, 1]`, and the number of all tokens.
    pub(crate) fn new_and_longest(&self, b: &mut Builder<'_, '_>) -> (Value, Value) {
        let graph = &mut b.graph;
        if let Some(window) = self.window() {
            let axis = graph.int64s(&[1]);
            let new = graph.node("Unsqueeze").inputs([&window.new, &axis]).output();
            return (new, window.total.clone());
        }
        let past = graph.node("Cast").input(&self.past_length).int("to", Int64 as i64).output();
        let longest = graph.node("ReduceMax").input(&past).int("keepdims", 0).output();
        let one = graph.int64s(&[1]);
        let longest = graph.node("Add").inputs([&longest, &one]).output();
        (past, longest)
    }

    /// The new tokens, in the portable layout.
    pub(crate) fn window(&self) -> Option<&Window> {
        match &self.past {
            Past::InPlace { .. } => None,
            Past::Given { window, .. } => Some(window),
        }
    }
}

/// The cache of one decoder layer.
pub(crate) struct LayerCache {
    /// float32 `[heads, slots, head_size]`; in the portable layout
    /// `[batch, heads, past_length, head_size]`.
    pub(crate) past_key: Value,
    /// Values, of the same shape as `past_key`.
    pub(crate) past_value: Value,
    /// `[1, heads, slots, row]`, packed, for all documents; in the portable layout
    /// `[batch, heads, source, head_size]`.
    pub(crate) cross_key: Value,
    /// Values, as `cross_key`, with a row size of their own.
    pub(crate) cross_value: Value,
    /// float32 `[1, heads, rows, longest history]`, added to the scores of self-attention; in the
    /// portable layout `[1, heads, columns, past_length + columns]`. With streams see
    /// [`Streams::bias`].
    pub(crate) bias: Option<Value>,
    /// Prompt before the keys and values of self-attention.
    pub(crate) prompt: Option<LayerPrompt>,
    /// Prompt before the keys and values of cross-attention, if the decoder adds it (portable
    /// layout).
    pub(crate) cross_prompt: Option<LayerPrompt>,
    /// Keys and values with those of the new tokens, once self-attention is written.
    pub(crate) present: Option<(Value, Value)>,
    /// Keys and values of cross-attention, if the decoder computes them.
    pub(crate) cross_present: Option<(Value, Value)>,
}
