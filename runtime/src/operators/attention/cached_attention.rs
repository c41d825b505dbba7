//! The decoder's self-attention over cached keys and values.

use epitome_kernels::attention::cached_attention::{self, Bias, CacheIndirection, CrossAttended};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::{Attributes, FLOAT, REACH, mismatch};
use crate::operators::tensors::{input, integer_or, optional_input, output};
use crate::operators::threads::SessionThreads;

/// Name of the operator.
pub const CACHED_ATTENTION: &str = "CachedAttention";

/// Attribute, integer, 1 by default: number of queries of each new token. The first query is the
/// token's own. The others see what the token sees, and also their own key. No other query sees
/// that key, and the cache does not keep it.
pub const STREAMS: &str = "streams";

/// The operator: attention of new tokens, one in each row, over the cached tokens of their rows.
///
/// Inputs:
///
/// - queries: float32 `[rows * streams, heads * size]`, of the new tokens;
/// - keys and values: float32 `[rows * streams, kv_heads * size]` each, of the new tokens;
/// - past keys and values: float32 `[kv_heads, slots, size]` each, the cache;
/// - past length: int32 `[rows, 1]`, the number of tokens before each row's new token;
/// - cache indirection: int32 `[rows, max_length]`, the slot in the cache of each token of a row.
///   The new token is the last;
/// - bias, optional: float32, added to the scores, `[1, heads, rows, longest]` or
///   `[rows * streams, heads, longest + 1]`. In the second form each query has its own values, and
///   the last one is for its own key;
/// - cross-attention, optional: float32 `[rows * streams, heads * size]`, a result of
///   [`CrossAttention`](super::CrossAttention) to merge into the same softmax;
/// - sums of the cross-attention, with it: float32 `[rows * streams, heads, 2]`;
/// - prompt keys and values, optional: float32 `[prompt, kv_heads * size]` each, which precede the
///   tokens of every row.
///
/// Outputs:
///
/// - the result: float32 `[rows * streams, heads * size]`;
/// - present keys and values: the cache with the new tokens. It is updated in place if the outputs
///   are bound to the memory of the inputs.
///
/// A token sees itself and the [`REACH`] tokens before it. Without this attribute it sees all
/// tokens of its row.
///
/// Rows may hold successive tokens of one sequence: all new tokens are written to the cache before
/// the attention. A token's result is the same bits whatever the other rows are.
pub(in crate::operators) struct CachedAttention;

impl Operator for CachedAttention {
    type Kernel<'attr> = CachedAttentionKernel;

    fn name(&self) -> &str {
        CACHED_ATTENTION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let integers = || OperatorInput::required(TensorElementType::Int32);
        let floats = || OperatorInput::optional(TensorElementType::Float32);
        let required = [FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, integers(), integers()];
        required.into_iter().chain([floats(), floats(), floats(), floats(), floats()])
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        let floats = || OperatorOutput::required(TensorElementType::Float32);
        [floats(), floats(), floats()]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<CachedAttentionKernel> {
        Ok(CachedAttentionKernel {
            attributes: Attributes::read(context)?,
            reach: integer_or(context, REACH, i64::from(i32::MAX), 0..1 << 31)? as usize,
            streams: integer_or(context, STREAMS, 1, 1..1 << 10)? as usize,
        })
    }
}

/// The kernel of a node.
pub(in crate::operators) struct CachedAttentionKernel {
    attributes: Attributes,
    /// Number of earlier tokens that a token sees.
    reach: usize,
    /// Number of queries of each new token.
    streams: usize,
}

/// Checks past lengths and cache indirection, so that all slots are within the cache.
fn cache_indirection<'a>(
    (past_shape, past): (&[usize], &'a [i32]),
    (table_shape, table): (&[usize], &'a [i32]),
    [rows, slots]: [usize; 2],
) -> ort::Result<CacheIndirection<'a>> {
    let &[table_rows, max_length] = table_shape else {
        return Err(mismatch("cache indirection and past length", &[table_shape, past_shape]));
    };
    if past_shape != [rows, 1] || table_rows != rows {
        return Err(mismatch("cache indirection and past length", &[table_shape, past_shape]));
    }
    let valid = 0..max_length as i64;
    if let Some(past) = past.iter().find(|past| !valid.contains(&i64::from(**past))) {
        return Err(ort::Error::new(format!(
            "a new token behind {past} others exceeds the maximum length of {max_length}"
        )));
    }
    let cache_indirection = CacheIndirection { slots: table, max_length, past };
    let valid = 0..slots as i64;
    let mut used = (0..rows).flat_map(|row| cache_indirection.slots_of(row));
    if used.any(|&slot| !valid.contains(&i64::from(slot))) {
        return Err(ort::Error::new(format!(
            "the cache indirection has a slot that is not among the {slots} slots of the cache"
        )));
    }
    Ok(cache_indirection)
}

impl Kernel for CachedAttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, queries) = input::<f32>(context, 0)?;
        let (key_shape, keys) = input::<f32>(context, 1)?;
        let (value_shape, values) = input::<f32>(context, 2)?;
        let (cache_shape, past_keys) = input::<f32>(context, 3)?;
        let (value_cache_shape, past_values) = input::<f32>(context, 4)?;
        let (past_shape, past) = input::<i32>(context, 5)?;
        let (table_shape, table) = input::<i32>(context, 6)?;
        let bias = optional_input::<f32>(context, 7)?;
        let cross = [optional_input::<f32>(context, 8)?, optional_input::<f32>(context, 9)?];
        let prompt = [optional_input::<f32>(context, 10)?, optional_input::<f32>(context, 11)?];
        let Attributes { heads, kv_heads, scale, softcap } = self.attributes;
        let (&[query_rows, hidden], &[cache_heads, slots, size]) = (&shape[..], &cache_shape[..])
        else {
            return Err(mismatch("queries and past keys", &[&shape, &cache_shape]));
        };
        let (rows, streams) = (query_rows / self.streams, self.streams);
        let whole = rows * streams == query_rows;
        if cache_heads != kv_heads || heads.checked_mul(size) != Some(hidden) || size == 0 || !whole
        {
            return Err(mismatch("queries and past keys", &[&shape, &cache_shape]));
        }
        let kv_shape = [query_rows, kv_heads * size];
        if key_shape != kv_shape || value_shape != kv_shape || value_cache_shape != cache_shape {
            let shapes = [&shape[..], &key_shape, &value_shape, &value_cache_shape];
            return Err(mismatch("queries, keys, values and past values", &shapes));
        }
        let cache_indirection =
            cache_indirection((&past_shape, past), (&table_shape, table), [rows, slots])?;
        let longest = past.iter().max().map_or(0, |&past| past as usize + 1);
        let bias = match bias {
            None => None,
            Some((dims, values)) => match dims[..] {
                [1, bias_heads, bias_rows, length]
                    if streams == 1
                        && [bias_heads, bias_rows] == [heads, rows]
                        && length >= longest.max(1) =>
                {
                    Some(Bias { values, length, per_query: false })
                }
                [bias_rows, bias_heads, length]
                    if [bias_rows, bias_heads] == [query_rows, heads] && length > longest =>
                {
                    Some(Bias { values, length, per_query: true })
                }
                _ => return Err(mismatch("bias and scores", &[&dims, &[1, heads, rows, longest]])),
            },
        };
        let prompt = match prompt {
            [None, None] => [[].as_slice(); 2],
            [Some((dims, keys)), Some((value_dims, values))]
                if dims == value_dims && dims.len() == 2 && dims[1] == kv_shape[1] =>
            {
                [keys, values]
            }
            prompt => {
                let dims = prompt.map(|part| part.map_or_else(Vec::new, |(dims, _)| dims));
                return Err(mismatch("prompt and keys", &[&dims[0], &dims[1], &key_shape]));
            }
        };
        let cross_attended = match &cross {
            [None, None] => None,
            [Some((dims, attended)), Some((sums_dims, sums))]
                if *dims == shape && sums_dims[..] == [query_rows, heads, 2] =>
            {
                Some(CrossAttended { attended, sums })
            }
            _ => return Err(ort::Error::new("queries and their cross-attention do not fit")),
        };
        // The past keys and values must not be read any more: the outputs may share their memory.
        let cache = |index, past: *const f32, new: &[f32]| -> ort::Result<&[f32]> {
            let cache = output::<f32>(context, index, &cache_shape)?;
            if cache.as_ptr() != past {
                // SAFETY: the input has the same shape, and does not overlap the output.
                let past = unsafe { std::slice::from_raw_parts(past, cache.len()) };
                cache.copy_from_slice(past);
            }
            cached_attention::append(new, &cache_indirection, [size, streams], cache);
            Ok(cache)
        };
        let attention = cached_attention::CachedAttention {
            queries,
            new: [keys, values],
            prompt,
            keys: cache(1, past_keys.as_ptr(), keys)?,
            values: cache(2, past_values.as_ptr(), values)?,
            slots,
            rows,
            streams,
            heads,
            kv_heads,
            size,
            cache_indirection,
            bias,
            scale,
            softcap,
            window: self.reach.saturating_add(1),
            cross_attended,
        };
        attention.attend(&SessionThreads(context), output(context, 0, &shape)?)
    }
}
