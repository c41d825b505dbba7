//! The inputs and outputs of the portable layout, under the names that optimum gives them
//! ([`crate::optimum::names`]).
//!
//! The encoder's only output is its hidden states. The decoder takes any number of new tokens and
//! returns all keys and values. If `use_cache_branch` is false, it ignores past ones, and computes
//! those of cross-attention from the hidden states.

use epitome_runtime::generation::GlobalAttentionMask;

use crate::arch::blocks::heads::Heads;
use crate::arch::blocks::inputs::{DecoderInputs, LayerCache, Memory, Recomputed};
use crate::arch::blocks::plain_attention::score_mask;
use crate::arch::blocks::transformer::Stack;
use crate::arch::builder::Builder;
use crate::onnx::graph::{Dim, Value};
use crate::onnx::proto::ElementType::{Bool, Float, Int32, Int64};
use crate::optimum::names;

const BATCH: &str = "batch_size";
const SOURCE: &str = "encoder_sequence_length";
const TOKENS: &str = "decoder_sequence_length";

/// Declares the encoder's inputs: token ids, int64 `[batch, source]`, and the mask, as int32.
pub(super) fn encoder_inputs(b: &mut Builder<'_, '_>) -> (Value, Value) {
    let dims = [Dim::name(BATCH), Dim::name(SOURCE)];
    let graph = &mut b.graph;
    let input_ids = graph.input(names::INPUT_IDS, Int64, &dims, "source token ids");
    let doc = "1 for a token, 0 for padding";
    let mask = graph.input(names::ATTENTION_MASK, Int64, &dims, doc);
    let mask = graph
        .scoped("mask", |graph| graph.node("Cast").input(&mask).int("to", Int32 as i64).output());
    (input_ids, mask)
}

/// Declares the tokens with global attention, as int32 `[1 or batch, source]`. The input is
/// optional, and may be longer or shorter than `input_ids`.
pub(super) fn global_attention_mask(
    b: &mut Builder<'_, '_>,
    input_ids: &Value,
    default: &GlobalAttentionMask,
) -> Value {
    let length = default.len().max(1);
    let default: Vec<_> = default.tokens().take(length).map(i64::from).collect();
    let graph = &mut b.graph;
    let mask = graph.optional_input(
        names::GLOBAL_ATTENTION_MASK,
        &["global_batch_size", "global_sequence_length"].map(Dim::name),
        "1 for a token with global attention, 0 for others; where it is shorter than the source, \
         the tokens behind have none",
        (&[1, length], &default),
    );
    graph.scoped("global", |graph| {
        let [zero, nothing] = [graph.int64_scalar(0), graph.int64s(&[0, 0, 0])];
        let [length, given] = [input_ids, &mask]
            .map(|value| graph.node("Shape").input(value).int("start", 1).int("end", 2).output());
        // A negative number of pads cuts a mask that is longer than the source.
        let missing = graph.node("Sub").inputs([&length, &given]).output();
        let pads = graph.node("Concat").inputs([&nothing, &missing]).int("axis", 0).output();
        let mask = graph.node("Pad").inputs([&mask, &pads, &zero]).output();
        graph.node("Cast").input(&mask).int("to", Int32 as i64).output()
    })
}

/// Declares the encoder's hidden states, `[batch, source, hidden]`.
pub(super) fn hidden_states(b: &mut Builder<'_, '_>, hidden_states: &Value, hidden: usize) {
    b.graph.output(
        names::LAST_HIDDEN_STATE,
        hidden_states,
        Float,
        &[Dim::name(BATCH), Dim::name(SOURCE), Dim::size(hidden)],
        "hidden states of the last layer",
    );
}

/// Declares the decoder's inputs.
pub(super) fn decoder_inputs(
    b: &mut Builder<'_, '_>,
    decoder: &Stack,
    memory: &Memory,
) -> (DecoderInputs, Vec<LayerCache>) {
    let [batch, source] = [Dim::name(BATCH), Dim::name(SOURCE)];
    let graph = &mut b.graph;
    let source_mask = graph.input(
        names::ENCODER_ATTENTION_MASK,
        Int64,
        &[batch.clone(), source.clone()],
        "1 for a source token, 0 for padding",
    );
    let input_ids = graph.input(
        names::INPUT_IDS,
        Int64,
        &[batch.clone(), Dim::name(TOKENS)],
        "the newest tokens",
    );
    let hidden_states = graph.input(
        names::ENCODER_HIDDEN_STATES,
        Float,
        &[batch, source, Dim::size(memory.size)],
        "what the encoder gave; read where use_cache_branch is false",
    );
    let caches = (0..decoder.layers)
        .map(|layer| {
            let [past_key, past_value, cross_key, cross_value] = names::PARTS.map(|part| {
                let length = match part.is_cross() {
                    true => "encoder_sequence_length_out",
                    false => "past_decoder_sequence_length",
                };
                let doc =
                    format!("{} of layer {layer}; read where use_cache_branch is true", part.doc());
                // At the first step these inputs are ignored and may have any shape; optimum passes
                // the sizes of the encoder's heads.
                let dims = [BATCH, "heads", length, "head_size"].map(Dim::name);
                graph.input(&names::past(layer, part), Float, &dims, &doc)
            });
            LayerCache {
                past_key,
                past_value,
                cross_key,
                cross_value,
                bias: None,
                prompt: None,
                cross_prompt: None,
                present: None,
                cross_present: None,
            }
        })
        .collect::<Vec<_>>();
    let use_cache = graph.input(
        names::USE_CACHE_BRANCH,
        Bool,
        &[Dim::size(1)],
        "whether past_key_values hold anything",
    );
    let source_shape =
        graph.scoped("shapes", |graph| graph.node("Shape").input(&source_mask).output());
    let source_mask = graph.scoped("mask", |graph| score_mask(graph, &source_mask));
    let past = graph.scoped("shapes", |graph| {
        let node = graph.node("Shape").input(&caches[0].past_key);
        let length = node.int("start", 2).int("end", 3).output();
        let counts = graph.node("Cast").input(&use_cache).int("to", Int64 as i64).output();
        graph.node("Mul").inputs([&length, &counts]).output()
    });
    let recomputed = Recomputed { use_cache, hidden_states, shape: source_shape, memory: *memory };
    let inputs = DecoderInputs::of_several(b, (input_ids, past, source_mask), recomputed);
    (inputs, caches)
}

/// Declares the decoder's outputs: logits, and all keys and values.
pub(super) fn decoder_outputs(
    b: &mut Builder<'_, '_>,
    logits: &Value,
    vocab_size: usize,
    inputs: &DecoderInputs,
    caches: &[LayerCache],
    heads: Heads,
) {
    let shape = b.graph.shape(&inputs.shape, &[vocab_size as i64]);
    let logits = b.graph.node("Reshape").inputs([logits, &shape]).output();
    b.graph.output(
        names::LOGITS,
        &logits,
        Float,
        &[Dim::name(BATCH), Dim::name(TOKENS), Dim::size(vocab_size)],
        "logits of the token that follows each new one",
    );
    for (layer, cache) in caches.iter().enumerate() {
        let pairs = cache.present.iter().chain(&cache.cross_present);
        let values = pairs.flat_map(|(key, value)| [key, value]);
        for (part, value) in names::PARTS.into_iter().zip(values) {
            let (length, doc) = match part.is_cross() {
                true => ("encoder_sequence_length_out", "nothing where they were given"),
                false => ("past_decoder_sequence_length + 1", "all of them"),
            };
            // With a cache these outputs are empty, even in the batch dimension.
            let mut dims = cache_dims(heads, length);
            if part.is_cross() {
                dims[0] = Dim::name("batch_size_out");
            }
            let doc = format!("{} of layer {layer}; {doc}", part.doc());
            let name = names::present(layer, part);
            b.graph.output(&name, value, Float, &dims, &doc);
        }
    }
}

fn cache_dims(heads: Heads, length: &str) -> [Dim; 4] {
    [Dim::name(BATCH), Dim::size(heads.count), Dim::name(length), Dim::size(heads.size)]
}
