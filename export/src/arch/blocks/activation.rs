//! Activation functions, by the names of transformers' `ACT2FN` (`transformers/activations.py`).

use epitome_runtime::kernels;

use crate::arch::builder::Builder;
use crate::arch::config::{ModelConfig, wrong};
use crate::error::Result;
use crate::onnx::graph::{Graph, Value};

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `relu`
    Relu,
    /// `relu2`: the square of `relu`.
    SquaredRelu,
    /// `relu6`: `relu`, up to 6.
    Relu6,
    /// `leaky_relu`: `x` above zero, `0.01 x` below.
    LeakyRelu,
    /// `gelu`, with the error function.
    Gelu,
    /// `gelu_new`, `gelu_fast`, `gelu_pytorch_tanh`, with the hyperbolic tangent.
    GeluTanh,
    /// `gelu_10`: `gelu`, from -10 to 10.
    ClippedGelu,
    /// `quick_gelu`: `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// `silu`, `swish`: `x * sigmoid(x)`.
    Silu,
    /// `hardswish`: `x * clip(x / 6 + 0.5, 0, 1)`.
    HardSwish,
    /// `mish`: `x * tanh(softplus(x))`.
    Mish,
    /// `laplace`: the normal distribution function of mean 0.707107 and deviation 0.282095.
    Laplace,
    /// `sqrtsoftplus`: the square root of `softplus`.
    SqrtSoftplus,
    /// `tanh`
    Tanh,
    /// `sigmoid`
    Sigmoid,
    /// `linear`
    Identity,
}

/// Names that a configuration can use. `prelu` and `xielu` are missing: they have weights.
const NAMES: &[(&str, Activation)] = &[
    ("relu", Activation::Relu),
    ("relu2", Activation::SquaredRelu),
    ("relu6", Activation::Relu6),
    ("leaky_relu", Activation::LeakyRelu),
    ("gelu", Activation::Gelu),
    ("gelu_10", Activation::ClippedGelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("hardswish", Activation::HardSwish),
    ("mish", Activation::Mish),
    ("laplace", Activation::Laplace),
    ("sqrtsoftplus", Activation::SqrtSoftplus),
    ("tanh", Activation::Tanh),
    ("sigmoid", Activation::Sigmoid),
    ("linear", Activation::Identity),
];

#[allow(clippy::approx_constant, reason = "transformers has these digits, not the constant")]
const LAPLACE_MEAN: f32 = 0.707_107;
const LAPLACE_DEVIATION: f32 = 0.282_095;

impl Activation {
    /// The function that `field` of config.json names, or the default.
    pub(crate) fn from_config_or(config: &ModelConfig, field: &str, default: &str) -> Result<Self> {
        Self::named(field, config.string_or(field, default)?)
    }

    /// The function called `name`, which is the value of `field` in config.json.
    pub(crate) fn named(field: &str, name: &str) -> Result<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, function)| *function).ok_or_else(
            || {
                let known: Vec<_> = NAMES.iter().map(|(known, _)| *known).collect();
                wrong(field, format_args!("is '{name}'; known are {}", known.join(", ")))
            },
        )
    }

    /// The function as an attribute of a custom linear operator, if the operator supports it.
    pub(crate) fn fused(self) -> Option<kernels::activation::Activation> {
        use kernels::activation::Activation as Fused;
        match self {
            Self::Identity => Some(Fused::Identity),
            Self::Relu => Some(Fused::Relu),
            Self::Gelu => Some(Fused::Gelu),
            Self::GeluTanh => Some(Fused::GeluTanh),
            Self::Silu => Some(Fused::Silu),
            Self::QuickGelu => Some(Fused::QuickGelu),
            _ => None,
        }
    }

    /// Applies the function.
    pub(crate) fn apply(self, b: &mut Builder<'_, '_>, x: &Value) -> Value {
        let portable = b.is_portable();
        let graph = &mut b.graph;
        let times_sigmoid = |graph: &mut Graph, alpha: f32| {
            if !portable {
                let node = graph.contrib("QuickGelu").input(x);
                return node.float("alpha", alpha).output();
            }
            let scaled = match alpha {
                1.0 => x.clone(),
                _ => {
                    let alpha = graph.scalar(alpha);
                    graph.node("Mul").inputs([x, &alpha]).output()
                }
            };
            let gate = graph.node("Sigmoid").input(&scaled).output();
            graph.node("Mul").inputs([x, &gate]).output()
        };
        match self {
            Self::Relu => graph.node("Relu").input(x).output(),
            Self::Gelu => graph.node("Gelu").input(x).output(),
            Self::GeluTanh => graph.node("Gelu").input(x).string("approximate", "tanh").output(),
            Self::QuickGelu => times_sigmoid(graph, 1.702),
            Self::Silu => times_sigmoid(graph, 1.0),
            Self::SquaredRelu => {
                let x = graph.node("Relu").input(x).output();
                graph.node("Mul").inputs([&x, &x]).output()
            }
            Self::Relu6 => {
                let [low, high] = [graph.scalar(0.0), graph.scalar(6.0)];
                graph.node("Clip").inputs([x, &low, &high]).output()
            }
            Self::LeakyRelu => graph.node("LeakyRelu").input(x).float("alpha", 0.01).output(),
            Self::ClippedGelu => {
                let [low, high] = [graph.scalar(-10.0), graph.scalar(10.0)];
                let x = graph.node("Gelu").input(x).output();
                graph.node("Clip").inputs([&x, &low, &high]).output()
            }
            Self::HardSwish => graph.node("HardSwish").input(x).output(),
            Self::Mish => graph.node("Mish").input(x).output(),
            Self::Laplace => {
                let mean = graph.scalar(LAPLACE_MEAN);
                let width = graph.scalar(LAPLACE_DEVIATION * std::f32::consts::SQRT_2);
                let [one, half] = [graph.scalar(1.0), graph.scalar(0.5)];
                let x = graph.node("Sub").inputs([x, &mean]).output();
                let x = graph.node("Div").inputs([&x, &width]).output();
                let x = graph.node("Erf").input(&x).output();
                let x = graph.node("Add").inputs([&x, &one]).output();
                graph.node("Mul").inputs([&x, &half]).output()
            }
            Self::SqrtSoftplus => {
                let x = graph.node("Softplus").input(x).output();
                graph.node("Sqrt").input(&x).output()
            }
            Self::Tanh => graph.node("Tanh").input(x).output(),
            Self::Sigmoid => graph.node("Sigmoid").input(x).output(),
            Self::Identity => x.clone(),
        }
    }
}
