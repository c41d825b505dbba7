//! The input of an implementation of self-attention.

use std::ops::Range;

use super::kernel::KeyMask;
use super::pattern::Pattern;
use super::relative_bias::HeadBias;

/// Some queries of one head of a document, with the keys and values of the document.
pub(super) struct SelfAttentionHead<'a> {
    /// Queries: `[rows, stride]`. The first `size` columns are the head's.
    pub(super) queries: &'a [f32],
    pub(super) stride: usize,
    /// Keys and values: `[source, kv_stride]` each. The first `size` columns are the head's.
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) kv_stride: usize,
    /// Size of the head.
    pub(super) size: usize,
    /// Positions of the queries in the document.
    pub(super) positions: Range<usize>,
    /// Positions of the document.
    pub(super) source: usize,
    pub(super) mask: KeyMask<'a>,
    pub(super) pattern: Pattern,
    /// Bias of the scores.
    pub(super) bias: Option<HeadBias<'a>>,
    pub(super) globals: Option<HeadGlobals<'a>>,
    /// Scale of the scores.
    pub(super) scale: f32,
    /// Soft cap of the scores.
    pub(super) softcap: Option<f32>,
}

/// Further keys and values, which all queries of a head see.
pub(super) struct HeadGlobals<'a> {
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) mask: KeyMask<'a>,
    pub(super) count: usize,
    /// Biases by distance in blocks, and the block of each query of the document.
    pub(super) bias: Option<(HeadBias<'a>, &'a [i32])>,
}
