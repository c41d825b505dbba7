//! Operators of attention.
//!
//! | operator | computes |
//! | --- | --- |
//! | [`SelfAttention`](SELF_ATTENTION) | the encoder's attention of each document over itself |
//! | [`PackCrossKv`](PACK_CROSS_KV_FP32) for each type | packed keys or values of the source |
//! | [`CrossAttention`](CROSS_ATTENTION_FP32) for each type | rows over packed keys and values |
//! | [`CachedAttention`](CACHED_ATTENTION) | the decoder's attention over the tokens before it |

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

/// Attribute of all operators here, integer: heads.
pub const HEADS: &str = "num_heads";
/// Attribute of the attentions, integer: heads of keys and values, each of which as many heads
/// share; as many as heads, where it is left out.
pub const KV_HEADS: &str = "kv_num_heads";
/// Attribute of the attentions, float: what scores are multiplied with.
pub const SCALE: &str = "scale";
/// Attribute of the attentions, float above 0: what scores approach and do not reach; nothing,
/// where it is left out.
pub const SOFTCAP: &str = "softcap";
const FLOAT: OperatorInput = OperatorInput::required(TensorElementType::Float32);
const MASK: OperatorInput = OperatorInput::required(TensorElementType::Int32);

fn heads(context: &KernelContext<'_>) -> ort::Result<usize> {
    Ok(integer(context, HEADS, 1..1 << 20)? as usize)
}

/// The attributes that the attentions have in common.
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

/// Queries, keys, values and mask, as self-attention reads them.
struct Inputs<'a, E> {
    queries: &'a [f32],
    keys: &'a [E],
    values: &'a [E],
    mask: &'a [i32],
    sizes: Sizes,
}

/// The sizes that the shapes of queries and mask have in common.
#[derive(Clone, Copy)]
struct Sizes {
    /// Queries of all documents.
    rows: usize,
    heads: usize,
    kv_heads: usize,
    /// Size of a head.
    size: usize,
    /// Documents.
    batch: usize,
    /// Positions of a document, padding included.
    source: usize,
}

impl Sizes {
    fn hidden(self) -> usize {
        self.heads * self.size
    }

    /// Size of the keys of a token.
    fn kv_hidden(self) -> usize {
        self.kv_heads * self.size
    }
}

impl<'a, E: PrimitiveTensorElementType> Inputs<'a, E> {
    /// Reads float32 queries `[rows, heads * size]`, keys and values of the shapes that `kv_shapes`
    /// gives, and an int32 mask `[batch, source]`. The rows must be a multiple of the batch, and
    /// none where there is no source.
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

/// The type of packed keys and values, and the operators over it.
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
