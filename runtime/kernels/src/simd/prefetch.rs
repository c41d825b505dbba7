//! Prefetching for loops that read memory sequentially.
//!
//! A processor detects such a loop and prefetches by itself, but most processors stop at the end of
//! a page. A loop that reads several streams reaches the end of a page often, so one prefetch
//! instruction for each cache line pays. AMD processors since Zen 4 prefetch across pages by
//! themselves. There a loop with little arithmetic is fastest without prefetch instructions. With a
//! few rows, which need more arithmetic, a large layer is multiplied fastest as a single stream
//! that is prefetched far ahead. With many rows, tiles have several panels, and prefetching into
//! the second-level cache is fastest.

use crate::cpu::features;

/// Inputs from which on a panel is long enough to be read as a single stream.
const MIN_STREAM_INPUTS: usize = 512;
/// Weights from which on a layer is read as a single stream. Models with smaller layers fit into
/// caches, where tiles of several panels are faster.
const MIN_STREAM_WEIGHTS: usize = 1 << 18;

/// Whether the panels of a layer, `[size_in, size_out]`, are best read one after the other, as a
/// single stream from memory.
pub(crate) fn prefers_one_stream([size_in, size_out]: [usize; 2]) -> bool {
    features().prefetches_across_pages
        && size_in >= MIN_STREAM_INPUTS
        && size_in * size_out >= MIN_STREAM_WEIGHTS
}

/// Bytes of a cache line.
pub(crate) const CACHE_LINE: usize = 64;

/// Whether a loop prefetches, into which cache, and how far ahead.
pub(crate) trait Prefetch {
    /// Distance in bytes between what a loop reads and what it prefetches at the same time, if the
    /// loop has no distance of its own.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only x86-64 reads it"))]
    const DISTANCE: usize;

    /// Prefetches the cache line at an address, which need not be readable.
    fn fetch<T>(address: *const T);

    /// Prefetches `count` elements from an address on, which need not be readable.
    #[inline(always)]
    fn fetch_all<T>(first: *const T, count: usize) {
        for byte in (0..count * size_of::<T>()).step_by(CACHE_LINE) {
            Self::fetch(first.wrapping_byte_add(byte));
        }
    }
}

/// No prefetch instructions.
pub(crate) struct NoPrefetch;

impl Prefetch for NoPrefetch {
    const DISTANCE: usize = 0;

    #[inline(always)]
    fn fetch<T>(_: *const T) {}
}

/// A long distance in bytes.
pub(crate) const FAR: usize = 8192;

/// Prefetch into the first-level cache, a short distance ahead: for AVX2, which is slower, and for
/// several streams of int4.
#[cfg(target_arch = "x86_64")]
pub(crate) type NearL1 = IntoCache<1, 1536>;
/// Prefetch into the first-level cache.
pub(crate) type L1 = IntoCache<1, 2048>;
/// Prefetch into the first-level cache, far ahead.
#[cfg(target_arch = "x86_64")]
pub(crate) type FarL1 = IntoCache<1, FAR>;
/// Prefetch into the second-level cache.
pub(crate) type L2 = IntoCache<2, 2048>;

/// Prefetch into the cache of a level, 1 or 2, at a distance in bytes.
pub(crate) struct IntoCache<const LEVEL: u8, const DISTANCE: usize>;

impl<const LEVEL: u8, const DISTANCE: usize> Prefetch for IntoCache<LEVEL, DISTANCE> {
    const DISTANCE: usize = DISTANCE;

    #[inline(always)]
    fn fetch<T>(address: *const T) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 processor has the instruction, and it is only a hint.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
            match LEVEL {
                1 => _mm_prefetch::<_MM_HINT_T0>(address.cast()),
                _ => _mm_prefetch::<_MM_HINT_T1>(address.cast()),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }
}
