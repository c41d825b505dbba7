//! `Linear`: a linear layer over packed weights, an operator for each weight format.

use std::sync::{Arc, Mutex, PoisonError};

use epitome_kernels::activation::Activation;
use epitome_kernels::float::{Fp16, Fp32};
use epitome_kernels::int4::Int4;
use epitome_kernels::int8::Int8;
use epitome_kernels::linear::{Layer, WeightFormat};
use epitome_kernels::panels::{PANEL, panels};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{IntoTensorElementType, PrimitiveTensorElementType, TensorElementType};

use super::tensors::{input, integer, optional_input, output};
use super::threads::SessionThreads;

/// Name of the linear layer over float32 weights.
pub const LINEAR_FP32: &str = "LinearFp32";
/// Name of the linear layer over float16 weights.
pub const LINEAR_FP16: &str = "LinearFp16";
/// Name of the linear layer over int8 weights.
pub const LINEAR_INT8: &str = "LinearInt8";
/// Name of the linear layer over int4 weights.
pub const LINEAR_INT4: &str = "LinearInt4";

/// Attribute, integer: outputs, padding excluded.
pub const SIZE_OUT: &str = "size_out";
/// Attribute of formats that round activations, integer: bits they are rounded to, 1 to 8.
pub const ACTIVATION_BITS: &str = "activation_bits";
/// Attribute, string: name of an [`Activation`].
pub const ACTIVATION: &str = "activation";

/// A weight format as its operator has it.
pub(super) trait LinearFormat: WeightFormat<Element: PrimitiveTensorElementType> {
    /// Name of the operator.
    const LINEAR: &'static str;

    /// Reads the attributes of a node.
    fn from_node(context: &KernelContext<'_>) -> ort::Result<Self>;
}

impl LinearFormat for Fp32 {
    const LINEAR: &'static str = LINEAR_FP32;

    fn from_node(_: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self::default())
    }
}

impl LinearFormat for Fp16 {
    const LINEAR: &'static str = LINEAR_FP16;

    fn from_node(_: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self::default())
    }
}

impl LinearFormat for Int8 {
    const LINEAR: &'static str = LINEAR_INT8;

    fn from_node(context: &KernelContext<'_>) -> ort::Result<Self> {
        activation_bits(context).map(Self::new)
    }
}

impl LinearFormat for Int4 {
    const LINEAR: &'static str = LINEAR_INT4;

    fn from_node(context: &KernelContext<'_>) -> ort::Result<Self> {
        activation_bits(context).map(Self::new)
    }
}

fn activation_bits(context: &KernelContext<'_>) -> ort::Result<u32> {
    Ok(integer(context, ACTIVATION_BITS, 1..9)? as u32)
}

/// The operator: float32 `x` of `[.., size_in]`, weights and float32 `columns` of `[_, padded
/// size_out]` as the format has them, and an optional float32 bias of `[size_out]`, to float32
/// `[.., size_out]`.
pub(super) struct Linear<F: WeightFormat> {
    activations: Activations<F>,
}

/// Memory for the activations as the format reads them: one for all layers of a session, which run
/// one after another. It is kept from one run to the next, which saves an allocation; one for each
/// layer would take as much memory as a long source's keys and values.
type Activations<F> = Arc<Mutex<<F as WeightFormat>::Activations>>;

impl<F: WeightFormat> Default for Linear<F> {
    fn default() -> Self {
        let activations = Activations::<F>::default();
        Self { activations }
    }
}

impl<F: LinearFormat> Operator for Linear<F> {
    type Kernel<'attr> = LinearKernel<F>;

    fn name(&self) -> &str {
        F::LINEAR
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [
            OperatorInput::required(TensorElementType::Float32),
            OperatorInput::required(F::Element::into_tensor_element_type()),
            OperatorInput::optional(TensorElementType::Float32),
            OperatorInput::optional(TensorElementType::Float32),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<LinearKernel<F>> {
        let activation = context.get::<String>(ACTIVATION).unwrap_or_default();
        Ok(LinearKernel {
            format: F::from_node(context)?,
            size_out: integer(context, SIZE_OUT, 1..i64::from(i32::MAX))? as usize,
            activation: Activation::from_name(&activation).ok_or_else(|| {
                ort::Error::new(format!("there is no activation function '{activation}'"))
            })?,
            activations: self.activations.clone(),
        })
    }
}

/// A layer of a loaded graph.
pub(super) struct LinearKernel<F: WeightFormat> {
    format: F,
    size_out: usize,
    activation: Activation,
    activations: Activations<F>,
}

impl<F: LinearFormat> Kernel for LinearKernel<F> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (mut shape, x) = input::<f32>(context, 0)?;
        let (packed_shape, packed) = input::<F::Element>(context, 1)?;
        let columns = optional_input::<f32>(context, 2)?.map(|(_, columns)| columns);
        let columns = columns.unwrap_or_default();
        let bias = optional_input::<f32>(context, 3)?.map(|(_, bias)| bias);
        let size_out = self.size_out;
        let Some(last) = shape.last_mut() else {
            return Err(ort::Error::new("x has no dimensions"));
        };
        let size_in = std::mem::replace(last, size_out);
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
        let y = output::<f32>(context, 0, &shape)?;
        let layer = Layer {
            format: self.format,
            x,
            rows: x.len().checked_div(size_in).unwrap_or(0),
            packed,
            columns,
            bias,
            size_in,
            size_out,
            activation: self.activation,
        };
        // The activations are made anew, whatever a run that failed left of them.
        let activations = &self.activations;
        let mut activations = activations.lock().unwrap_or_else(PoisonError::into_inner);
        layer.multiply(&SessionThreads(context), &mut activations, y)
    }
}
