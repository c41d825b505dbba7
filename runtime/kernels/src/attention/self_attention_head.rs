//! What an implementation of self-attention is given.

use std::ops::Range;

use super::kernel::KeyMask;
use super::pattern::Pattern;
use super::relative_bias::HeadBias;

/// Some queries of one head of a document, and what they may see.
pub(super) struct SelfAttentionHead<'a> {
    /// One row every `stride`, of which the first `size` columns are the head's.
    pub(super) queries: &'a [f32],
    pub(super) stride: usize,
    /// Keys and values, one row every `kv_stride`, likewise.
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) kv_stride: usize,
    /// Size of the head.
    pub(super) size: usize,
    /// Which of the document's queries they are.
    pub(super) positions: Range<usize>,
    /// Positions of the document.
    pub(super) source: usize,
    pub(super) mask: KeyMask<'a>,
    pub(super) pattern: Pattern,
    /// Added to the scores.
    pub(super) bias: Option<HeadBias<'a>>,
    pub(super) globals: Option<HeadGlobals<'a>>,
    /// What scores are multiplied with.
    pub(super) scale: f32,
    /// What scores approach and do not reach.
    pub(super) softcap: Option<f32>,
}

/// The keys and values that all queries of a head see besides.
pub(super) struct HeadGlobals<'a> {
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) mask: KeyMask<'a>,
    pub(super) count: usize,
    /// The values by distance, and the block of each of the document's queries.
    pub(super) bias: Option<(HeadBias<'a>, &'a [i32])>,
}
