//! The inputs and outputs that every encoder and decoder graph has, under the names the runtime
//! binds ([`epitome_runtime::bundle::io`]).

use epitome_runtime::bundle::io;

use super::attention::Heads;
use crate::arch::Builder;
use crate::onnx::graph::{Dim, Value};
use crate::onnx::proto::ElementType::{Float, Int32, Int64};

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
        self.extended(b, &[size as i64])
    }

    /// The shape `[batch, source, heads, head_size]` that splits rows into heads.
    pub fn with_heads(&self, b: &mut Builder<'_, '_>, heads: Heads) -> Value {
        self.extended(b, &[heads.count as i64, heads.size as i64])
    }

    fn extended(&self, b: &mut Builder<'_, '_>, sizes: &[i64]) -> Value {
        b.graph.shape(&self.shape, sizes)
    }
}

/// Declares the encoder's inputs.
pub fn encoder_inputs(b: &mut Builder<'_, '_>) -> EncoderInputs {
    let dims = [Dim::name("batch"), Dim::name("source")];
    let graph = &mut b.graph;
    let input_ids = graph.input(io::INPUT_IDS, Int64, &dims, "source token ids");
    let mask = graph.input(
        io::ATTENTION_MASK,
        Int32,
        &dims,
        "1 for a token, 0 for padding",
    );
    graph.scoped("shapes", |graph| {
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
/// keys and values.
pub fn encoder_outputs(
    b: &mut Builder<'_, '_>,
    hidden_states: &Value,
    hidden: usize,
    memory: &[(Value, Value)],
    heads: Heads,
) {
    let cross = cross_dims(heads);
    for (layer, (key, value)) in memory.iter().enumerate() {
        let doc = format!("cross-attention of decoder layer {layer}");
        b.graph.output(
            &io::cross_key(layer),
            key,
            Float,
            &cross,
            &format!("keys, {doc}"),
        );
        b.graph.output(
            &io::cross_value(layer),
            value,
            Float,
            &cross,
            &format!("values, {doc}"),
        );
    }
    b.graph.output(
        io::LAST_HIDDEN_STATE,
        hidden_states,
        Float,
        &[Dim::name("batch"), Dim::name("source"), Dim::size(hidden)],
        "hidden states of the last layer",
    );
}

/// The decoder's inputs.
pub struct DecoderInputs {
    /// int64 `[batch, beams]`: the newest token of each beam.
    pub input_ids: Value,
    /// int32 `[1]`: how many tokens the cache holds.
    pub past_length: Value,
    /// int32 `[1]`.
    pub beam_width: Value,
    /// int32 `[batch, beams, max_length]`: the beam whose cache row holds each past token.
    pub cache_indirection: Value,
    /// int32 `[batch, source]`.
    pub source_mask: Value,
    /// The shape `[batch, beams, heads * head_size]`.
    pub beams_shape: Value,
}

/// The cache of one decoder layer.
pub struct LayerCache {
    /// float32 `[batch * beams, heads, max_length, head_size]`.
    pub past_key: Value,
    /// The same shape.
    pub past_value: Value,
    /// float32 `[batch, heads, source, head_size]`.
    pub cross_key: Value,
    /// The same shape.
    pub cross_value: Value,
    /// float32 `[1, heads, 1, past_length + 1]`, added to the scores of self-attention.
    pub bias: Option<Value>,
    /// Keys and values with the new token in place, once self-attention is written.
    pub present: Option<(Value, Value)>,
}

/// Declares the decoder's inputs.
pub fn decoder_inputs(
    b: &mut Builder<'_, '_>,
    layers: usize,
    heads: Heads,
) -> (DecoderInputs, Vec<LayerCache>) {
    let [batch, beams] = [Dim::name("batch"), Dim::name("beams")];
    let graph = &mut b.graph;
    let input_ids = graph.input(
        io::INPUT_IDS,
        Int64,
        &[batch.clone(), beams.clone()],
        "the newest token of each beam",
    );
    let past_length = graph.input(
        io::PAST_LENGTH,
        Int32,
        &[Dim::size(1)],
        "tokens in the cache before this one",
    );
    let beam_width = graph.input(
        io::BEAM_WIDTH,
        Int32,
        &[Dim::size(1)],
        "beams of each document",
    );
    let cache_indirection = graph.input(
        io::CACHE_INDIRECTION,
        Int32,
        &[batch.clone(), beams, Dim::name("max_length")],
        "the beam whose cache row holds each past token",
    );
    let source_mask = graph.input(
        io::SOURCE_MASK,
        Int32,
        &[batch, Dim::name("source")],
        "1 for a source token, 0 for padding",
    );
    let beams_shape = graph.scoped("shapes", |graph| {
        let shape = graph.node("Shape").input(&input_ids).output();
        let hidden = graph.int64s(&[heads.hidden() as i64]);
        graph
            .node("Concat")
            .inputs([&shape, &hidden])
            .int("axis", 0)
            .output()
    });
    let (past, cross) = (past_dims(heads), cross_dims(heads));
    let caches = (0..layers)
        .map(|layer| {
            let mut input = |name: String, dims: &[Dim], doc: &str| {
                graph.input(&name, Float, dims, &format!("{doc} of layer {layer}"))
            };
            LayerCache {
                past_key: input(io::past_key(layer), &past, "self-attention keys"),
                past_value: input(io::past_value(layer), &past, "self-attention values"),
                cross_key: input(io::cross_key(layer), &cross, "cross-attention keys"),
                cross_value: input(io::cross_value(layer), &cross, "cross-attention values"),
                bias: None,
                present: None,
            }
        })
        .collect();
    let inputs = DecoderInputs {
        input_ids,
        past_length,
        beam_width,
        cache_indirection,
        source_mask,
        beams_shape,
    };
    (inputs, caches)
}

/// Declares the decoder's outputs: logits, and the caches, which are the inputs written in place.
pub fn decoder_outputs(
    b: &mut Builder<'_, '_>,
    logits: &Value,
    vocab_size: usize,
    caches: &[LayerCache],
    heads: Heads,
) {
    let rows = [Dim::name("rows"), Dim::size(vocab_size)];
    b.graph.output(
        io::LOGITS,
        logits,
        Float,
        &rows,
        "logits of the next token, rows = batch*beams",
    );
    let past = past_dims(heads);
    for (layer, cache) in caches.iter().enumerate() {
        let (key, value) = cache
            .present
            .as_ref()
            .expect("self-attention of every layer is written");
        let doc = format!("of layer {layer}, in the memory of the past ones");
        b.graph.output(
            &io::present_key(layer),
            key,
            Float,
            &past,
            &format!("keys {doc}"),
        );
        b.graph.output(
            &io::present_value(layer),
            value,
            Float,
            &past,
            &format!("values {doc}"),
        );
    }
}

fn past_dims(heads: Heads) -> [Dim; 4] {
    [
        Dim::name("rows"),
        Dim::size(heads.count),
        Dim::name("max_length"),
        Dim::size(heads.size),
    ]
}

fn cross_dims(heads: Heads) -> [Dim; 4] {
    [
        Dim::name("batch"),
        Dim::size(heads.count),
        Dim::name("source"),
        Dim::size(heads.size),
    ]
}
