//! Attention over a source: the encoder's own, and the decoder's over what the encoder left.
//!
//! Keys lie in blocks of sixteen positions, so that sixteen scores are summed side by side, and all
//! rows of a tile share what is read; the encoder's lie as AMX's tile registers want them where a processor multiplies
//! bfloat16 in these, and the graph allows it ([`SPLIT`]). A row's result does not depend on the rows beside it: a beam's
//! is the same bits alone, among others, and in a batch.
//!
//! - [`CrossMemory`](CROSS_MEMORY): keys or values of a decoder layer, laid out for its steps, in float32 or
//!   [float16](CROSS_MEMORY_FP16).
//! - [`CrossAttention`](CROSS_ATTENTION): the beams of each document over its memory, of [either](CROSS_ATTENTION_FP16).
//! - [`SelfAttention`]: each document over itself.
//!
//! And the decoder's over what it generated so far, [`CacheAttention`].

#[cfg(target_arch = "x86_64")]
mod amx;
mod cache;
mod cross;
mod history;
mod kernel;
mod source;

use std::cell::RefCell;

use ort::operator::{KernelContext, OperatorInput};
use ort::value::TensorElementType;

pub use self::cache::{CACHE_ATTENTION, CacheAttention};
pub use self::cross::{
    CROSS_ATTENTION, CROSS_ATTENTION_FP16, CROSS_MEMORY, CROSS_MEMORY_FP16, KEYS, PART, VALUES,
    memory_value_row,
};
pub(crate) use self::cross::{CrossAttention, CrossMemory};
use self::kernel::Scratch;
pub use self::source::{SELF_ATTENTION, SPLIT, SelfAttention};
use crate::simd::lanes::LANES;

/// Attribute of all operators here, integer: heads.
pub const HEADS: &str = "num_heads";
/// Attribute of the attentions, float: what scores are multiplied with.
pub const SCALE: &str = "scale";

const FLOAT: OperatorInput = OperatorInput::required(TensorElementType::Float32);
const MASK: OperatorInput = OperatorInput::required(TensorElementType::Int32);

thread_local! {
    /// Room that each thread keeps.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fn heads(context: &KernelContext<'_>) -> ort::Result<usize> {
    context
        .get::<i64>(HEADS)
        .filter(|heads| (1..=1 << 20).contains(heads))
        .map(|heads| heads as usize)
        .ok_or_else(|| ort::Error::new(format!("attribute '{HEADS}' is missing or wrong")))
}

fn scale(context: &KernelContext<'_>) -> ort::Result<f32> {
    context
        .get::<f32>(SCALE)
        .ok_or_else(|| ort::Error::new(format!("attribute '{SCALE}' is missing")))
}

fn mismatch(what: &str, shapes: &[&[usize]]) -> ort::Error {
    ort::Error::new(format!("{what} of shapes {shapes:?} do not fit each other"))
}

/// Positions of a memory, padding included.
fn padded(source: usize) -> usize {
    source.next_multiple_of(LANES)
}
