//! A graph and the weights it draws on, together: what every block composes with.

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

    /// Bits that activations are rounded to where weights are integers, unless their packing knows
    /// better. Seven multiply faster with weights of eight bits on processors without dot products
    /// of bytes; where weights are what takes the time, eight are free.
    pub(crate) fn activation_bits(self) -> i64 {
        match self {
            Self::Encoder => 7,
            Self::Decoder => 8,
        }
    }
}

/// How keys and values of the decoder's cross-attention are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrossKv {
    /// Type of their elements.
    pub(crate) element: ElementType,
    /// Elements that a position of a head takes in keys and in values, for heads of a size.
    pub(crate) rows: fn(usize) -> [usize; 2],
    /// The operator that lays them out.
    pub(crate) packing: &'static str,
    /// The operator that attends to them.
    pub(crate) attention: &'static str,
}

/// The graph being written, and where its weights come from.
pub(crate) struct Builder<'a, 'c> {
    /// The graph.
    pub(crate) graph: Graph,
    /// Which graph it is.
    pub(crate) side: Side,
    /// What the graph is written for.
    pub(crate) layout: Layout,
    /// The weights.
    pub(crate) weights: &'a mut ModelWeights<'c>,
}

impl<'a, 'c> Builder<'a, 'c> {
    /// Starts a graph.
    pub(crate) fn new(
        side: Side,
        doc: &str,
        layout: Layout,
        weights: &'a mut ModelWeights<'c>,
    ) -> Self {
        Self { graph: Graph::new(side.name(), doc), side, layout, weights }
    }

    /// Whether the graph may have operators of the ONNX standard only.
    pub(crate) fn is_portable(&self) -> bool {
        self.layout == Layout::Optimum
    }

    /// How keys and values of the decoder's cross-attention are kept, in bundles.
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

    /// A checkpoint tensor of shape `dims` as an initializer of the same name.
    pub(crate) fn weight(&mut self, name: &str, dims: &[usize]) -> Result<Value> {
        let stored = self.weights.store(name, dims, false)?;
        Ok(self.graph.weight(name, &stored))
    }

    /// The same, where minus infinity bans a token.
    pub(crate) fn logits_bias(&mut self, name: &str, dims: &[usize]) -> Result<Value> {
        let stored = self.weights.store(name, dims, true)?;
        Ok(self.graph.weight(name, &stored))
    }

    /// A tensor of shape `dims` that is computed rather than read, as an initializer named `key`.
    pub(crate) fn computed(
        &mut self,
        key: &str,
        dims: &[usize],
        values: impl FnOnce() -> Vec<f32>,
    ) -> Result<Value> {
        let stored = self.weights.store_computed(key, dims, values)?;
        Ok(self.graph.weight(key, &stored))
    }

    /// Runs `body` with `name` in front of the node names it adds.
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
