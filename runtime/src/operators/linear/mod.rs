//! `Linear`: a linear layer over packed weights, an operator for each `Format`.

mod format;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{IntoTensorElementType, TensorElementType};

pub(crate) use self::format::{Format, Layer, Table};
use super::activation::Activation;
use super::panels::{PANEL, panels};
use super::parallel::{Disjoint, share};
use super::{input, optional_input};

/// Attribute, integer: outputs, padding excluded.
pub const SIZE_OUT: &str = "size_out";
/// Attribute, integer: bits that activations are rounded to, 1 to 8; of formats that round them.
pub const ACTIVATION_BITS: &str = "activation_bits";
/// Attribute, string: name of an [`Activation`].
pub const ACTIVATION: &str = "activation";

/// Panels that one thread takes at a time: whole tiles, of four panels or of three, where there are many parts.
const fn panels_a_part(panels: usize) -> usize {
    match panels {
        192.. => 12,
        _ => 8,
    }
}

/// The operator: float32 `x` of `[.., size_in]`, weights and float32 `columns` of
/// `[_, padded size_out]` as the format has them, and, if there is one, a float32 bias of `size_out`
/// elements, to float32 `[.., size_out]`.
pub(crate) struct Linear<F: Format> {
    rows: Rows<F>,
}

/// Room for the rows of an input: one for all layers of a session, which run one after another. It is kept from one
/// run to the next, to save an allocation; a room for each layer would come to as much memory as a long source's
/// keys and values.
type Rows<F> = Arc<Mutex<<F as Format>::Rows>>;

impl<F: Format> Default for Linear<F> {
    fn default() -> Self {
        let rows = Rows::<F>::default();
        Self { rows }
    }
}

impl<F: Format> Operator for Linear<F> {
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
            format: F::of_node(context)?,
            size_out: integer(context, SIZE_OUT, 1..i64::from(i32::MAX))? as usize,
            activation: Activation::named(&activation).ok_or_else(|| {
                ort::Error::new(format!("there is no activation function '{activation}'"))
            })?,
            rows: self.rows.clone(),
        })
    }
}

/// An integer attribute, which must lie in the range.
pub(crate) fn integer(
    context: &KernelContext<'_>,
    name: &str,
    range: Range<i64>,
) -> ort::Result<i64> {
    context
        .get::<i64>(name)
        .filter(|value| range.contains(value))
        .ok_or_else(|| ort::Error::new(format!("attribute '{name}' is missing or wrong")))
}

/// A layer of a loaded graph.
pub(crate) struct LinearKernel<F: Format> {
    format: F,
    size_out: usize,
    activation: Activation,
    rows: Rows<F>,
}

impl<F: Format> Kernel for LinearKernel<F> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (mut shape, x) = input::<f32>(context, 0)?;
        let (packed_dims, packed) = input::<F::Element>(context, 1)?;
        let columns = optional_input::<f32>(context, 2)?.map(|(_, columns)| columns);
        let columns = columns.unwrap_or_default();
        let bias = optional_input::<f32>(context, 3)?.map(|(_, bias)| bias);
        let size_out = self.size_out;
        let Some(last) = shape.last_mut() else {
            return Err(ort::Error::new("x has no dimensions"));
        };
        let size_in = std::mem::replace(last, size_out);
        if packed_dims != F::packed_shape(size_out, size_in)
            || columns.len() != F::COLUMNS * panels(size_out) * PANEL
            || bias.is_some_and(|bias| bias.len() != size_out)
        {
            return Err(ort::Error::new(format!(
                "x of {size_in} columns, packed weights of {packed_dims:?}, {} column values and \
                 {:?} of a bias do not make {size_out} outputs",
                columns.len(),
                bias.map(<[f32]>::len),
            )));
        }
        let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
        let mut output = context
            .output(0, dims)?
            .ok_or_else(|| ort::Error::new("there is no output"))?;
        let (_, y) = output.try_extract_tensor_mut::<f32>()?;
        if y.is_empty() || size_in == 0 {
            y.fill(0.0);
            return Ok(());
        }
        let count = x.len() / size_in;
        // Rows are made anew, whatever a run that failed left of them.
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        self.format.prepare(context, x, size_in, &mut rows)?;
        let layer = Layer {
            format: self.format,
            x,
            count,
            packed,
            columns,
            bias,
            size_in,
            size_out,
            activation: self.activation,
        };
        let y = Disjoint::new(y);
        let rows = &*rows;
        let work = count * size_in * size_out;
        let count = panels(size_out);
        share(context, count, panels_a_part(count), work, |panels| {
            // SAFETY: each panel's columns are written by the one thread that has the panel.
            unsafe { F::apply(&layer, rows, panels, &y) };
        })
    }
}
