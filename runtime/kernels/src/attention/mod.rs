//! Attention. A query's result is the same bits alone, among other queries, and in a batch.
//!
//! | module | holds |
//! | --- | --- |
//! | [`self_attention`] | an encoder's attention of each document over itself |
//! | [`cross_attention`] | a decoder's attention over the source, whose keys and values are packed once |
//! | [`cached_attention`] | a decoder's attention over the tokens before it |

#[cfg(target_arch = "x86_64")]
mod amx;
pub mod cached_attention;
pub mod cross_attention;
mod element;
mod kernel;
mod pattern;
mod relative_bias;
#[cfg(target_arch = "x86_64")]
mod rounded;
pub mod self_attention;
mod self_attention_head;

use std::cell::RefCell;

pub use self::element::StoredElement;
use self::kernel::Scratch;
pub use self::kernel::StoredKv;
use crate::simd::lanes::LANES;

thread_local! {
    /// Scratch memory that each thread keeps.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Of heads that share keys and values in groups, the one that a query's head reads.
const fn kv_head(head: usize, heads: usize, kv_heads: usize) -> usize {
    head / (heads / kv_heads)
}

/// Positions of packed keys and values, padding included.
pub const fn padded_positions(positions: usize) -> usize {
    positions.next_multiple_of(LANES)
}

/// Length of a row of packed values: the size of a head, rounded up to whole vectors.
pub const fn padded_head_size(size: usize) -> usize {
    size.next_multiple_of(LANES)
}
