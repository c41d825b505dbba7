//! The encoder's attention of each document over itself.

use epitome_kernels::attention::self_attention::{
    self, GlobalBias, Globals, Pattern, RelativeBias,
};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::{Attributes, FLOAT, Inputs, MASK, Sizes, mismatch};
use crate::operators::tensors::{input, integer, integer_or, optional_input, output};
use crate::operators::threads::SessionThreads;

/// Name of the operator.
pub const SELF_ATTENTION: &str = "SelfAttention";
/// Attribute, integer: 1 where a processor with AMX may split factors into two bfloat16 each, whose
/// products are within 2^-16; otherwise everything is float32.
pub const SPLIT: &str = "split";
/// Attribute, integer: 1 where a processor with AVX-512 VNNI may round factors to integers of 12
/// bits and more, whose sums are exact; [`SPLIT`] goes before it where a processor has both.
pub const ROUND: &str = "round";
/// Attribute, string: which tokens a token sees, [`WINDOW`], [`BLOCKS`] or [`BIG_BIRD`]; all of
/// them without it.
pub const PATTERN: &str = "pattern";
/// Those at most [`REACH`] before it, and at most [`REACH_AFTER`] behind it.
pub const WINDOW: &str = "window";
/// A token sees the tokens of its block of [`BLOCK_SIZE`]. The first block is shorter by [`LEAD`].
pub const BLOCKS: &str = "blocks";
/// A token sees its block of [`BLOCK_SIZE`], the two blocks beside it, and the first and the last
/// block. Tokens of the first and the last block see all. For the others, the first block counts
/// [`RANDOM_BLOCKS`] times more. A source of few blocks is seen whole by every token.
pub const BIG_BIRD: &str = "big_bird";
/// Attribute, integer: positions to either side.
pub const REACH: &str = "reach";
/// Attribute, integer: positions behind, where they are others.
pub const REACH_AFTER: &str = "reach_after";
/// Attribute, integer: positions of a block.
pub const BLOCK_SIZE: &str = "block_size";
/// Attribute, integer: positions that the first block lacks.
pub const LEAD: &str = "lead";
/// Attribute, integer: blocks that are drawn in training, and are the first one otherwise.
pub const RANDOM_BLOCKS: &str = "num_random_blocks";

/// The operator: float32 `[batch * source, heads * size]`.
///
/// | input | is |
/// | --- | --- |
/// | queries | float32 `[batch * source, heads * size]` |
/// | keys, values | float32 `[batch * source, kv_heads * size]` |
/// | mask | int32 `[batch, source]`: 0 for tokens that nobody sees |
/// | bias, optional | float32 `[heads, 2 * distance + 1]`: added to the scores by `key - query`, from `-distance` to `distance`; keys that are farther have the value of the farthest |
/// | global keys and values, optional | float32 `[batch * globals, kv_heads * size]`: what all queries see besides |
/// | global mask, with these | int32 `[batch, globals]`: 0 for those that do not exist |
/// | global bias, optional | float32 `[heads, 2 * distance + 1]`: added to the scores of global keys by `key - block` |
/// | blocks, with it | int32 `[batch, source]`: the block of each query |
///
/// Where all tokens are seen, there is no bias and there are no blocks, the queries need not be
/// the tokens: `[batch * queries, heads * size]`.
pub(in crate::operators) struct SelfAttention;

impl Operator for SelfAttention {
    type Kernel<'attr> = SelfAttentionKernel;

    fn name(&self) -> &str {
        SELF_ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let floats = || OperatorInput::optional(TensorElementType::Float32);
        let integers = || OperatorInput::optional(TensorElementType::Int32);
        let required = [FLOAT, FLOAT, FLOAT, MASK];
        let optional = [floats(), floats(), floats(), integers(), floats(), integers()];
        required.into_iter().chain(optional)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<SelfAttentionKernel> {
        Ok(SelfAttentionKernel {
            attributes: Attributes::read(context)?,
            split: context.get::<i64>(SPLIT) == Some(1),
            round: context.get::<i64>(ROUND) == Some(1),
            pattern: pattern(context)?,
        })
    }
}

fn pattern(context: &KernelContext<'_>) -> ort::Result<Pattern> {
    let positions = 1 << 31;
    let size = || Ok::<_, ort::Error>(integer(context, BLOCK_SIZE, 1..positions)? as usize);
    Ok(match context.get::<String>(PATTERN).as_deref() {
        None => Pattern::Full,
        Some(WINDOW) => {
            let before = integer(context, REACH, 0..positions)?;
            let after = integer_or(context, REACH_AFTER, before, 0..positions)?;
            Pattern::Window { before: before as usize, after: after as usize }
        }
        Some(BLOCKS) => {
            let size = size()?;
            let lead = integer(context, LEAD, 0..size as i64)? as usize;
            Pattern::Blocks { size, lead }
        }
        Some(BIG_BIRD) => {
            let random_blocks = integer(context, RANDOM_BLOCKS, 0..positions)? as usize;
            Pattern::BigBird { size: size()?, random_blocks }
        }
        Some(other) => {
            return Err(ort::Error::new(format!(
                "attribute '{PATTERN}' is '{other}', but must be '{WINDOW}', '{BLOCKS}' or \
                 '{BIG_BIRD}'"
            )));
        }
    })
}

/// The self-attention of an encoder's layer.
pub(in crate::operators) struct SelfAttentionKernel {
    attributes: Attributes,
    split: bool,
    round: bool,
    pattern: Pattern,
}

impl Kernel for SelfAttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let Attributes { heads, kv_heads, scale, softcap } = self.attributes;
        let inputs = Inputs::<f32>::read(context, (heads, kv_heads), |sizes| {
            let shape = vec![sizes.batch * sizes.source, sizes.kv_hidden()];
            [shape.clone(), shape]
        })?;
        let sizes = inputs.sizes;
        let bias = relative_bias(context, 4, sizes)?;
        let globals = globals(context, sizes)?;
        let any_queries = self.pattern == Pattern::Full
            && bias.is_none()
            && globals.is_none_or(|globals| globals.bias.is_none());
        if sizes.rows != sizes.batch * sizes.source && !any_queries {
            return Err(mismatch(
                "queries and mask",
                &[&[sizes.rows], &[sizes.batch, sizes.source]],
            ));
        }
        let attention = self_attention::SelfAttention {
            queries: inputs.queries,
            keys: inputs.keys,
            values: inputs.values,
            mask: inputs.mask,
            batch: sizes.batch,
            queries_of_document: sizes.rows / sizes.batch,
            source: sizes.source,
            heads,
            kv_heads,
            size: sizes.size,
            pattern: self.pattern,
            bias,
            globals,
            scale,
            softcap,
            split: self.split,
            round: self.round,
        };
        let shape = [sizes.rows, sizes.hidden()];
        attention.attend(&SessionThreads(context), output(context, 0, &shape)?)
    }
}

/// What is added to scores by distance, where there is such an input.
fn relative_bias(
    context: &ComputeContext,
    index: usize,
    sizes: Sizes,
) -> ort::Result<Option<RelativeBias<'_>>> {
    let Some((dims, values)) = optional_input::<f32>(context, index)? else {
        return Ok(None);
    };
    match RelativeBias::new(&dims, values, sizes.heads) {
        Some(bias) => Ok(Some(bias)),
        None => Err(mismatch("biases by distance and heads", &[&dims, &[sizes.heads]])),
    }
}

/// The keys and values that all queries see, where there are any.
fn globals(context: &ComputeContext, sizes: Sizes) -> ort::Result<Option<Globals<'_>>> {
    let Some((key_shape, keys)) = optional_input::<f32>(context, 5)? else {
        return Ok(None);
    };
    let (value_shape, values) = input::<f32>(context, 6)?;
    let (mask_shape, mask) = input::<i32>(context, 7)?;
    let fits = |count: usize| {
        let shape = [sizes.batch * count, sizes.kv_hidden()];
        mask_shape[0] == sizes.batch && key_shape == shape && value_shape == shape
    };
    let count = match mask_shape[..] {
        [_, count] if fits(count) => count,
        _ => {
            let shapes = [&key_shape[..], &value_shape, &mask_shape];
            return Err(mismatch("global keys, values and mask", &shapes));
        }
    };
    let bias = match relative_bias(context, 8, sizes)? {
        None => None,
        Some(bias) => {
            let (dims, blocks) = input::<i32>(context, 9)?;
            if dims != [sizes.batch, sizes.source] {
                return Err(mismatch("blocks and mask", &[&dims, &[sizes.batch, sizes.source]]));
            }
            Some(GlobalBias { bias, blocks })
        }
    };
    Ok(Some(Globals { keys, values, mask, count, bias }))
}
