//! Activation functions, by the names of transformers' `ACT2FN` (`transformers/activations.py`).

use crate::arch::config::wrong;
use crate::arch::{Builder, ModelConfig};
use crate::error::Result;
use crate::onnx::graph::Value;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `relu`
    Relu,
    /// `gelu`: with the error function.
    Gelu,
    /// `gelu_new`, `gelu_fast`, `gelu_pytorch_tanh`: with the hyperbolic tangent.
    GeluTanh,
    /// `quick_gelu`: `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// `silu`, `swish`: `x * sigmoid(x)`.
    Silu,
    /// `tanh`
    Tanh,
    /// `sigmoid`
    Sigmoid,
    /// `linear`
    Identity,
}

/// Every name a configuration can use.
const NAMES: &[(&str, Activation)] = &[
    ("relu", Activation::Relu),
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
    ("sigmoid", Activation::Sigmoid),
    ("linear", Activation::Identity),
];

impl Activation {
    /// The function that this field of config.json names.
    pub fn from_config(config: &ModelConfig, field: &str) -> Result<Self> {
        let name = config.string(field)?;
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, function)| *function)
            .ok_or_else(|| {
                let known: Vec<_> = NAMES.iter().map(|(known, _)| *known).collect();
                wrong(
                    field,
                    format_args!("is '{name}'; known are {}", known.join(", ")),
                )
            })
    }

    /// Applies the function.
    pub fn apply(self, b: &mut Builder<'_, '_>, x: &Value) -> Value {
        let graph = &mut b.graph;
        match self {
            Self::Relu => graph.node("Relu").input(x).output(),
            Self::Gelu => graph.node("Gelu").input(x).output(),
            Self::GeluTanh => graph
                .node("Gelu")
                .input(x)
                .string("approximate", "tanh")
                .output(),
            Self::QuickGelu => graph
                .contrib("QuickGelu")
                .input(x)
                .float("alpha", 1.702)
                .output(),
            Self::Silu => graph
                .contrib("QuickGelu")
                .input(x)
                .float("alpha", 1.0)
                .output(),
            Self::Tanh => graph.node("Tanh").input(x).output(),
            Self::Sigmoid => graph.node("Sigmoid").input(x).output(),
            Self::Identity => x.clone(),
        }
    }
}
