//! What every encoder and decoder graph reads, as the blocks see it. [`super::io`] declares it
//! under the names of each layout.

use super::heads::flatten;
use super::linear::linear;
use super::plain_attention::{score_mask, unseen};
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
    /// int32 `[batch, source]`, or one row for all: 1 for a token with global attention; where the
    /// model knows it.
    pub(crate) global_attention_mask: Option<Value>,
    /// int64 `[2]`: the shape `[batch, source]`.
    pub(crate) shape: Value,
    /// int64 `[1]`: the padded source length.
    pub(crate) source_length: Value,
}

impl EncoderInputs {
    /// Inputs of token ids, int64 `[batch, source]`, and the masks, int32 of the same shape.
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

    /// int64 `[source]`: where the tokens stand.
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

    /// What is added to the scores of keys: float32 `[batch, 1, 1, source]`.
    pub(crate) fn score_mask(&self, b: &mut Builder<'_, '_>) -> Value {
        b.graph.shared("mask", "scores", |graph| score_mask(graph, &self.mask))
    }
}

/// The decoder's inputs. In a bundle each row has one new token, and rows are at lengths of their
/// own: beams of documents, or successive tokens of one. In the portable layout a document is a
/// row, and its columns are its new tokens.
pub(crate) struct DecoderInputs {
    /// int64 `[rows, columns]`: the newest tokens.
    pub(crate) input_ids: Value,
    /// int64 `[2]`: the shape `[rows, columns]`.
    pub(crate) shape: Value,
    /// int64 `[2]`: the same of their hidden states, which are more with streams.
    pub(crate) states: Value,
    /// What stands beside the tokens.
    pub(crate) streams: Option<Streams>,
    /// int32 `[rows, 1]`: how many tokens the cache holds for each row. In the portable layout
    /// `[1]`, for all.
    pub(crate) past_length: Value,
    /// int32 `[rows, 1]`: where the new tokens stand. In the portable layout `[columns]`.
    pub(crate) positions: Value,
    /// int32 `[documents, 3]`: the rows, the first place and the tokens of each document's source,
    /// for cross-attention. In the portable layout what is added to the scores of keys instead,
    /// float32 `[batch, 1, 1, source]`.
    pub(crate) source: Value,
    /// How self-attention comes by the past.
    pub(crate) past: Past,
}

/// How self-attention comes by the keys and values of the past.
pub(crate) enum Past {
    /// They stay where they are, and the one new token of each row is written to a place of its
    /// own.
    InPlace {
        /// int32 `[rows, room]`: the place in the cache of each token of a row, the new one behind
        /// the others.
        cache_indirection: Value,
    },
    /// They are given, and handed back with those of several new tokens behind them (the portable
    /// layout).
    Given {
        /// The new tokens.
        window: Window,
        /// What cross-attention is computed from at first.
        source: Recomputed,
    },
}

/// Several new tokens of a row.
pub(crate) struct Window {
    /// int64 `[columns]`: positions of the new tokens.
    new: Value,
    /// int64 `[1]`: how many tokens there are, `past_length + columns`.
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

    /// int64 `[1]`: how many tokens there are, past and new.
    pub(crate) fn total(&self) -> &Value {
        &self.total
    }

    /// What is added to scores so that no token sees a later one, nor one that is more than
    /// `before` tokens back: float32 of the same shape.
    pub(crate) fn unseen(&self, b: &mut Builder<'_, '_>, before: Option<usize>) -> Value {
        let relative = self.relative(b);
        b.graph.shared("positions", &format!("unseen{before:?}"), |graph| {
            unseen(graph, &relative, before, 0)
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

    /// Where they stand: int64, of each token of a row where all rows are alike, or of each row.
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

/// What cross-attention reads of the encoder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Size of the encoder's hidden states.
    pub(crate) size: usize,
    /// A linear layer that they go through first: its checkpoint prefix, and the size it makes.
    pub(crate) projection: Option<(&'static str, usize)>,
    /// What stands before keys and values of it.
    pub(crate) prompt: Option<Prompt>,
}

impl Memory {
    /// Hidden states as they are.
    pub(crate) fn plain(size: usize) -> Self {
        Self { size, projection: None, prompt: None }
    }

    /// Size of what cross-attention reads.
    pub(crate) fn projected_size(&self) -> usize {
        self.projection.map_or(self.size, |(_, size)| size)
    }

    /// What cross-attention reads, of hidden states of `[rows, size]`.
    pub(crate) fn project(&self, b: &mut Builder<'_, '_>, hidden_states: &Value) -> Result<Value> {
        match self.projection {
            Some((name, size)) => linear(b, name, hidden_states, (self.size, size)),
            None => Ok(hidden_states.clone()),
        }
    }
}

/// What cross-attention's keys and values are computed from, where there is no cache yet.
pub(crate) struct Recomputed {
    /// bool `[1]`: whether there is a cache.
    pub(crate) use_cache: Value,
    /// float32 `[batch, source, hidden]`.
    pub(crate) hidden_states: Value,
    /// int64 `[2]`: the shape `[batch, source]`.
    pub(crate) shape: Value,
    /// What is read of them.
    pub(crate) memory: Memory,
}

impl Recomputed {
    /// What cross-attention reads: `[batch * source, projected size]`.
    pub(crate) fn projected(&self, b: &mut Builder<'_, '_>) -> Result<Value> {
        let hidden_states = flatten(b, &self.hidden_states, self.memory.size);
        self.memory.project(b, &hidden_states)
    }
}

impl DecoderInputs {
    /// Several new tokens a row (int64 `[batch, columns]`) behind `past` others (int64 `[1]`), over
    /// what `recomputed` says.
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

    /// Positions of the new tokens, int64 `[rows, 1]`, and how many tokens the longest history has
    /// with them, int64 `[1]`; in the portable layout `[columns, 1]`, and all tokens.
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

    /// The new tokens' window, where there can be several.
    pub(crate) fn window(&self) -> Option<&Window> {
        match &self.past {
            Past::InPlace { .. } => None,
            Past::Given { window, .. } => Some(window),
        }
    }
}

/// The cache of one decoder layer.
pub(crate) struct LayerCache {
    /// float32 `[heads, places, head_size]`; in the portable layout `[batch, heads, past_length,
    /// head_size]`.
    pub(crate) past_key: Value,
    /// The same shape.
    pub(crate) past_value: Value,
    /// `[1, heads, places, head_size]`, of all documents; in the portable layout `[batch, heads,
    /// source, head_size]`.
    pub(crate) cross_key: Value,
    /// `[1, heads, places, row]`, likewise.
    pub(crate) cross_value: Value,
    /// float32 `[1, heads, rows, longest history]`, added to the scores of self-attention; in the
    /// portable layout `[1, heads, columns, past_length + columns]`. With streams see
    /// [`Streams::bias`].
    pub(crate) bias: Option<Value>,
    /// What stands before the keys and values of self-attention.
    pub(crate) prompt: Option<LayerPrompt>,
    /// What stands before those of cross-attention, where the decoder puts it there (in the
    /// portable layout).
    pub(crate) cross_prompt: Option<LayerPrompt>,
    /// Keys and values with the new tokens in place, once self-attention is written.
    pub(crate) present: Option<(Value, Value)>,
    /// Keys and values of cross-attention, where the decoder computes them.
    pub(crate) cross_present: Option<(Value, Value)>,
}
