//! `Experts`: a mixture of experts, an operator for each weight format. All rows of an expert are
//! computed together. The weights of an expert without rows are not read.

use epitome_kernels::experts::Experts as Rows;
use epitome_kernels::linear::WeightFormat;
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::feed_forward::Sizes;
use super::linear::{LayerInputs, LinearFormat};
use super::scratch_buffers::ScratchBuffers;
use super::tensors::{input, output};
use super::threads::SessionThreads;

/// Index of the first input of the first expert.
const FIRST: usize = 2;

/// The operator. Its inputs are `x`, float32 `[rows, size_in]`; the routing weights, float32
/// `[rows, experts]`; and for each expert the packed weights, columns and bias of the layer `up`
/// and of the layer `down`. There are columns if the format has any. All layers have a bias, or
/// none.
///
/// The output is float32 `[rows, size_out]`: the sum of the experts' results, each multiplied by
/// its routing weight. An expert with a routing weight of 0 or less is skipped.
pub(super) struct Experts<F: WeightFormat>(pub(super) ScratchBuffers<F>);

impl<F: LinearFormat> Operator for Experts<F> {
    type Kernel<'attr> = ExpertsKernel<F>;

    fn name(&self) -> &str {
        F::OPERATORS.experts
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let float = TensorElementType::Float32;
        [OperatorInput::required(float), OperatorInput::required(float), OperatorInput::variadic(1)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<ExpertsKernel<F>> {
        Ok(ExpertsKernel { sizes: Sizes::from_node(context)?, scratch: self.0.clone() })
    }
}

/// The kernel of a node.
pub(super) struct ExpertsKernel<F: WeightFormat> {
    sizes: Sizes<F>,
    scratch: ScratchBuffers<F>,
}

impl<F: LinearFormat> Kernel for ExpertsKernel<F> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, x) = input::<f32>(context, 0)?;
        let (routed_shape, routing_weights) = input::<f32>(context, 1)?;
        let (&[rows, size_in], &[routed, count]) = (&shape[..], &routed_shape[..]) else {
            return Err(ort::Error::new(format!(
                "x and routing weights have the shapes {shape:?} and {routed_shape:?}, not two \
                 dimensions each"
            )));
        };
        if size_in == 0 || routed != rows {
            return Err(ort::Error::new(format!(
                "x of {rows} rows and {size_in} columns does not fit routing weights of {routed} \
                 rows"
            )));
        }
        let weights = context.num_inputs()?.saturating_sub(FIRST);
        let per_layer = weights.checked_div(count.saturating_mul(2)).unwrap_or(0);
        let has_columns = F::COLUMNS > 0;
        let without_bias = 1 + usize::from(has_columns);
        let has_bias = per_layer == without_bias + 1;
        if !(has_bias || per_layer == without_bias) || weights != 2 * count * per_layer {
            return Err(ort::Error::new(format!(
                "{weights} weights, columns and biases do not make {count} experts of two layers"
            )));
        }
        let layers = |expert: usize| {
            let first = FIRST + 2 * expert * per_layer;
            let inputs = |weights: usize| LayerInputs {
                weights,
                columns: has_columns.then_some(weights + 1),
                bias: has_bias.then_some(weights + per_layer - 1),
            };
            let layers = [first, first + per_layer].map(inputs);
            self.sizes.layers(context, (layers, None), size_in)
        };
        // This checks the attributes against the weights, before the output is allocated by them.
        layers(0)?;
        let size_out = self.sizes.out;
        let y = output::<f32>(context, 0, &[rows, size_out])?;
        let (mut activations, mut inner) = (self.scratch.activations(), self.scratch.inner());
        let mut gathered = self.scratch.gathered();
        Rows { x, routing_weights, count, size_in, size_out }.apply(
            &SessionThreads(context),
            layers,
            (&mut *activations, &mut *inner, &mut *gathered),
            y,
        )
    }
}
