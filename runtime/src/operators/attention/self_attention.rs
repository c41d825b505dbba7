//! The encoder's self-attention.

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
/// Attribute, integer: 1 if a processor with AMX may split each float32 factor into two bfloat16.
/// The products are then within 2^-16. Otherwise the arithmetic is float32.
pub const SPLIT: &str = "split";
/// Attribute, integer: 1 if a processor with AVX-512 VNNI may round factors to integers of 12 bits
/// and more, with exact sums. On a processor with AMX too, [`SPLIT`] takes precedence.
pub const ROUND: &str = "round";
/// Attribute, string: the tokens that a token sees, [`WINDOW`], [`BLOCKS`] or [`BIG_BIRD`]. Without
/// it, a token sees all tokens.
pub const PATTERN: &str = "pattern";
/// A token sees itself, [`REACH`] tokens before it, and [`REACH_AFTER`] tokens after it.
pub const WINDOW: &str = "window";
/// A token sees the tokens of its block of [`BLOCK_SIZE`] tokens. The first block is shorter by
/// [`LEAD`] tokens.
pub const BLOCKS: &str = "blocks";
/// A token sees its block of [`BLOCK_SIZE`] tokens, the two adjacent blocks, and the first and the
/// last block. Tokens of the first and the last block see all tokens. For the others, the first
/// block counts [`RANDOM_BLOCKS`] times more. In a source of few blocks, a token sees all tokens.
pub const BIG_BIRD: &str = "big_bird";
/// Attribute, integer: number of tokens before a token that it sees.
pub const REACH: &str = "reach";
/// Attribute, integer, [`REACH`] by default: number of tokens after a token that it sees.
pub const REACH_AFTER: &str = "reach_after";
/// Attribute, integer: number of tokens of a block.
pub const BLOCK_SIZE: &str = "block_size";
/// Attribute, integer: number of tokens that the first block lacks.
pub const LEAD: &str = "lead";
/// Attribute, integer: number of random blocks in training. In inference they are the first block.
pub const RANDOM_BLOCKS: &str = "num_random_blocks";

/// The operator: attention of the tokens of each document over the document.
///
/// Inputs:
///
/// - queries: float32 `[batch * source, heads * size]`;
/// - keys and values: float32 `[batch * source, kv_heads * size]` each;
/// - mask: int32 `[batch, source]`, 0 for tokens that no query sees;
/// - bias, optional: float32 `[heads, 2 * distance + 1]`, added to the scores by `key - query`,
///   from `-distance` to `distance`. Larger distances have the first or the last value;
/// - global keys and values, optional: float32 `[batch * globals, kv_heads * size]` each, which
///   every query sees too;
/// - global mask, with these: int32 `[batch, globals]`, 0 for global keys that no query sees;
/// - global bias, optional: float32 `[heads, 2 * distance + 1]`, added to the scores of global keys
///   by `key - block`;
/// - blocks, with the global bias: int32 `[batch, source]`, the block of each query.
///
/// The output is float32 `[batch * source, heads * size]`.
///
/// Without a pattern, a bias and a global bias, the numbers of queries and tokens may differ:
/// queries and output are then `[batch * queries, heads * size]`.
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

/// The kernel of a node.
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

/// Reads an optional bias by distance.
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

/// Reads the optional global keys and values.
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
