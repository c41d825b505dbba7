//! The inputs and outputs of a bundle's graphs, under the names the runtime binds
//! ([`epitome_runtime::bundle::io`]).

use epitome_runtime::bundle::io;
use epitome_runtime::kernels::attention::padded_head_size;

use crate::arch::blocks::heads::Heads;
use crate::arch::blocks::inputs::{DecoderInputs, EncoderInputs, LayerCache, NewTokens, Past};
use crate::arch::blocks::transformer::Stack;
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::{Dim, Value};
use crate::onnx::proto::ElementType::{self, Float, Int32, Int64};

/// Declares the encoder's inputs: token ids, int64 `[batch, source]`, and the mask, int32.
pub(super) fn encoder_inputs(b: &mut Builder<'_, '_>) -> (Value, Value) {
    let dims = [Dim::name("batch"), Dim::name("source")];
    let graph = &mut b.graph;
    let input_ids = graph.input(io::INPUT_IDS, Int64, &dims, "source token ids");
    let doc = "1 for a token, 0 for padding";
    let mask = graph.input(io::ATTENTION_MASK, Int32, &dims, doc);
    (input_ids, mask)
}

/// Declares the tokens with global attention, int32 `[batch, source]`.
pub(super) fn global_attention_mask(b: &mut Builder<'_, '_>) -> Value {
    let dims = [Dim::name("batch"), Dim::name("source")];
    let doc = "1 for a token with global attention, 0 for others";
    b.graph.input(io::GLOBAL_ATTENTION_MASK, Int32, &dims, doc)
}

/// Declares the encoder's hidden states, `[batch, source, hidden]`.
pub(super) fn hidden_states(b: &mut Builder<'_, '_>, hidden_states: &Value, hidden: usize) {
    b.graph.output(
        io::LAST_HIDDEN_STATE,
        hidden_states,
        Float,
        &[Dim::name("batch"), Dim::name("source"), Dim::size(hidden)],
        "hidden states of the last layer",
    );
}

/// Declares the cross-attention keys and values of each decoder layer, made of `memory`, `[batch *
/// source, size]`, and its size.
pub(super) fn cross_outputs(
    b: &mut Builder<'_, '_>,
    memory: (&Value, usize),
    inputs: &EncoderInputs,
    decoder: &Stack,
) -> Result<()> {
    let attention = &decoder.attention;
    let pairs = (0..decoder.layers)
        .map(|layer| {
            let name = decoder.cross_attention(layer);
            b.scoped(&name, |b| attention.cross_kv(b, &name, memory, &inputs.shape))
        })
        .collect::<Result<Vec<_>>>()?;
    let [key_dims, value_dims] = cross_dims(attention.heads);
    let element = b.cross_kv().element;
    for (layer, (key, value)) in pairs.iter().enumerate() {
        let outputs = [
            (io::cross_key(layer), key, &key_dims, "keys"),
            (io::cross_value(layer), value, &value_dims, "values"),
        ];
        for (name, value, dims, kind) in outputs {
            let doc = format!("{kind}, cross-attention of decoder layer {layer}");
            b.graph.output(&name, value, element, dims, &doc);
        }
    }
    Ok(())
}

/// Declares the decoder's inputs.
pub(super) fn decoder_inputs(
    b: &mut Builder<'_, '_>,
    new: NewTokens,
    decoder: &Stack,
) -> (DecoderInputs, Vec<LayerCache>) {
    let (columns, doc) = match new {
        NewTokens::One => ("beams", "the newest token of each beam"),
        NewTokens::Several => ("tokens", "the newest tokens"),
    };
    let [batch, columns] = [Dim::name("batch"), Dim::name(columns)];
    let heads = decoder.attention.heads;
    let [cross_key, cross_value] = cross_dims(heads);
    let kept = b.cross_kv().element;
    let graph = &mut b.graph;
    let dims = [batch.clone(), columns.clone()];
    let input_ids = graph.input(io::INPUT_IDS, Int64, &dims, doc);
    let past_length =
        graph.input(io::PAST_LENGTH, Int32, &[Dim::size(1)], "tokens in the cache before these");
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
                cross_value: cross(io::cross_value(layer), &cross_value, "cross-attention values"),
                bias: None,
                present: None,
                cross_present: None,
            }
        })
        .collect();
    let inputs = match cache_indirection {
        Some(cache_indirection) => DecoderInputs {
            shape: graph.scoped("shapes", |graph| graph.node("Shape").input(&input_ids).output()),
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
pub(super) fn decoder_outputs(
    b: &mut Builder<'_, '_>,
    logits: &Value,
    vocab_size: usize,
    inputs: &DecoderInputs,
    caches: &[LayerCache],
    heads: Heads,
) {
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
        let (key, value) =
            cache.present.as_ref().expect("self-attention of every layer is written");
        let pairs =
            [(io::present_key(layer), key, "keys"), (io::present_value(layer), value, "values")];
        for (name, value, kind) in pairs {
            let doc = format!("{kind} of layer {layer}, {place}");
            b.graph.output(&name, value, Float, &past, &doc);
        }
    }
}

fn past_dims(heads: Heads, length: &str) -> [Dim; 4] {
    [Dim::name("rows"), Dim::size(heads.count), Dim::name(length), Dim::size(heads.size)]
}

/// Shapes of cross-attention keys and values, as the operator that packs them has them.
fn cross_dims(heads: Heads) -> [[Dim; 4]; 2] {
    [heads.size, padded_head_size(heads.size)].map(|row| {
        [Dim::name("batch"), Dim::size(heads.count), Dim::name("padded_source"), Dim::size(row)]
    })
}
