//! The decoder's attention over the tokens before it.

use epitome_kernels::attention::cached_attention::{self, Sequences};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::{FLOAT, heads, mismatch, scale};
use crate::operators::tensors::{input, optional_input, output};
use crate::operators::threads::SessionThreads;

/// Name of the operator.
pub const CACHED_ATTENTION: &str = "CachedAttention";

/// The operator: attention of new tokens over themselves and those before them, float32
/// `[rows, heads * size]`.
///
/// | input | is |
/// | --- | --- |
/// | queries, keys, values | float32 `[rows, heads * size]`, of the new tokens |
/// | past keys, past values | float32 `[beams of all documents, heads, max_length, size]` |
/// | past length | int32 `[1]`: tokens in the cache |
/// | bias, optional | float32 `[1, heads, 1 or rows, past length + new]`, added to the scores |
/// | cache indirection, optional | int32 `[documents, beams, max_length]`: the beam whose row holds each past token |
///
/// With cache indirection each row is the one new token of a beam, and the caches are outputs too,
/// with the new tokens behind the past ones. Where they are bound to the memory of the inputs, they
/// are written in place. Without it the rows are successive tokens of the one sequence in the
/// cache, which stays as it is. A token's result is the same bits either way, whatever is beside
/// it.
pub(in crate::operators) struct CachedAttention;

impl Operator for CachedAttention {
    type Kernel<'attr> = CachedAttentionKernel;

    fn name(&self) -> &str {
        CACHED_ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let integers = TensorElementType::Int32;
        [
            FLOAT,
            FLOAT,
            FLOAT,
            FLOAT,
            FLOAT,
            OperatorInput::required(integers),
            OperatorInput::optional(TensorElementType::Float32),
            OperatorInput::optional(integers),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [
            OperatorOutput::required(TensorElementType::Float32),
            OperatorOutput::optional(TensorElementType::Float32),
            OperatorOutput::optional(TensorElementType::Float32),
        ]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<CachedAttentionKernel> {
        Ok(CachedAttentionKernel { heads: heads(context)?, scale: scale(context)? })
    }
}

/// The self-attention of a decoder's layer.
pub(in crate::operators) struct CachedAttentionKernel {
    heads: usize,
    scale: f32,
}

/// The sizes of the inputs, which fit each other.
struct Sizes {
    rows: usize,
    heads: usize,
    size: usize,
    max_length: usize,
    /// Tokens in the cache.
    past: usize,
    /// Beams of a document, where each row is a beam's.
    beams: Option<usize>,
}

impl Sizes {
    /// New tokens of a sequence.
    fn new_tokens(&self) -> usize {
        self.beams.map_or(self.rows, |_| 1)
    }
}

impl CachedAttentionKernel {
    fn sizes(
        &self,
        queries: &[usize],
        past: &[usize],
        past_length: &[i32],
        indirection: Option<&(Vec<usize>, &[i32])>,
    ) -> ort::Result<Sizes> {
        let wrong = || mismatch("queries and past keys", &[queries, past]);
        let (&[rows, hidden], &[cache_rows, heads, max_length, size]) = (queries, past) else {
            return Err(wrong());
        };
        let beams = match indirection {
            None => None,
            Some((dims, table)) => {
                let &[documents, beams, length] = dims.as_slice() else {
                    return Err(mismatch("cache indirection and past keys", &[dims, past]));
                };
                let fits = documents * beams == rows && cache_rows == rows && length == max_length;
                if !fits || beams == 0 {
                    return Err(mismatch("cache indirection and past keys", &[dims, past]));
                }
                Some((beams, table))
            }
        };
        let &[past_length] = past_length else {
            return Err(ort::Error::new("past length is not one number"));
        };
        let sizes = Sizes {
            rows,
            heads,
            size,
            max_length,
            past: usize::try_from(past_length).unwrap_or(usize::MAX),
            beams: beams.map(|(beams, _)| beams),
        };
        let one_sequence = beams.is_some() || cache_rows == 1;
        if heads != self.heads || hidden != heads * size || size == 0 || !one_sequence {
            return Err(wrong());
        }
        let room = max_length.checked_sub(sizes.past);
        if room.is_none_or(|room| room < sizes.new_tokens()) {
            return Err(ort::Error::new(format!(
                "{past_length} tokens in the cache and {} new ones do not fit in {max_length}",
                sizes.new_tokens()
            )));
        }
        if let Some((beams, table)) = beams {
            let known = 0..beams as i32;
            let mut used = table.chunks_exact(max_length).map(|row| &row[..sizes.past]);
            if used.any(|row| row.iter().any(|beam| !known.contains(beam))) {
                return Err(ort::Error::new(format!(
                    "the cache indirection names a beam beyond the {beams} there are"
                )));
            }
        }
        Ok(sizes)
    }
}

impl Kernel for CachedAttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, queries) = input::<f32>(context, 0)?;
        let (key_shape, keys) = input::<f32>(context, 1)?;
        let (value_shape, values) = input::<f32>(context, 2)?;
        let (past_shape, past_keys) = input::<f32>(context, 3)?;
        let (past_value_shape, past_values) = input::<f32>(context, 4)?;
        let (_, past_length) = input::<i32>(context, 5)?;
        let bias = optional_input::<f32>(context, 6)?;
        let indirection = optional_input::<i32>(context, 7)?;
        let sizes = self.sizes(&shape, &past_shape, past_length, indirection.as_ref())?;
        if key_shape != shape || value_shape != shape || past_value_shape != past_shape {
            let shapes = [&shape[..], &key_shape, &value_shape, &past_value_shape];
            return Err(mismatch("queries, keys, values and past values", &shapes));
        }
        if let Some((dims, _)) = &bias {
            let new = sizes.new_tokens();
            let scores = [1, sizes.heads, new, sizes.past + new];
            if dims[..] != scores {
                return Err(mismatch("bias and scores", &[dims, &scores]));
            }
        }
        let attention = cached_attention::CachedAttention {
            queries,
            keys,
            values,
            past_keys,
            past_values,
            rows: sizes.rows,
            heads: sizes.heads,
            size: sizes.size,
            max_length: sizes.max_length,
            past_length: sizes.past,
            sequences: match (sizes.beams, &indirection) {
                (Some(beams), Some((_, indirection))) => Sequences::Beams { beams, indirection },
                _ => Sequences::One,
            },
            bias: bias.map(|(_, bias)| bias),
            scale: self.scale,
        };
        attention.attend(&SessionThreads(context), output(context, 0, &shape)?)?;
        if sizes.beams.is_none() {
            return Ok(());
        }
        // From here on the past is not read: its memory may be what is written.
        let caches = [(1, past_keys.as_ptr(), keys), (2, past_values.as_ptr(), values)];
        for (index, past, new) in caches {
            let cache = output::<f32>(context, index, &past_shape)?;
            if cache.as_ptr() != past {
                // SAFETY: an input of the same shape, and elsewhere.
                let past = unsafe { std::slice::from_raw_parts(past, cache.len()) };
                cache.copy_from_slice(past);
            }
            let (past, max_length) = (sizes.past, sizes.max_length);
            cached_attention::append(new, past, max_length, sizes.size, cache);
        }
        Ok(())
    }
}
