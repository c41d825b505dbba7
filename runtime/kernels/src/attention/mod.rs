//! Attention. A query's result is the same bits alone, among other queries, and in a batch.
//!
//! | module | holds |
//! | --- | --- |
//! | [`self_attention`] | an encoder's attention of each document over itself |
//! | [`cross_attention`] | a decoder's attention over the packed keys and values of the source |
//! | [`cached_attention`] | a decoder's attention over the tokens before it |

#[cfg(target_arch = "x86_64")]
mod amx;
pub mod cached_attention;
pub mod cross_attention;
mod element;
mod kernel;
mod padding;
mod pattern;
mod relative_bias;
#[cfg(target_arch = "x86_64")]
mod rounded;
pub mod self_attention;
mod self_attention_head;

use std::cell::RefCell;

use self::kernel::Scratch;
pub use self::kernel::StoredKv;
pub use self::padding::padded_positions;

thread_local! {
    /// Scratch memory that each thread keeps.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The head of keys and values that a head of queries reads: successive heads share one.
const fn kv_head(head: usize, heads: usize, kv_heads: usize) -> usize {
    head / (heads / kv_heads)
}
