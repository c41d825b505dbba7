//! The inputs and outputs of a bundle's graphs, under the names the runtime binds
//! ([`epitome_runtime::bundle::io`]).

use epitome_runtime::bundle::io;

use crate::arch::blocks::heads::Heads;
use crate::arch::blocks::inputs::{DecoderInputs, EncoderInputs, LayerCache, Past};
use crate::arch::blocks::prompt::LayerPrompt;
use crate::arch::blocks::transformer::Stack;
use crate::arch::builder::{Builder, CrossKv};
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

/// Declares the cross-attention keys and values of each decoder layer. They are computed from
/// `memory`: hidden states `[batch * source, size]`, and `size`.
pub(super) fn cross_outputs(
    b: &mut Builder<'_, '_>,
    memory: (&Value, usize),
    inputs: &EncoderInputs,
    (decoder, prompts): (&Stack, &[LayerPrompt]),
) -> Result<()> {
    let attention = &decoder.attention;
    let pairs = (0..decoder.layers)
        .map(|layer| {
            let name = decoder.cross_attention(layer);
            let name_and_prompt = (name.as_str(), prompts.get(layer));
            b.scoped(&name, |b| attention.cross_kv(b, name_and_prompt, memory, &inputs.shape))
        })
        .collect::<Result<Vec<_>>>()?;
    let kept = b.cross_kv();
    let [key_dims, value_dims] = cross_dims(kept, attention.kv());
    for (layer, (key, value)) in pairs.iter().enumerate() {
        let outputs = [
            (io::cross_key(layer), key, &key_dims, "keys"),
            (io::cross_value(layer), value, &value_dims, "values"),
        ];
        for (name, value, dims, kind) in outputs {
            let doc = format!("{kind}, cross-attention of decoder layer {layer}");
            b.graph.output(&name, value, kept.element, dims, &doc);
        }
    }
    Ok(())
}

/// Declares the decoder's inputs. Each document has a length and rows of its own.
pub(super) fn decoder_inputs(
    b: &mut Builder<'_, '_>,
    decoder: &Stack,
) -> (DecoderInputs, Vec<LayerCache>) {
    let rows = Dim::name("rows");
    let heads = decoder.attention.kv();
    let kept = b.cross_kv();
    let [cross_key, cross_value] = cross_dims(kept, heads);
    let graph = &mut b.graph;
    let a_row = [rows.clone(), Dim::size(1)];
    let input_ids = graph.input(io::INPUT_IDS, Int64, &a_row, "the newest token of each row");
    let past_length =
        graph.input(io::PAST_LENGTH, Int32, &a_row, "tokens in the cache before each row's newest");
    let cache_indirection = graph.input(
        io::CACHE_INDIRECTION,
        Int32,
        &[rows, Dim::name("max_length")],
        "the cache slot of each token of a row, the newest included",
    );
    let sources = graph.input(
        io::SOURCES,
        Int32,
        &[Dim::name("documents"), Dim::size(3)],
        "of each document: its rows, the first slot of its cross-attention, its source tokens",
    );
    let past = past_dims(heads);
    let caches = (0..decoder.layers)
        .map(|layer| {
            let mut input = |name: String, kind: ElementType, dims: &[Dim], doc: &str| {
                graph.input(&name, kind, dims, &format!("{doc} of layer {layer}"))
            };
            let mut past = |name, doc| input(name, Float, &past, doc);
            let past_key = past(io::past_key(layer), "self-attention keys");
            let past_value = past(io::past_value(layer), "self-attention values");
            let mut cross = |name, dims, doc| input(name, kept.element, dims, doc);
            LayerCache {
                past_key,
                past_value,
                cross_key: cross(io::cross_key(layer), &cross_key, "cross-attention keys"),
                cross_value: cross(io::cross_value(layer), &cross_value, "cross-attention values"),
                bias: None,
                prompt: None,
                cross_prompt: None,
                present: None,
                cross_present: None,
            }
        })
        .collect();
    let shape = graph.scoped("shapes", |graph| graph.node("Shape").input(&input_ids).output());
    let inputs = DecoderInputs {
        states: shape.clone(),
        shape,
        streams: None,
        input_ids,
        positions: past_length.clone(),
        past_length,
        source: sources,
        past: Past::InPlace { cache_indirection },
    };
    (inputs, caches)
}

/// Declares the decoder's outputs: logits and the caches. The caches are inputs that are written in
/// place.
pub(super) fn decoder_outputs(
    b: &mut Builder<'_, '_>,
    logits: &Value,
    vocab_size: usize,
    caches: &[LayerCache],
    heads: Heads,
) {
    b.graph.output(
        io::LOGITS,
        logits,
        Float,
        &[Dim::name("rows"), Dim::size(vocab_size)],
        "logits of the next token of each row",
    );
    let past = past_dims(heads);
    for (layer, cache) in caches.iter().enumerate() {
        let (key, value) =
            cache.present.as_ref().expect("self-attention of every layer is written");
        let pairs =
            [(io::present_key(layer), key, "keys"), (io::present_value(layer), value, "values")];
        for (name, value, kind) in pairs {
            let doc = format!("{kind} of layer {layer}, in the memory of the past ones");
            b.graph.output(&name, value, Float, &past, &doc);
        }
    }
}

fn past_dims(heads: Heads) -> [Dim; 3] {
    [Dim::size(heads.count), Dim::name("slots"), Dim::size(heads.size)]
}

/// Shapes of the packed cross-attention keys and values.
fn cross_dims(kept: CrossKv, heads: Heads) -> [[Dim; 4]; 2] {
    (kept.rows)(heads.size).map(|row| {
        [Dim::name("batch"), Dim::size(heads.count), Dim::name("padded_source"), Dim::size(row)]
    })
}
