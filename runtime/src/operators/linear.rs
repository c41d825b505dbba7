//! `Linear`: linear layers with packed weights, an operator for each weight format.

use epitome_kernels::activation::Activation;
use epitome_kernels::float::{Fp16, Fp32};
use epitome_kernels::int4::Int4;
use epitome_kernels::int8::Int8;
use epitome_kernels::linear::{Layer, WeightFormat, multiply_all};
use epitome_kernels::panels::{PANEL, panels};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{IntoTensorElementType, PrimitiveTensorElementType, TensorElementType};

use super::scratch_buffers::ScratchBuffers;
use super::tensors::{input, integer, optional_input, output};
use super::threads::SessionThreads;

/// Names of the operators of a weight format.
#[derive(Clone, Copy, Debug)]
pub struct Operators {
    /// Linear layers.
    pub linear: &'static str,
    /// Feed-forward networks.
    pub feed_forward: &'static str,
    /// Mixtures of experts.
    pub experts: &'static str,
}

/// The operators with float32 weights.
pub const FP32: Operators =
    Operators { linear: "LinearFp32", feed_forward: "FeedForwardFp32", experts: "ExpertsFp32" };
/// The operators with float16 weights.
pub const FP16: Operators =
    Operators { linear: "LinearFp16", feed_forward: "FeedForwardFp16", experts: "ExpertsFp16" };
/// The operators with int8 weights.
pub const INT8: Operators =
    Operators { linear: "LinearInt8", feed_forward: "FeedForwardInt8", experts: "ExpertsInt8" };
/// The operators with int4 weights.
pub const INT4: Operators =
    Operators { linear: "LinearInt4", feed_forward: "FeedForwardInt4", experts: "ExpertsInt4" };

/// Attribute, integer: number of outputs, padding excluded.
pub const SIZE_OUT: &str = "size_out";
/// Attribute of the formats that quantize activations, integer: their number of bits, 1 to 8.
pub const ACTIVATION_BITS: &str = "activation_bits";
/// Attribute, string: name of an [`Activation`].
pub const ACTIVATION: &str = "activation";

/// A weight format with the names and attributes of its operators.
pub(super) trait LinearFormat: WeightFormat<Element: PrimitiveTensorElementType> {
    /// Names of its operators.
    const OPERATORS: Operators;

    /// Reads the attributes of a node.
    fn from_node(context: &KernelContext<'_>) -> ort::Result<Self>;
}

impl LinearFormat for Fp32 {
    const OPERATORS: Operators = FP32;

    fn from_node(_: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self::default())
    }
}

impl LinearFormat for Fp16 {
    const OPERATORS: Operators = FP16;

    fn from_node(_: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self::default())
    }
}

impl LinearFormat for Int8 {
    const OPERATORS: Operators = INT8;

    fn from_node(context: &KernelContext<'_>) -> ort::Result<Self> {
        activation_bits(context).map(Self::new)
    }
}

impl LinearFormat for Int4 {
    const OPERATORS: Operators = INT4;

    fn from_node(context: &KernelContext<'_>) -> ort::Result<Self> {
        activation_bits(context).map(Self::new)
    }
}

fn activation_bits(context: &KernelContext<'_>) -> ort::Result<u32> {
    Ok(integer(context, ACTIVATION_BITS, 1..9)? as u32)
}

/// Maximum number of layers of a node.
const MAX_LAYERS: usize = 3;

/// The operator: one to three linear layers that share their input, such as queries, keys and
/// values.
///
/// Its inputs are `x`, float32 `[.., size_in]`, and for each layer the packed weights, `columns`
/// and a bias. The format defines shape and element type of the weights, and whether it has
/// columns: float32 `[_, padded size_out]`, such as scales. The bias is optional, float32
/// `[size_out]`. Each layer has an output, float32 `[.., size_out]`.
pub(super) struct Linear<F: WeightFormat>(pub(super) ScratchBuffers<F>);

impl<F: LinearFormat> Operator for Linear<F> {
    type Kernel<'attr> = LinearKernel<F>;

    fn name(&self) -> &str {
        F::OPERATORS.linear
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let float = TensorElementType::Float32;
        let weights = F::Element::into_tensor_element_type();
        let layer = move |weights| {
            [weights, OperatorInput::optional(float), OperatorInput::optional(float)]
        };
        let further = (1..MAX_LAYERS).flat_map(move |_| layer(OperatorInput::optional(weights)));
        std::iter::once(OperatorInput::required(float))
            .chain(layer(OperatorInput::required(weights)))
            .chain(further)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        let float = TensorElementType::Float32;
        let further = (1..MAX_LAYERS).map(move |_| OperatorOutput::optional(float));
        std::iter::once(OperatorOutput::required(float)).chain(further)
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<LinearKernel<F>> {
        Ok(LinearKernel {
            format: F::from_node(context)?,
            size_out: size(context, SIZE_OUT)?,
            activation: activation(context)?,
            scratch: self.0.clone(),
        })
    }
}

/// Reads an attribute that is the size of a layer.
pub(super) fn size(context: &KernelContext<'_>, name: &str) -> ort::Result<usize> {
    Ok(integer(context, name, 1..i64::from(i32::MAX))? as usize)
}

/// Reads the activation function of a node.
pub(super) fn activation(context: &KernelContext<'_>) -> ort::Result<Activation> {
    let name = context.get::<String>(ACTIVATION).unwrap_or_default();
    Activation::from_name(&name)
        .ok_or_else(|| ort::Error::new(format!("there is no activation function '{name}'")))
}

/// Indices of the inputs of a layer.
#[derive(Clone, Copy)]
pub(super) struct LayerInputs {
    pub(super) weights: usize,
    pub(super) columns: Option<usize>,
    pub(super) bias: Option<usize>,
}

impl LayerInputs {
    /// Number of inputs of a layer, absent ones included.
    pub(super) const COUNT: usize = 3;

    /// Consecutive inputs, from index `first`.
    pub(super) fn starting(first: usize) -> Self {
        Self { weights: first, columns: Some(first + 1), bias: Some(first + 2) }
    }
}

/// The layer with these inputs, of `size_in` inputs and `size_out` outputs. Its `x` is not set.
pub(super) fn layer<'a, F: LinearFormat>(
    context: &'a ComputeContext,
    inputs: LayerInputs,
    (format, activation): (F, Activation),
    [size_in, size_out]: [usize; 2],
) -> ort::Result<Layer<'a, F>> {
    let (packed_shape, packed) = input::<F::Element>(context, inputs.weights)?;
    let optional = |index: Option<usize>| -> ort::Result<Option<&'a [f32]>> {
        let Some(index) = index else {
            return Ok(None);
        };
        Ok(optional_input::<f32>(context, index)?.map(|(_, values)| values))
    };
    let columns = optional(inputs.columns)?.unwrap_or_default();
    let bias = optional(inputs.bias)?;
    if packed_shape != F::packed_shape(size_out, size_in)
        || columns.len() != F::COLUMNS * panels(size_out) * PANEL
        || bias.is_some_and(|bias| bias.len() != size_out)
    {
        return Err(ort::Error::new(format!(
            "x of {size_in} columns, packed weights of {packed_shape:?}, {} column values and \
             {:?} of a bias do not make {size_out} outputs",
            columns.len(),
            bias.map(<[f32]>::len),
        )));
    }
    Ok(Layer { format, x: &[], rows: 0, packed, columns, bias, size_in, size_out, activation })
}

/// The kernel of a node.
pub(super) struct LinearKernel<F: WeightFormat> {
    format: F,
    size_out: usize,
    activation: Activation,
    scratch: ScratchBuffers<F>,
}

impl<F: LinearFormat> Kernel for LinearKernel<F> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (mut shape, x) = input::<f32>(context, 0)?;
        let Some(last) = shape.last_mut() else {
            return Err(ort::Error::new("x has no dimensions"));
        };
        let size_in = std::mem::replace(last, self.size_out);
        let sizes = [size_in, self.size_out];
        let rows = x.len().checked_div(size_in).unwrap_or(0);
        let (inputs, outputs) = (context.num_inputs()?, context.num_outputs()?);
        // An output without a layer would never be written.
        let count = inputs.saturating_sub(1).div_ceil(LayerInputs::COUNT);
        if outputs != count {
            return Err(ort::Error::new(format!(
                "{count} layers need {count} outputs, not {outputs}"
            )));
        }
        let (mut layers, mut ys) = (Vec::new(), Vec::new());
        for first in (1..inputs).step_by(LayerInputs::COUNT) {
            let layer = layer(
                context,
                LayerInputs::starting(first),
                (self.format, self.activation),
                sizes,
            )?;
            ys.push(output::<f32>(context, layers.len(), &shape)?);
            layers.push(Layer { x, rows, ..layer });
        }
        let mut activations = self.scratch.activations();
        multiply_all(&SessionThreads(context), &layers, &mut activations, &mut ys)
    }
}
