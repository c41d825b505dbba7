//! The decoder's attention over the tokens before it.

use epitome_kernels::attention::cached_attention::{self, Bias, Elsewhere, Histories};
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::{Attributes, FLOAT, REACH, mismatch};
use crate::operators::tensors::{input, integer_or, optional_input, output};
use crate::operators::threads::SessionThreads;

/// Name of the operator.
pub const CACHED_ATTENTION: &str = "CachedAttention";

/// Attribute, integer, 1 where it is left out: queries of a new token. The first is its own.
/// The others see what it sees, and their own key, which no other query sees and the cache does not
/// keep.
pub const STREAMS: &str = "streams";

/// The operator: attention of new tokens, one a row, over their histories, float32 `[rows, heads *
/// size]`; and the caches with the new tokens in them. Where those are bound to the memory of the
/// inputs, they are written in place.
///
/// | input | is |
/// | --- | --- |
/// | queries | float32 `[rows * streams, heads * size]`, of the new tokens |
/// | keys, values | float32 `[rows * streams, kv_heads * size]`, of the new tokens |
/// | past keys, past values | float32 `[kv_heads, places, size]` |
/// | past length | int32 `[rows, 1]`: tokens before each row's new one |
/// | cache indirection | int32 `[rows, room]`: the place of each token of a row's history, the new one's behind the others |
/// | bias, optional | float32, added to the scores: `[1, heads, rows, longest]`, or of each query `[rows * streams, heads, longest + 1]`, for its own key last |
/// | elsewhere, optional | float32 `[rows * streams, heads * size]`: what the queries got of other keys, to be under the same softmax |
/// | its sums, with it | float32 `[rows * streams, heads, 2]`, as [`CrossAttention`](super::CrossAttention) gives them |
/// | prompt keys, prompt values, optional | float32 `[prompt, kv_heads * size]`: before all tokens, the same for every row |
///
/// Of its history a token sees itself and the [`REACH`] before it; all, where that is left out.
///
/// Rows may be successive tokens of one sequence: all are in the cache before any attends. A
/// token's result is the same bits whatever is beside it.
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

/// The self-attention of a decoder's layer.
pub(in crate::operators) struct CachedAttentionKernel {
    attributes: Attributes,
    /// Tokens before its own that a token sees.
    reach: usize,
    /// Queries of a new token.
    streams: usize,
}

/// The histories of the rows, whose places are within the cache.
fn histories<'a>(
    (past_shape, past): (&[usize], &'a [i32]),
    (table_shape, table): (&[usize], &'a [i32]),
    [rows, places]: [usize; 2],
) -> ort::Result<Histories<'a>> {
    let &[table_rows, room] = table_shape else {
        return Err(mismatch("cache indirection and past length", &[table_shape, past_shape]));
    };
    if past_shape != [rows, 1] || table_rows != rows {
        return Err(mismatch("cache indirection and past length", &[table_shape, past_shape]));
    }
    if let Some(past) = past.iter().find(|past| !(0..room as i64).contains(&i64::from(**past))) {
        return Err(ort::Error::new(format!(
            "a token behind {past} others does not fit into a history of {room}"
        )));
    }
    let histories = Histories { places: table, room, past };
    let known = 0..places as i64;
    let used = (0..rows).flat_map(|row| histories.of(row));
    if used.into_iter().any(|&place| !known.contains(&i64::from(place))) {
        return Err(ort::Error::new(format!(
            "the cache indirection names a place beyond the {places} there are"
        )));
    }
    Ok(histories)
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
        let elsewhere = [optional_input::<f32>(context, 8)?, optional_input::<f32>(context, 9)?];
        let prompt = [optional_input::<f32>(context, 10)?, optional_input::<f32>(context, 11)?];
        let Attributes { heads, kv_heads, scale, softcap } = self.attributes;
        let (&[query_rows, hidden], &[shared, places, size]) = (&shape[..], &cache_shape[..])
        else {
            return Err(mismatch("queries and past keys", &[&shape, &cache_shape]));
        };
        let (rows, streams) = (query_rows / self.streams, self.streams);
        let whole = rows * streams == query_rows;
        if shared != kv_heads || heads.checked_mul(size) != Some(hidden) || size == 0 || !whole {
            return Err(mismatch("queries and past keys", &[&shape, &cache_shape]));
        }
        let kv_shape = [query_rows, kv_heads * size];
        if key_shape != kv_shape || value_shape != kv_shape || value_cache_shape != cache_shape {
            let shapes = [&shape[..], &key_shape, &value_shape, &value_cache_shape];
            return Err(mismatch("queries, keys, values and past values", &shapes));
        }
        let histories = histories((&past_shape, past), (&table_shape, table), [rows, places])?;
        let longest = past.iter().max().map_or(0, |&past| past as usize + 1);
        let bias = match bias {
            None => None,
            Some((dims, values)) => match dims[..] {
                [1, of_heads, of_rows, length]
                    if streams == 1
                        && [of_heads, of_rows] == [heads, rows]
                        && length >= longest.max(1) =>
                {
                    Some(Bias { values, length, of_queries: false })
                }
                [of_queries, of_heads, length]
                    if [of_queries, of_heads] == [query_rows, heads] && length > longest =>
                {
                    Some(Bias { values, length, of_queries: true })
                }
                _ => return Err(mismatch("bias and scores", &[&dims, &[1, heads, rows, longest]])),
            },
        };
        let prompt = match prompt {
            [None, None] => [[].as_slice(); 2],
            [Some((dims, keys)), Some((of_values, values))]
                if dims == of_values && dims.len() == 2 && dims[1] == kv_shape[1] =>
            {
                [keys, values]
            }
            prompt => {
                let dims = prompt.map(|part| part.map_or_else(Vec::new, |(dims, _)| dims));
                return Err(mismatch("prompt and keys", &[&dims[0], &dims[1], &key_shape]));
            }
        };
        let elsewhere = match &elsewhere {
            [None, None] => None,
            [Some((dims, attended)), Some((of_sums, sums))]
                if *dims == shape && of_sums[..] == [query_rows, heads, 2] =>
            {
                Some(Elsewhere { attended, sums })
            }
            _ => return Err(ort::Error::new("queries, and what they got elsewhere, do not fit")),
        };
        // From here on the past is not read: its memory may be what is written.
        let cache = |index, past: *const f32, new: &[f32]| -> ort::Result<&[f32]> {
            let cache = output::<f32>(context, index, &cache_shape)?;
            if cache.as_ptr() != past {
                // SAFETY: an input of the same shape, and elsewhere.
                let past = unsafe { std::slice::from_raw_parts(past, cache.len()) };
                cache.copy_from_slice(past);
            }
            cached_attention::append(new, &histories, [size, streams], cache);
            Ok(cache)
        };
        let attention = cached_attention::CachedAttention {
            queries,
            new: [keys, values],
            prompt,
            keys: cache(1, past_keys.as_ptr(), keys)?,
            values: cache(2, past_values.as_ptr(), values)?,
            places,
            rows,
            streams,
            heads,
            kv_heads,
            size,
            histories,
            bias,
            scale,
            softcap,
            window: self.reach.saturating_add(1),
            elsewhere,
        };
        attention.attend(&SessionThreads(context), output(context, 0, &shape)?)
    }
}
