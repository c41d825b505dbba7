//! `CacheAttention`: the decoder's attention over what was generated so far.

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;

use super::history::{History, Tokens, attend};
use super::{FLOAT, SCRATCH, heads, mismatch, scale};
use crate::operators::parallel::{Disjoint, share};
use crate::operators::{input, optional_input};

/// Name of [`CacheAttention`] in a graph.
pub const CACHE_ATTENTION: &str = "CacheAttention";

/// The operator: attention of new tokens over themselves and those before them, float32
/// `[rows, heads * size]`.
///
/// | input | is |
/// | --- | --- |
/// | queries, keys, values | float32 `[rows, heads * size]`, of the new tokens |
/// | past keys, past values | float32 `[beams of all documents, heads, max_length, size]` |
/// | past length | int32 `[1]`: tokens in the cache |
/// | bias, if there is one | float32 `[1, heads, 1 or rows, past length + new]`, added to the scores |
/// | cache indirection, if there is one | int32 `[documents, beams, max_length]`: the beam whose row holds each past token |
///
/// With cache indirection each row is the one new token of a beam, and the caches are outputs too, with the new
/// tokens in their places; bound to the memory of the inputs, they are written in place. Without it the rows are
/// successive tokens of the one sequence in the cache, which is left as it is. A token's result is the same bits
/// either way, whatever is beside it.
#[derive(Clone, Copy, Debug)]
pub struct CacheAttention;

impl Operator for CacheAttention {
    type Kernel<'attr> = CacheAttentionKernel;

    fn name(&self) -> &str {
        CACHE_ATTENTION
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
    ) -> ort::Result<CacheAttentionKernel> {
        Ok(CacheAttentionKernel {
            heads: heads(context)?,
            scale: scale(context)?,
        })
    }
}

/// The self-attention of a decoder's layer.
pub struct CacheAttentionKernel {
    heads: usize,
    scale: f32,
}

/// Sizes that belong together.
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
    /// Tokens that belong to a sequence behind those in the cache.
    fn new_tokens(&self) -> usize {
        self.beams.map_or(self.rows, |_| 1)
    }

    /// Numbers of a row of the cache.
    fn cache_row(&self) -> usize {
        self.heads * self.max_length * self.size
    }
}

impl CacheAttentionKernel {
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

impl Kernel for CacheAttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, queries) = input::<f32>(context, 0)?;
        let (key_dims, keys) = input::<f32>(context, 1)?;
        let (value_dims, values) = input::<f32>(context, 2)?;
        let (past_dims, past_keys) = input::<f32>(context, 3)?;
        let (past_value_dims, past_values) = input::<f32>(context, 4)?;
        let (_, past_length) = input::<i32>(context, 5)?;
        let bias = optional_input::<f32>(context, 6)?;
        let indirection = optional_input::<i32>(context, 7)?;
        let sizes = self.sizes(&shape, &past_dims, past_length, indirection.as_ref())?;
        if key_dims != shape || value_dims != shape || past_value_dims != past_dims {
            let shapes = [&shape[..], &key_dims, &value_dims, &past_value_dims];
            return Err(mismatch("queries, keys, values and past values", &shapes));
        }
        let total = sizes.past + sizes.new_tokens();
        if let Some((dims, _)) = &bias {
            let of_rows = [sizes.heads, sizes.new_tokens(), total];
            if dims[..] != [&[1], &of_rows[..]].concat() {
                return Err(mismatch("bias and scores", &[dims, &of_rows]));
            }
        }
        let mut output = context
            .output(0, [sizes.rows as i64, shape[1] as i64])?
            .ok_or_else(|| ort::Error::new("there is no output"))?;
        let (_, attended) = output.try_extract_tensor_mut::<f32>()?;
        let attended = Disjoint::new(attended);
        let (hidden, size) = (shape[1], sizes.size);
        let work = 2 * sizes.rows * total * hidden;
        let parts = sizes.rows * sizes.heads;
        share(context, parts, 1, work, |parts| {
            SCRATCH.with_borrow_mut(|scratch| {
                for part in parts {
                    let (row, head) = (part / sizes.heads, part % sizes.heads);
                    // Where the sequence's new tokens start, and the document's rows of the cache.
                    let (first, new, document) = match sizes.beams {
                        Some(beams) => (row, 1, row / beams * beams),
                        None => (0, row + 1, 0),
                    };
                    let table = indirection.as_ref().map(|(_, table)| *table);
                    let column = head * size;
                    let (document, first) = (document * sizes.cache_row(), first * hidden + column);
                    let seen = sizes.past + new;
                    let history = History {
                        query: &queries[row * hidden + column..][..size],
                        keys: Tokens {
                            cached: &past_keys[document..],
                            new: &keys[first..],
                        },
                        values: Tokens {
                            cached: &past_values[document..],
                            new: &values[first..],
                        },
                        cached: sizes.past,
                        new,
                        beams: table.map(|table| &table[row * sizes.max_length..]),
                        row: sizes.cache_row(),
                        head: head * sizes.max_length * size,
                        stride: hidden,
                        bias: bias.as_ref().map(|(dims, bias)| {
                            let query = if dims[2] == 1 { 0 } else { row };
                            &bias[(head * dims[2] + query) * total..][..seen]
                        }),
                        scale: self.scale,
                    };
                    let at = row * hidden + column;
                    // SAFETY: the head's columns of the row are this part's alone.
                    let to = unsafe { attended.part(at..at + size) };
                    attend(&history, &mut scratch.weights, to);
                }
            });
        })?;
        if sizes.beams.is_none() {
            return Ok(());
        }
        // From here on the past is not read: its memory may be what is written.
        let caches = [
            (1, past_keys.as_ptr(), keys),
            (2, past_values.as_ptr(), values),
        ];
        for (index, past, new) in caches {
            let dims: Vec<_> = past_dims.iter().map(|&dim| dim as i64).collect();
            let mut output = context
                .output(index, dims)?
                .ok_or_else(|| ort::Error::new("there is no output for the cache"))?;
            let (_, cache) = output.try_extract_tensor_mut::<f32>()?;
            if cache.as_ptr() != past {
                // SAFETY: an input of the same shape, and elsewhere.
                let past = unsafe { std::slice::from_raw_parts(past, cache.len()) };
                cache.copy_from_slice(past);
            }
            let tokens = cache.chunks_exact_mut(sizes.max_length * size);
            for (cache, new) in tokens.zip(new.chunks_exact(size)) {
                cache[sizes.past * size..][..size].copy_from_slice(new);
            }
        }
        Ok(())
    }
}
