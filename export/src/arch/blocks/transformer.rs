//! The encoder and decoder stacks of transformers' BART family (BART, PEGASUS, mBART, Marian, ...),
//! which share layer structure and checkpoint names and differ in where they normalize.

use super::activation::Activation;
use super::attention::{
    EncoderBatch, Heads, cached_self_attention, cross_attention, encoder_self_attention,
};
use super::decoder_io::{DecoderInputs, LayerCache};
use super::linear::linear;
use super::norm::{Norm, Placement, ResidualStream};
use crate::arch::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// One stack: encoder or decoder.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Checkpoint prefix, as `model.encoder`.
    pub name: &'static str,
    /// How many layers.
    pub layers: usize,
    /// Heads of its attention.
    pub heads: Heads,
    /// Inner size of its feed-forward layers.
    pub ffn: usize,
    /// Activation of its feed-forward layers.
    pub activation: Activation,
    /// Its normalization.
    pub norm: Norm,
}

impl Stack {
    /// Checkpoint prefix of a layer.
    pub fn layer(&self, layer: usize) -> String {
        format!("{}.layers.{layer}", self.name)
    }

    /// Writes an encoder: `[batch * source, hidden]` to the same.
    pub fn encoder(
        &self,
        b: &mut Builder<'_, '_>,
        x: &Value,
        batch: &EncoderBatch,
    ) -> Result<Value> {
        let norms = self.norms(&["self_attn_layer_norm", "final_layer_norm"]);
        let mut stream = ResidualStream::start(b, self.norm, norms, x)?;
        for layer in 0..self.layers {
            let name = self.layer(layer);
            b.scoped(&name, |b| {
                let attention = b.scoped("self_attn", |b| {
                    let name = format!("{name}.self_attn");
                    encoder_self_attention(b, &name, stream.input(), batch, self.heads)
                })?;
                stream.add(b, &attention)?;
                let inner = self.feed_forward(b, &name, stream.input())?;
                stream.add(b, &inner)
            })?;
        }
        Ok(stream.input().clone())
    }

    /// Writes a decoder step: `[batch * beams, hidden]` to the same.
    pub fn decoder(
        &self,
        b: &mut Builder<'_, '_>,
        x: &Value,
        inputs: &DecoderInputs,
        caches: &mut [LayerCache],
    ) -> Result<Value> {
        let norms = self.norms(&[
            "self_attn_layer_norm",
            "encoder_attn_layer_norm",
            "final_layer_norm",
        ]);
        let mut stream = ResidualStream::start(b, self.norm, norms, x)?;
        for (layer, cache) in caches.iter_mut().enumerate() {
            let name = self.layer(layer);
            b.scoped(&name, |b| {
                let attention = b.scoped("self_attn", |b| {
                    let name = format!("{name}.self_attn");
                    cached_self_attention(b, &name, stream.input(), inputs, cache)
                })?;
                stream.add(b, &attention)?;
                let attention = b.scoped("encoder_attn", |b| {
                    let name = format!("{name}.encoder_attn");
                    cross_attention(b, &name, stream.input(), inputs, cache)
                })?;
                stream.add(b, &attention)?;
                let inner = self.feed_forward(b, &name, stream.input())?;
                stream.add(b, &inner)
            })?;
        }
        Ok(stream.input().clone())
    }

    fn feed_forward(&self, b: &mut Builder<'_, '_>, name: &str, x: &Value) -> Result<Value> {
        let hidden = self.heads.hidden();
        b.scoped("feed_forward", |b| {
            let inner = linear(b, &format!("{name}.fc1"), x, (hidden, self.ffn))?;
            let inner = self.activation.apply(b, &inner);
            linear(b, &format!("{name}.fc2"), &inner, (self.ffn, hidden))
        })
    }

    /// Names of the norms in the order in which they run.
    fn norms(&self, of_layer: &[&str]) -> Vec<String> {
        let mut names: Vec<_> = (0..self.layers)
            .flat_map(|layer| of_layer.iter().map(move |norm| (layer, *norm)))
            .map(|(layer, norm)| format!("{}.{norm}", self.layer(layer)))
            .collect();
        if self.norm.placement == Placement::Pre {
            names.push(format!("{}.layer_norm", self.name));
        }
        names
    }
}
