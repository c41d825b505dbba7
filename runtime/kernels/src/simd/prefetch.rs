//! Prefetching for a loop that reads memory from end to end.
//!
//! A processor notices such a loop and prefetches by itself, but most stop at the end of a page. A
//! loop that reads several streams in turn reaches the end of a page often, so it is worth an
//! instruction a cache line to prefetch across it. AMD's processors since Zen 4 cross pages by
//! themselves. There a loop with little arithmetic is quickest without the instruction, and a loop
//! with much arithmetic is quickest when it prefetches into the second-level cache.

/// Bytes of a cache line.
pub(crate) const CACHE_LINE: usize = 64;

/// Whether a loop prefetches, and into which cache.
pub(crate) trait Prefetch {
    /// Prefetches the cache line at an address, which may be one that cannot be read.
    fn fetch<T>(address: *const T);

    /// Prefetches so many elements from an address on, which may be some that cannot be read.
    #[inline(always)]
    fn fetch_all<T>(first: *const T, count: usize) {
        for byte in (0..count * size_of::<T>()).step_by(CACHE_LINE) {
            Self::fetch(first.wrapping_byte_add(byte));
        }
    }
}

/// No prefetching: the processor does it by itself.
pub(crate) struct NoPrefetch;

impl Prefetch for NoPrefetch {
    #[inline(always)]
    fn fetch<T>(_: *const T) {}
}

/// Into the first-level cache.
pub(crate) type L1 = IntoCache<1>;
/// Into the second-level cache.
pub(crate) type L2 = IntoCache<2>;

/// Into the cache of a level, 1 or 2.
pub(crate) struct IntoCache<const LEVEL: u8>;

impl<const LEVEL: u8> Prefetch for IntoCache<LEVEL> {
    #[inline(always)]
    fn fetch<T>(address: *const T) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint that every x86-64 has, and that changes nothing a program can see.
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
