//! The arithmetic over whole rows of scores, where a search spends its time.
//!
//! Every kernel is plain Rust over a fixed number of lanes, compiled once for the baseline and once for each
//! instruction set that pays ([`dispatch!`]). Lanes are combined in a fixed order and multiplications are never
//! fused, so the result is the same bit for bit whichever version runs, on every machine.

pub(crate) mod exp;
pub(crate) mod normalizer;
pub(crate) mod top_k;

/// Independent accumulators: two AVX-512, four AVX or eight SSE/NEON registers, enough to hide the latency of adding.
pub(crate) const LANES: usize = 32;

/// Scores whose maximum is kept, so that ranking can pass over those that cannot matter.
pub(crate) const BLOCK: usize = 256;

/// Compiles `$body`, an `#[inline(always)]` function, for several instruction sets, and picks one at run time.
macro_rules! dispatch {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? = $body:ident;) => {
        $(#[$doc])*
        $visibility fn $name($($argument: $type),*) $(-> $output)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $type),*) $(-> $output)? {
                    $body($($argument),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($argument: $type),*) $(-> $output)? {
                    $body($($argument),*)
                }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the four features that the function is compiled for were just detected.
                    return unsafe { avx512($($argument),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the feature that the function is compiled for was just detected.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $body($($argument),*)
        }
    };
}
pub(crate) use dispatch;
