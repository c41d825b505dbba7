//! Declares the inputs and outputs of both graphs, under the names of the chosen layout.

mod bundle;
mod optimum;

use epitome_runtime::bundle::Layout;
use epitome_runtime::generation::GlobalAttentionMask;

use super::inputs::{DecoderInputs, EncoderInputs, LayerCache, Memory};
use super::transformer::Stack;
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// Declares the encoder's inputs. `global` is the default of the global attention mask, for models
/// that have one.
pub(crate) fn encoder_inputs(
    b: &mut Builder<'_, '_>,
    global: Option<&GlobalAttentionMask>,
) -> EncoderInputs {
    let (input_ids, mask) = match b.layout {
        Layout::Bundle => bundle::encoder_inputs(b),
        Layout::Optimum => optimum::encoder_inputs(b),
    };
    let global = global.map(|default| match b.layout {
        Layout::Bundle => bundle::global_attention_mask(b),
        Layout::Optimum => optimum::global_attention_mask(b, &input_ids, default),
    });
    EncoderInputs::new(b, input_ids, (mask, global))
}

/// Declares the encoder's outputs: its hidden states, `[batch * source, hidden]`, and in a bundle
/// the cross-attention keys and values of each layer of `decoder`. In the portable layout the
/// decoder computes these.
pub(crate) fn encoder_outputs(
    b: &mut Builder<'_, '_>,
    hidden_states: &Value,
    inputs: &EncoderInputs,
    (decoder, memory): (&Stack, &Memory),
) -> Result<()> {
    let hidden = memory.size;
    if b.layout == Layout::Bundle {
        let projected = memory.project(b, hidden_states)?;
        let read = (&projected, memory.projected_size());
        let prompts = match memory.prompt {
            Some(prompt) => prompt.of_layers(b)?,
            None => Vec::new(),
        };
        bundle::cross_outputs(b, read, inputs, (decoder, &prompts))?;
    }
    let shape = inputs.with_size(b, hidden);
    let node = b.graph.node("Reshape").inputs([hidden_states, &shape]);
    let hidden_states = node.output();
    match b.layout {
        Layout::Bundle => bundle::hidden_states(b, &hidden_states, hidden),
        Layout::Optimum => optimum::hidden_states(b, &hidden_states, hidden),
    }
    Ok(())
}

/// Declares the decoder's inputs.
pub(crate) fn decoder_inputs(
    b: &mut Builder<'_, '_>,
    (decoder, memory): (&Stack, &Memory),
) -> (DecoderInputs, Vec<LayerCache>) {
    match b.layout {
        Layout::Bundle => bundle::decoder_inputs(b, decoder),
        Layout::Optimum => optimum::decoder_inputs(b, decoder, memory),
    }
}

/// Declares the decoder's outputs: logits, `[rows, vocab]`, and keys and values.
pub(crate) fn decoder_outputs(
    b: &mut Builder<'_, '_>,
    logits: &Value,
    vocab_size: usize,
    inputs: &DecoderInputs,
    caches: &[LayerCache],
    decoder: &Stack,
) {
    let heads = decoder.attention.kv();
    match b.layout {
        Layout::Bundle => bundle::decoder_outputs(b, logits, vocab_size, caches, heads),
        Layout::Optimum => optimum::decoder_outputs(b, logits, vocab_size, inputs, caches, heads),
    }
}
