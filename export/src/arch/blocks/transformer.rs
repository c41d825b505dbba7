//! The encoder and decoder stacks. Families differ in names, norms and feed-forward layers, and not
//! in structure.

use super::attention::{Attention, LayerType};
use super::experts::Experts;
use super::feed_forward::FeedForward;
use super::inputs::{DecoderInputs, EncoderInputs, LayerCache, Tokens};
use super::norm::{Norm, Placement, ResidualStream};
use crate::arch::builder::Builder;
use crate::error::Result;
use crate::onnx::graph::Value;

/// Checkpoint names of a stack's parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StackNames {
    /// Name of the stack: `model.encoder`.
    pub(crate) stack: &'static str,
    /// Name of the list of layers, below the stack: `layers`.
    pub(crate) layers: &'static str,
    /// Name between the number of a layer and its parts: empty, or `.layer`.
    pub(crate) within: &'static str,
    /// Names of self-attention and its norm, below the layer.
    pub(crate) self_attention: [&'static str; 2],
    /// Names of cross-attention and its norm, in a decoder.
    pub(crate) cross_attention: [&'static str; 2],
    /// Prefix of the feed-forward layers, which may be empty, and name of their norm.
    pub(crate) feed_forward: [&'static str; 2],
    /// Name of the norm behind the last layer with [`Placement::Pre`], below the stack.
    pub(crate) closing_norm: &'static str,
}

impl StackNames {
    /// Names of transformers' BART family, below `stack`.
    pub(crate) const fn bart(stack: &'static str) -> Self {
        Self {
            stack,
            layers: "layers",
            within: "",
            self_attention: ["self_attn", "self_attn_layer_norm"],
            cross_attention: ["encoder_attn", "encoder_attn_layer_norm"],
            feed_forward: ["", "final_layer_norm"],
            closing_norm: "layer_norm",
        }
    }

    /// Checkpoint prefix of a layer.
    pub(crate) fn layer(&self, layer: usize) -> String {
        format!("{}.{}.{layer}{}", self.stack, self.layers, self.within)
    }

    /// A name below the stack.
    pub(crate) fn below(&self, name: &str) -> String {
        format!("{}.{name}", self.stack)
    }
}

/// One stack: encoder or decoder.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    /// Names of its parts.
    pub(crate) names: StackNames,
    /// Number of layers.
    pub(crate) layers: usize,
    /// Attention; in a decoder both kinds.
    pub(crate) attention: Attention,
    /// Type of the self-attention of each layer, if layers differ.
    pub(crate) layer_types: Vec<LayerType>,
    /// Feed-forward layers.
    pub(crate) feed_forward: FeedForward,
    /// Experts in place of the feed-forward layers, in some layers.
    pub(crate) experts: Option<Experts>,
    /// Normalization.
    pub(crate) norm: Norm,
}

/// Writes the self-attention of an encoder layer: `[batch * source, hidden]` to the same shape. The
/// arguments are the number of the layer and the checkpoint prefix of the attention.
pub(crate) type AttendSource<'f> =
    dyn FnMut(&mut Builder<'_, '_>, (usize, &str), &Value) -> Result<Value> + 'f;

impl Stack {
    /// A stack of equal layers.
    pub(crate) fn new(
        (names, layers): (StackNames, usize),
        attention: Attention,
        feed_forward: FeedForward,
        norm: Norm,
    ) -> Self {
        let layer_types = Vec::new();
        Self { names, layers, attention, layer_types, feed_forward, experts: None, norm }
    }

    /// Writes an encoder with the self-attention `attend`: `[batch * source, hidden]` to the same
    /// shape.
    pub(crate) fn encoder(
        &self,
        b: &mut Builder<'_, '_>,
        (inputs, x): (&EncoderInputs, &Value),
        attend: &mut AttendSource<'_>,
    ) -> Result<Value> {
        let [self_attention, _] = self.names.self_attention;
        let norms = self.norms(&[0, 2]);
        let mut stream = ResidualStream::start(b, self.norm, norms, x)?;
        for layer in 0..self.layers {
            let name = self.names.layer(layer);
            b.scoped(&name, |b| {
                let attention = b.scoped("self_attention", |b| {
                    let name = format!("{name}.{self_attention}");
                    attend(b, (layer, &name), stream.input())
                })?;
                stream.add(b, &attention)?;
                let inner = self.inner(b, layer, stream.input(), Tokens::Source(inputs))?;
                stream.add(b, &inner)
            })?;
        }
        Ok(stream.input().clone())
    }

    /// Writes an encoder with full self-attention.
    pub(crate) fn plain_encoder(
        &self,
        b: &mut Builder<'_, '_>,
        inputs: &EncoderInputs,
        x: &Value,
    ) -> Result<Value> {
        self.encoder(b, (inputs, x), &mut |b, (layer, name), x| {
            self.attention_of(layer).encoder_self_attention(b, name, x, inputs, None)
        })
    }

    /// Writes a decoder step: `[batch * beams, hidden]` to the same shape.
    pub(crate) fn decoder(
        &self,
        b: &mut Builder<'_, '_>,
        x: &Value,
        inputs: &DecoderInputs,
        caches: &mut [LayerCache],
    ) -> Result<Value> {
        let [self_attention, _] = self.names.self_attention;
        let norms = match self.attention.merged {
            true => self.norms(&[0, 2]),
            false => self.norms(&[0, 1, 2]),
        };
        let mut stream = ResidualStream::start(b, self.norm, norms, x)?;
        for (layer, cache) in caches.iter_mut().enumerate() {
            let name = self.names.layer(layer);
            b.scoped(&name, |b| {
                let attention = b.scoped("self_attention", |b| {
                    let name = format!("{name}.{self_attention}");
                    let attention = self.attention_of(layer);
                    attention.self_attention(b, &name, stream.input(), inputs, cache)
                })?;
                stream.add(b, &attention)?;
                if !self.attention.merged {
                    let attention = b.scoped("cross_attention", |b| {
                        let name = self.cross_attention(layer);
                        self.attention.cross_attention(b, &name, stream.input(), inputs, cache)
                    })?;
                    stream.add(b, &attention)?;
                }
                let inner = self.inner(b, layer, stream.input(), Tokens::Step(inputs))?;
                stream.add(b, &inner)
            })?;
        }
        Ok(stream.input().clone())
    }

    /// The self-attention of a layer.
    fn attention_of(&self, layer: usize) -> Attention {
        let layer_type = self.layer_types.get(layer).copied().unwrap_or_default();
        Attention { layer_type, ..self.attention }
    }

    /// Checkpoint prefix of a layer's cross-attention.
    pub(crate) fn cross_attention(&self, layer: usize) -> String {
        format!("{}.{}", self.names.layer(layer), self.names.cross_attention[0])
    }

    fn inner(
        &self,
        b: &mut Builder<'_, '_>,
        layer: usize,
        x: &Value,
        tokens: Tokens<'_>,
    ) -> Result<Value> {
        let layer_name = self.names.layer(layer);
        let name = match self.names.feed_forward[0] {
            "" => layer_name,
            below => format!("{layer_name}.{below}"),
        };
        let hidden = self.attention.hidden;
        b.scoped("feed_forward", |b| match self.experts.filter(|some| some.are_in(layer)) {
            Some(experts) => experts.apply(b, &name, x, hidden, tokens),
            None => self.feed_forward.apply(b, &name, x, hidden),
        })
    }

    /// Names of the norms in the order in which they run, for layers of these `sublayers`:
    /// self-attention is 0, cross-attention 1, feed-forward 2.
    fn norms(&self, sublayers: &[usize]) -> Vec<String> {
        let names = &self.names;
        let sublayer = |sublayer: &usize| {
            let [_, own] =
                [names.self_attention, names.cross_attention, names.feed_forward][*sublayer];
            let behind = match self.norm.placement {
                Placement::Around(behind) => Some(behind[*sublayer]),
                Placement::Pre | Placement::Post => None,
            };
            std::iter::once(own).chain(behind)
        };
        let of_layer: Vec<&str> = sublayers.iter().flat_map(sublayer).collect();
        let full =
            |layer| of_layer.iter().map(move |norm| format!("{}.{norm}", names.layer(layer)));
        let closing = match self.norm.placement {
            Placement::Post => None,
            Placement::Pre | Placement::Around(_) => Some(names.below(names.closing_norm)),
        };
        (0..self.layers).flat_map(full).chain(closing).collect()
    }
}
