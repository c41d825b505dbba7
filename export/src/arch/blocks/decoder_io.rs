//! The inputs and outputs that every encoder and decoder graph of a bundle has, under the names the
//! runtime binds ([`epitome_runtime::bundle::io`]). Those of the portable layout are in
//! [`super::portable_io`].

use epitome_runtime::bundle::io;
use epitome_runtime::operators::attention;

use super::attention::{Heads, MASKED};
use super::plain_attention::score_mask;
use super::portable_io;
use super::relative_bias::count_to;
use super::transformer::Stack;
use crate::arch::Builder;
use crate::error::Result;
use crate::onnx::graph::{Dim, Value};
use crate::onnx::proto::ElementType::{self, Float, Int32, Int64};

/// The encoder's inputs.
pub struct EncoderInputs {
    /// int64 `[batch, source]`.
    pub input_ids: Value,
    /// int32 `[batch, source]`: 1 for a token, 0 for padding.
    pub mask: Value,
    /// int64 `[2]`: the shape `[batch, source]`.
    pub shape: Value,
    /// int64 `[1]`: the padded source length.
    pub source_length: Value,
}

impl EncoderInputs {
    /// The shape `[batch, source, size]`.
    pub fn with_size(&self, b: &mut Builder<'_, '_>, size: usize) -> Value {
        b.graph.shape(&self.shape, &[size as i64])
    }

    /// What is added to the scores of keys: float32 `[batch, 1, 1, source]`.
    pub fn score_mask(&self, b: &mut Builder<'_, '_>) -> Value {
        b.graph
            .shared("mask", "scores", |graph| score_mask(graph, &self.mask))
    }
}

/// Declares the encoder's inputs.
pub fn encoder_inputs(b: &mut Builder<'_, '_>) -> EncoderInputs {
    let (input_ids, mask) = if b.is_portable() {
        portable_io::encoder_inputs(b)
    } else {
        let dims = [Dim::name("batch"), Dim::name("source")];
        let input_ids = b
            .graph
            .input(io::INPUT_IDS, Int64, &dims, "source token ids");
        let doc = "1 for a token, 0 for padding";
        let mask = b.graph.input(io::ATTENTION_MASK, Int32, &dims, doc);
        (input_ids, mask)
    };
    b.graph.scoped("shapes", |graph| {
        let shape = graph.node("Shape").input(&input_ids).output();
        let source_length = graph
            .node("Shape")
            .input(&input_ids)
            .int("start", 1)
            .int("end", 2)
            .output();
        EncoderInputs {
            input_ids: input_ids.clone(),
            mask: mask.clone(),
            shape,
            source_length,
        }
    })
}

/// Declares the encoder's outputs: its hidden states, and for each decoder layer the cross-attention
/// keys and values; in the portable layout the decoder computes those.
pub fn encoder_outputs(
    b: &mut Builder<'_, '_>,
    hidden_states: &Value,
    inputs: &EncoderInputs,
    decoder: &Stack,
) -> Result<()> {
    let hidden = decoder.attention.hidden;
    if !b.is_portable() {
        let heads = decoder.attention.heads;
        let memory = (0..decoder.layers)
            .map(|layer| {
                let name = decoder.cross_attention(layer);
                let attention = &decoder.attention;
                b.scoped(&name, |b| {
                    attention.memory(b, &name, hidden_states, &inputs.shape)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        cross_outputs(b, &memory, heads);
    }
    let shape = inputs.with_size(b, hidden);
    let node = b.graph.node("Reshape").inputs([hidden_states, &shape]);
    let hidden_states = node.output();
    if b.is_portable() {
        portable_io::encoder_outputs(b, &hidden_states, hidden);
        return Ok(());
    }
    b.graph.output(
        io::LAST_HIDDEN_STATE,
        &hidden_states,
        Float,
        &[Dim::name("batch"), Dim::name("source"), Dim::size(hidden)],
        "hidden states of the last layer",
    );
    Ok(())
}

fn cross_outputs(b: &mut Builder<'_, '_>, memory: &[(Value, Value)], heads: Heads) {
    let [cross_key, cross_value] = cross_dims(heads);
    let kept = b.memory().element;
    for (layer, (key, value)) in memory.iter().enumerate() {
        let doc = format!("cross-attention of decoder layer {layer}");
        let pairs = [
            (io::cross_key(layer), key, &cross_key, "keys"),
            (io::cross_value(layer), value, &cross_value, "values"),
        ];
        for (name, value, dims, kind) in pairs {
            let doc = format!("{kind}, {doc}");
            b.graph.output(&name, value, kept, dims, &doc);
        }
    }
}

/// How many new tokens a row takes in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTokens {
    /// The newest, over a cache that is written in place. The portable layout has no such graph.
    One,
    /// Any number. In a bundle for a single row: its own keys and values are handed back, to be
    /// written where [`Self::One`] expects them.
    Several,
}

impl NewTokens {
    /// What the decoder is, for the graph's documentation.
    pub fn doc(self) -> &'static str {
        match self {
            Self::One => {
                "one step, the first included (past_length 0). The cache is written in place and \
                 follows the beams through cache_indirection."
            }
            Self::Several => "any number of new tokens behind those in the cache.",
        }
    }
}

/// The decoder's inputs. Its columns are the beams of a document, one new token each, or the new
/// tokens of a row.
pub struct DecoderInputs {
    /// int64 `[batch, columns]`: the newest tokens.
    pub input_ids: Value,
    /// int64 `[2]`: the shape `[batch, columns]`.
    pub shape: Value,
    /// int32 `[1]`: how many tokens the cache holds.
    pub past_length: Value,
    /// int32 `[1]`, or one for each new token: where they stand.
    pub positions: Value,
    /// int32 `[batch, source]`: 1 for a token, 0 for padding. In the portable layout what is added
    /// to the scores of keys instead, float32 `[batch, 1, 1, source]`.
    pub source_mask: Value,
    /// How self-attention comes by the past.
    pub past: Past,
}

/// How self-attention comes by the keys and values of the past.
pub enum Past {
    /// They stay where they are, and the one new token of each row is written behind them.
    InPlace {
        /// int32 `[batch, beams, max_length]`: the beam whose cache row holds each past token.
        cache_indirection: Value,
    },
    /// They are read where they stay, and several new tokens' own are handed back.
    Buffered {
        /// The new tokens.
        window: Window,
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
pub struct Window {
    /// int64 `[columns]`: positions of the new tokens.
    new: Value,
    /// int64 `[1]`: how many tokens there are, `past_length + columns`.
    total: Value,
}

impl Window {
    /// int64 `[columns, past_length + columns]`: positions of all tokens relative to the new ones.
    pub fn relative(&self, b: &mut Builder<'_, '_>) -> Value {
        b.graph.shared("positions", "relative", |graph| {
            let keys = count_to(graph, &self.total);
            let rows = graph.int64s(&[1]);
            let queries = graph.node("Unsqueeze").inputs([&self.new, &rows]).output();
            graph.node("Sub").inputs([&keys, &queries]).output()
        })
    }

    /// What is added to scores so that no token sees a later one: float32 of the same shape.
    pub fn unseen(&self, b: &mut Builder<'_, '_>) -> Value {
        let relative = self.relative(b);
        b.graph.shared("positions", "unseen", |graph| {
            let [here, zero, masked] = [
                graph.int64_scalar(0),
                graph.scalar(0.0),
                graph.scalar(MASKED),
            ];
            let later = graph.node("Greater").inputs([&relative, &here]).output();
            let node = graph.node("Where").inputs([&later, &masked, &zero]);
            node.output()
        })
    }
}

/// What cross-attention's keys and values are computed from, where there is no cache yet.
pub struct Recomputed {
    /// bool `[1]`: whether there is a cache.
    pub use_cache: Value,
    /// float32 `[batch, source, hidden]`.
    pub hidden_states: Value,
    /// int64 `[2]`: the shape `[batch, source]`.
    pub shape: Value,
}

impl DecoderInputs {
    /// Several new tokens a row (int64 `[batch, columns]`) behind `past` others (int64 `[1]`);
    /// `past_of` says how those are come by, given the new tokens' window.
    pub(super) fn of_several(
        b: &mut Builder<'_, '_>,
        (input_ids, past, source_mask): (Value, Value, Value),
        past_of: impl FnOnce(Window) -> Past,
    ) -> Self {
        b.graph.enter("positions");
        let shape = b.graph.node("Shape").input(&input_ids).output();
        let node = b.graph.node("Shape").input(&input_ids);
        let columns = node.int("start", 1).int("end", 2).output();
        let total = b.graph.node("Add").inputs([&past, &columns]).output();
        let graph = &mut b.graph;
        let new = count_to(graph, &columns);
        let new = graph.node("Add").inputs([&new, &past]).output();
        let [past_length, positions] = [&past, &new].map(|value| {
            let node = graph.node("Cast").input(value);
            node.int("to", Int32 as i64).output()
        });
        graph.leave();
        Self {
            input_ids,
            shape,
            past_length,
            positions,
            source_mask,
            past: past_of(Window { new, total }),
        }
    }

    /// The new tokens' window, where there can be several.
    pub fn window(&self) -> Option<&Window> {
        match &self.past {
            Past::InPlace { .. } => None,
            Past::Buffered { window, .. } | Past::Given { window, .. } => Some(window),
        }
    }
}

/// Puts the new keys and values of one layer behind those in its cache, where there is one, and leaves
/// in the cache what is to be handed back, which is the same: all of them,
/// `[batch, heads, past_length + columns, head_size]`.
pub fn append(
    b: &mut Builder<'_, '_>,
    source: &Recomputed,
    cache: &mut LayerCache,
    new: [Value; 2],
) -> [Value; 2] {
    let graph = &mut b.graph;
    let outside = graph.begin_branch("cached");
    let past = [&cache.past_key, &cache.past_value];
    let mut behind = |(past, new): (&Value, &Value)| {
        let node = graph.node("Concat").inputs([past, new]);
        node.int("axis", 2).output()
    };
    let all: Vec<_> = past.into_iter().zip(&new).map(&mut behind).collect();
    let cached = graph.end_branch(outside, &all);
    let outside = graph.begin_branch("first");
    let first = graph.end_branch(outside, &new);
    let node = graph.node("If").input(&source.use_cache);
    let all: [Value; 2] = node
        .branch("then_branch", cached)
        .branch("else_branch", first)
        .outputs();
    let [key, value] = all.clone();
    cache.present = Some((key, value));
    all
}

/// The cache of one decoder layer.
pub struct LayerCache {
    /// float32 `[batch * beams, heads, max_length, head_size]`; in the portable layout
    /// `[batch, heads, past_length, head_size]`.
    pub past_key: Value,
    /// The same shape.
    pub past_value: Value,
    /// float32 `[batch, heads, padded source, head_size]`; in the portable layout the source is not padded.
    pub cross_key: Value,
    /// float32 `[batch, heads, padded source, row]`, likewise.
    pub cross_value: Value,
    /// float32 `[1, heads, columns or 1, past_length + new]`, added to the scores of self-attention.
    pub bias: Option<Value>,
    /// Keys and values with the new tokens in place, once self-attention is written.
    pub present: Option<(Value, Value)>,
    /// Keys and values of cross-attention, where the decoder computes them.
    pub cross_present: Option<(Value, Value)>,
}

/// Declares the decoder's inputs.
pub fn decoder_inputs(
    b: &mut Builder<'_, '_>,
    new: NewTokens,
    decoder: &Stack,
) -> (DecoderInputs, Vec<LayerCache>) {
    if b.is_portable() {
        return portable_io::decoder_inputs(b, decoder);
    }
    let (columns, doc) = match new {
        NewTokens::One => ("beams", "the newest token of each beam"),
        NewTokens::Several => ("tokens", "the newest tokens"),
    };
    let [batch, columns] = [Dim::name("batch"), Dim::name(columns)];
    let heads = decoder.attention.heads;
    let [cross_key, cross_value] = cross_dims(heads);
    let kept = b.memory().element;
    let graph = &mut b.graph;
    let dims = [batch.clone(), columns.clone()];
    let input_ids = graph.input(io::INPUT_IDS, Int64, &dims, doc);
    let past_length = graph.input(
        io::PAST_LENGTH,
        Int32,
        &[Dim::size(1)],
        "tokens in the cache before these",
    );
    let cache_indirection = (new == NewTokens::One).then(|| {
        graph.input(
            io::CACHE_INDIRECTION,
            Int32,
            &[batch.clone(), columns, Dim::name("max_length")],
            "the beam whose cache row holds each past token",
        )
    });
    let source_mask = graph.input(
        io::SOURCE_MASK,
        Int32,
        &[batch, Dim::name("source")],
        "1 for a source token, 0 for padding",
    );
    let past = past_dims(heads, "max_length");
    let caches = (0..decoder.layers)
        .map(|layer| {
            let mut input = |name: String, kind: ElementType, dims: &[Dim], doc: &str| {
                graph.input(&name, kind, dims, &format!("{doc} of layer {layer}"))
            };
            let mut past = |name, doc| input(name, Float, &past, doc);
            let past_key = past(io::past_key(layer), "self-attention keys");
            let past_value = past(io::past_value(layer), "self-attention values");
            let mut cross = |name, dims, doc| input(name, kept, dims, doc);
            LayerCache {
                past_key,
                past_value,
                cross_key: cross(io::cross_key(layer), &cross_key, "cross-attention keys"),
                cross_value: cross(
                    io::cross_value(layer),
                    &cross_value,
                    "cross-attention values",
                ),
                bias: None,
                present: None,
                cross_present: None,
            }
        })
        .collect();
    let inputs = match cache_indirection {
        Some(cache_indirection) => DecoderInputs {
            shape: graph.scoped("shapes", |graph| {
                graph.node("Shape").input(&input_ids).output()
            }),
            input_ids,
            positions: past_length.clone(),
            past_length,
            source_mask,
            past: Past::InPlace { cache_indirection },
        },
        None => {
            let length = graph.scoped("positions", |graph| {
                let node = graph.node("Cast").input(&past_length);
                node.int("to", Int64 as i64).output()
            });
            DecoderInputs::of_several(b, (input_ids, length, source_mask), |window| {
                Past::Buffered { window }
            })
        }
    };
    (inputs, caches)
}

/// Declares the decoder's outputs: logits, and keys and values: the caches, which are the inputs
/// written in place, or those of several new tokens alone.
pub fn decoder_outputs(
    b: &mut Builder<'_, '_>,
    logits: &Value,
    vocab_size: usize,
    inputs: &DecoderInputs,
    caches: &[LayerCache],
    heads: Heads,
) {
    if b.is_portable() {
        return portable_io::decoder_outputs(b, logits, vocab_size, inputs, caches, heads);
    }
    let (rows, length, place) = match inputs.window() {
        None => ("rows", "max_length", "in the memory of the past ones"),
        Some(_) => ("tokens", "tokens", "of the new tokens"),
    };
    b.graph.output(
        io::LOGITS,
        logits,
        Float,
        &[Dim::name(rows), Dim::size(vocab_size)],
        "logits of the next token, behind each of batch*columns",
    );
    let past = past_dims(heads, length);
    for (layer, cache) in caches.iter().enumerate() {
        let (key, value) = cache
            .present
            .as_ref()
            .expect("self-attention of every layer is written");
        let pairs = [
            (io::present_key(layer), key, "keys"),
            (io::present_value(layer), value, "values"),
        ];
        for (name, value, kind) in pairs {
            let doc = format!("{kind} of layer {layer}, {place}");
            b.graph.output(&name, value, Float, &past, &doc);
        }
    }
}

fn past_dims(heads: Heads, length: &str) -> [Dim; 4] {
    [
        Dim::name("rows"),
        Dim::size(heads.count),
        Dim::name(length),
        Dim::size(heads.size),
    ]
}

/// Shapes of cross-attention keys and values, as [`attention::CROSS_MEMORY`] has them.
fn cross_dims(heads: Heads) -> [[Dim; 4]; 2] {
    [heads.size, attention::memory_value_row(heads.size)].map(|row| {
        [
            Dim::name("batch"),
            Dim::size(heads.count),
            Dim::name("padded_source"),
            Dim::size(row),
        ]
    })
}
