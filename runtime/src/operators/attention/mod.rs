//! The attention operators.
//!
//! | operator | computes |
//! | --- | --- |
//! | [`SelfAttention`](SELF_ATTENTION) | the encoder's self-attention |
//! | [`PackCrossKv`](PACK_CROSS_KV_FP32) for each type | packed keys or values of the source |
//! | [`CrossAttention`](CROSS_ATTENTION_FP32) for each type | the decoder's cross-attention |
//! | [`CachedAttention`](CACHED_ATTENTION) | the decoder's self-attention |

mod cached_attention;
mod cross_attention;
mod pack_cross_kv;
mod self_attention;

use epitome_kernels::attention::StoredKv;
use epitome_kernels::attention::cross_attention::KeyOrValue;
use half::f16;
use ort::operator::{ComputeContext, KernelContext, OperatorInput};
use ort::value::{PrimitiveTensorElementType, TensorElementType};

pub(super) use self::cached_attention::CachedAttention;
pub use self::cached_attention::{CACHED_ATTENTION, STREAMS};
pub(super) use self::cross_attention::CrossAttention;
pub use self::cross_attention::{CROSS_ATTENTION_FP16, CROSS_ATTENTION_FP32, CROSS_ATTENTION_INT8};
pub(super) use self::pack_cross_kv::PackCrossKv;
pub use self::pack_cross_kv::{
    KEYS, PACK_CROSS_KV_FP16, PACK_CROSS_KV_FP32, PACK_CROSS_KV_INT8, PART, VALUES,
};
pub(super) use self::self_attention::SelfAttention;
pub use self::self_attention::{
    BIG_BIRD, BLOCK_SIZE, BLOCKS, LEAD, PATTERN, RANDOM_BLOCKS, REACH, REACH_AFTER, ROUND,
    SELF_ATTENTION, SPLIT, WINDOW,
};
use super::tensors::{float, input, integer, integer_or};

/// Attribute of all attention operators, integer: number of heads.
pub const HEADS: &str = "num_heads";
/// Attribute, integer, [`HEADS`] by default: number of heads of keys and values. Equally many heads
/// of queries share each of them.
pub const KV_HEADS: &str = "kv_num_heads";
/// Attribute, float: scale of the scores, usually `1 / sqrt(head size)`.
pub const SCALE: &str = "scale";
/// Attribute, optional float above 0: soft cap. Scores become `softcap * tanh(score / softcap)`.
pub const SOFTCAP: &str = "softcap";
const FLOAT: OperatorInput = OperatorInput::required(TensorElementType::Float32);
const MASK: OperatorInput = OperatorInput::required(TensorElementType::Int32);

fn heads(context: &KernelContext<'_>) -> ort::Result<usize> {
    Ok(integer(context, HEADS, 1..1 << 20)? as usize)
}

/// The attributes of self-attention, cross-attention and cached attention.
#[derive(Clone, Copy)]
struct Attributes {
    heads: usize,
    kv_heads: usize,
    scale: f32,
    softcap: Option<f32>,
}

impl Attributes {
    fn read(context: &KernelContext<'_>) -> ort::Result<Self> {
        let heads = heads(context)?;
        let kv_heads = integer_or(context, KV_HEADS, heads as i64, 1..1 << 20)? as usize;
        if !heads.is_multiple_of(kv_heads) {
            return Err(ort::Error::new(format!(
                "{heads} heads cannot share {kv_heads} heads of keys and values evenly"
            )));
        }
        let softcap = context.get::<f32>(SOFTCAP);
        if softcap.is_some_and(|softcap| !(softcap > 0.0 && softcap.is_finite())) {
            return Err(ort::Error::new(format!("attribute '{SOFTCAP}' must be above 0")));
        }
        Ok(Self { heads, kv_heads, scale: float(context, SCALE)?, softcap })
    }
}

fn mismatch(what: &str, shapes: &[&[usize]]) -> ort::Error {
    ort::Error::new(format!("{what} of shapes {shapes:?} do not fit each other"))
}

/// Queries, keys, values and mask of self-attention.
struct Inputs<'a, E> {
    queries: &'a [f32],
    keys: &'a [E],
    values: &'a [E],
    mask: &'a [i32],
    sizes: Sizes,
}

/// The sizes of queries, keys, values and mask.
#[derive(Clone, Copy)]
struct Sizes {
    /// Number of queries of all documents.
    rows: usize,
    heads: usize,
    kv_heads: usize,
    /// Size of a head.
    size: usize,
    /// Number of documents.
    batch: usize,
    /// Number of tokens of a document, padding included.
    source: usize,
}

impl Sizes {
    fn hidden(self) -> usize {
        self.heads * self.size
    }

    /// Size of the keys of a token, all heads included.
    fn kv_hidden(self) -> usize {
        self.kv_heads * self.size
    }
}

impl<'a, E: PrimitiveTensorElementType> Inputs<'a, E> {
    /// Reads float32 queries `[rows, heads * size]`, keys and values of the shapes of `kv_shapes`,
    /// and an int32 mask `[batch, source]`. `rows` must be a multiple of `batch`, and 0 if `source`
    /// is 0.
    fn read(
        context: &'a ComputeContext,
        (heads, kv_heads): (usize, usize),
        kv_shapes: impl FnOnce(Sizes) -> [Vec<usize>; 2],
    ) -> ort::Result<Self> {
        let (shape, queries) = input::<f32>(context, 0)?;
        let (key_shape, keys) = input::<E>(context, 1)?;
        let (value_shape, values) = input::<E>(context, 2)?;
        let (mask_shape, mask) = input::<i32>(context, 3)?;
        let wrong = || {
            let shapes = [&shape[..], &key_shape, &value_shape, &mask_shape];
            mismatch("queries, keys, values and mask", &shapes)
        };
        let (&[rows, hidden], &[batch, source]) = (&shape[..], &mask_shape[..]) else {
            return Err(wrong());
        };
        let sizes = Sizes { rows, heads, kv_heads, size: hidden / heads, batch, source };
        if hidden != sizes.hidden()
            || batch == 0
            || !rows.is_multiple_of(batch)
            || source == 0 && rows > 0
            || [&key_shape, &value_shape] != kv_shapes(sizes).each_ref()
        {
            return Err(wrong());
        }
        Ok(Self { queries, keys, values, mask, sizes })
    }
}

/// An element type of packed keys and values, with the names of its operators.
pub(super) trait CrossKv: StoredKv + PrimitiveTensorElementType {
    const PACK: &'static str;
    const ATTENTION: &'static str;
}

impl CrossKv for f32 {
    const PACK: &'static str = PACK_CROSS_KV_FP32;
    const ATTENTION: &'static str = CROSS_ATTENTION_FP32;
}

impl CrossKv for f16 {
    const PACK: &'static str = PACK_CROSS_KV_FP16;
    const ATTENTION: &'static str = CROSS_ATTENTION_FP16;
}

impl CrossKv for i8 {
    const PACK: &'static str = PACK_CROSS_KV_INT8;
    const ATTENTION: &'static str = CROSS_ATTENTION_INT8;
}

/// Shape of packed keys or values: `[batch, kv_heads, padded source, row]`.
fn packed_shape<E: CrossKv>(sizes: Sizes, part: KeyOrValue) -> [usize; 4] {
    let positions = epitome_kernels::attention::padded_positions(sizes.source);
    [sizes.batch, sizes.kv_heads, positions, part.row::<E>(sizes.size)]
}
