//! Fetching ahead of a loop that reads memory from end to end.
//!
//! A processor notices such a loop by itself and fetches ahead, but most do not go beyond the end of a page. Where a loop reads
//! several places in turn, a page of each ends at a time, and asking for what comes then is worth an instruction a cache line.
//! AMD's since Zen 4 do go on: there a loop with little else to do is quickest without the instruction, and one with more to
//! do with lines brought into the second-level cache (measured: docs/performance.md).

/// Whether, and where to, a loop has the processor fetch what it will read.
pub(crate) trait Ahead {
    /// Fetches the cache line at an address, which need not be one that can be read.
    fn fetch<T>(address: *const T);
}

/// Leaves it to the processor.
pub(crate) struct ByItself;

impl Ahead for ByItself {
    #[inline(always)]
    fn fetch<T>(_: *const T) {}
}

/// Into the first-level cache.
pub(crate) type Near = IntoCache<1>;
/// Into the second-level cache.
pub(crate) type Far = IntoCache<2>;

/// Into the cache of a level, 1 or 2.
pub(crate) struct IntoCache<const LEVEL: u8>;

impl<const LEVEL: u8> Ahead for IntoCache<LEVEL> {
    #[inline(always)]
    fn fetch<T>(address: *const T) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, which every x86-64 takes, and which touches nothing that a program can see.
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

/// Whether this processor fetches beyond the end of a page by itself.
pub(crate) fn crosses_pages() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::sync::OnceLock;

        static AMD: OnceLock<bool> = OnceLock::new();
        // The first AMD processors with AVX-512 are Zen 4.
        is_x86_feature_detected!("avx512f")
            && *AMD.get_or_init(|| {
                let identity = std::arch::x86_64::__cpuid(0);
                let vendor = [identity.ebx, identity.edx, identity.ecx].map(u32::to_le_bytes);
                vendor.as_flattened() == b"AuthenticAMD"
            })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}
