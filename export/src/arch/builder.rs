//! A graph with the weights it reads: all blocks write to it.

use epitome_runtime::bundle::{Layout, Precision};
use epitome_runtime::kernels::attention::cross_attention::KeyOrValue;
use epitome_runtime::operators::attention;
use half::f16;

use super::weights::ModelWeights;
use crate::error::Result;
use crate::onnx::graph::{Graph, Value};
use crate::onnx::proto::ElementType;

/// The graph that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Runs once for each document, over all of its tokens: bound by arithmetic.
    Encoder,
    /// Runs for each token of a summary, over a few rows: bound by reading weights.
    Decoder,
}

impl Side {
    /// The graph's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        }
    }

    /// Bits that activations are rounded to with integer weights, unless the packing sets another
    /// number. With 7 bits, int8 products are faster on processors without dot products of bytes.
    /// In the decoder reading the weights takes the time, so that 8 bits cost nothing.
    pub(crate) fn activation_bits(self) -> i64 {
        match self {
            Self::Encoder => 7,
            Self::Decoder => 8,
        }
    }
}

/// Format of the keys and values of the decoder's cross-attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrossKv {
    /// Element type.
    pub(crate) element: ElementType,
    /// Elements of a position of a head in keys and in values, by head size.
    pub(crate) rows: fn(usize) -> [usize; 2],
    /// Operator that packs them.
    pub(crate) packing: &'static str,
    /// Operator that attends to them.
    pub(crate) attention: &'static str,
}

/// The graph that is being written, and its weights.
pub(crate) struct Builder<'a, 'c> {
    /// The graph.
    pub(crate) graph: Graph,
    /// Which graph it is.
    pub(crate) side: Side,
    /// Layout of the graph.
    pub(crate) layout: Layout,
    /// The weights.
    pub(crate) weights: &'a mut ModelWeights<'c>,
}

impl<'a, 'c> Builder<'a, 'c> {
    /// Starts a graph with the documentation `doc`.
    pub(crate) fn new(
        side: Side,
        doc: &str,
        layout: Layout,
        weights: &'a mut ModelWeights<'c>,
    ) -> Self {
        Self { graph: Graph::new(side.name(), doc), side, layout, weights }
    }

    /// Whether the graph may only have standard ONNX operators.
    pub(crate) fn is_portable(&self) -> bool {
        self.layout == Layout::Optimum
    }

    /// Format of the keys and values of the decoder's cross-attention, in bundles.
    pub(crate) fn cross_kv(&self) -> CrossKv {
        match self.weights.precision() {
            Precision::Fp32 => CrossKv {
                element: ElementType::Float,
                rows: KeyOrValue::rows::<f32>,
                packing: attention::PACK_CROSS_KV_FP32,
                attention: attention::CROSS_ATTENTION_FP32,
            },
            Precision::Fp16 => CrossKv {
                element: ElementType::Float16,
                rows: KeyOrValue::rows::<f16>,
                packing: attention::PACK_CROSS_KV_FP16,
                attention: attention::CROSS_ATTENTION_FP16,
            },
            Precision::Int8 | Precision::Int4 => CrossKv {
                element: ElementType::Int8,
                rows: KeyOrValue::rows::<i8>,
                packing: attention::PACK_CROSS_KV_INT8,
                attention: attention::CROSS_ATTENTION_INT8,
            },
        }
    }

    /// Adds a checkpoint tensor of shape `dims` as an initializer of the same name.
    pub(crate) fn weight(&mut self, name: &str, dims: &[usize]) -> Result<Value> {
        let stored = self.weights.store(name, dims, false)?;
        Ok(self.graph.weight(name, &stored))
    }

    /// Adds a bias of the logits as an initializer. Minus infinity is allowed: it bans a token.
    pub(crate) fn logits_bias(&mut self, name: &str, dims: &[usize]) -> Result<Value> {
        let stored = self.weights.store(name, dims, true)?;
        Ok(self.graph.weight(name, &stored))
    }

    /// Adds a computed tensor of shape `dims` as an initializer named `key`.
    pub(crate) fn computed(
        &mut self,
        key: &str,
        dims: &[usize],
        values: impl FnOnce() -> Vec<f32>,
    ) -> Result<Value> {
        let stored = self.weights.store_computed(key, dims, values)?;
        Ok(self.graph.weight(key, &stored))
    }

    /// Runs `body` with the scope `name`, which prefixes the names of the nodes it adds.
    pub(crate) fn scoped<T>(
        &mut self,
        name: &str,
        body: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.graph.enter(name);
        let result = body(self);
        self.graph.leave();
        result
    }
}
