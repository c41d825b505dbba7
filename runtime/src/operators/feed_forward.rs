//! `FeedForward`: the feed-forward network of a transformer layer, an operator for each weight
//! format. The inner activations are computed for some rows at a time.

use epitome_kernels::activation::Activation;
use epitome_kernels::feed_forward::FeedForward as Layers;
use epitome_kernels::linear::WeightFormat;
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{IntoTensorElementType, TensorElementType};

use super::linear::{LayerInputs, LinearFormat, SIZE_OUT, activation, layer, size};
use super::scratch_buffers::ScratchBuffers;
use super::tensors::{input, output};
use super::threads::SessionThreads;

/// Attribute, integer: size of the inner activations, the outputs of `up` and `gate`.
pub const SIZE_INNER: &str = "size_inner";

/// The operator. Its inputs are `x`, float32 `[rows, size_in]`, and the packed weights, columns and
/// bias of the layer `up`, of the layer `down` and, optionally, of the layer `gate`. Its output is
/// float32 `[rows, size_out]`: `down(activation(up(x)))`, or `down(activation(gate(x)) * up(x))`.
pub(super) struct FeedForward<F: WeightFormat>(pub(super) ScratchBuffers<F>);

impl<F: LinearFormat> Operator for FeedForward<F> {
    type Kernel<'attr> = FeedForwardKernel<F>;

    fn name(&self) -> &str {
        F::OPERATORS.feed_forward
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let float = TensorElementType::Float32;
        let weights = F::Element::into_tensor_element_type();
        let columns_and_bias = || [OperatorInput::optional(float), OperatorInput::optional(float)];
        let required =
            || std::iter::once(OperatorInput::required(weights)).chain(columns_and_bias());
        let optional = std::iter::once(OperatorInput::optional(weights)).chain(columns_and_bias());
        std::iter::once(OperatorInput::required(float))
            .chain(required())
            .chain(required())
            .chain(optional)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<FeedForwardKernel<F>> {
        Ok(FeedForwardKernel { sizes: Sizes::from_node(context)?, scratch: self.0.clone() })
    }
}

/// The attributes of a node.
pub(super) struct Sizes<F> {
    format: F,
    inner: usize,
    /// Number of outputs.
    pub(super) out: usize,
    activation: Activation,
}

impl<F: LinearFormat> Sizes<F> {
    /// Reads the attributes.
    pub(super) fn from_node(context: &KernelContext<'_>) -> ort::Result<Self> {
        Ok(Self {
            format: F::from_node(context)?,
            inner: size(context, SIZE_INNER)?,
            out: size(context, SIZE_OUT)?,
            activation: activation(context)?,
        })
    }

    /// The layers with these inputs. Their `x` has `size_in` columns and is not set.
    pub(super) fn layers<'a>(
        &self,
        context: &'a ComputeContext,
        ([up, down], gate): ([LayerInputs; 2], Option<LayerInputs>),
        size_in: usize,
    ) -> ort::Result<Layers<'a, F>> {
        let (inward, outward) = ([size_in, self.inner], [self.inner, self.out]);
        let layer = |inputs, activation, sizes| {
            layer::<F>(context, inputs, (self.format, activation), sizes)
        };
        let plain = Activation::Identity;
        Ok(Layers {
            x: &[],
            up: layer(up, if gate.is_some() { plain } else { self.activation }, inward)?,
            gate: gate.map(|gate| layer(gate, self.activation, inward)).transpose()?,
            down: layer(down, plain, outward)?,
        })
    }
}

/// The kernel of a node.
pub(super) struct FeedForwardKernel<F: WeightFormat> {
    sizes: Sizes<F>,
    scratch: ScratchBuffers<F>,
}

impl<F: LinearFormat> Kernel for FeedForwardKernel<F> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, x) = input::<f32>(context, 0)?;
        let &[rows, size_in] = &shape[..] else {
            return Err(ort::Error::new(format!("x has the shape {shape:?}, not two dimensions")));
        };
        let [up, down, gate] = [0, 1, 2].map(|layer| 1 + layer * LayerInputs::COUNT);
        let is_gated = gate < context.num_inputs()? && context.input(gate)?.is_some();
        let gate = is_gated.then(|| LayerInputs::starting(gate));
        let inputs = ([up, down].map(LayerInputs::starting), gate);
        let layers = self.sizes.layers(context, inputs, size_in)?;
        let y = output::<f32>(context, 0, &[rows, self.sizes.out])?;
        if size_in == 0 {
            return Err(ort::Error::new("x has no columns"));
        }
        let (mut activations, mut inner) = (self.scratch.activations(), self.scratch.inner());
        Layers { x, ..layers }.apply(&SessionThreads(context), &mut activations, &mut inner, y)
    }
}
