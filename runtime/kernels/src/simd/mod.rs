//! Common parts of the kernels: the choice of instructions at run time, the exponential function
//! and the hyperbolic tangent, vectors of sixteen floats, prefetching, and the tile registers of
//! AMX.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
pub mod exp;
pub(crate) mod lanes;
pub(crate) mod prefetch;
pub(crate) mod tanh;

/// Constant that rounds a float32 of a magnitude up to 2^22 when it is added: the lowest bits of
/// the sum are the nearest integer.
pub const ROUND: f32 = (3u32 << 22) as f32;

/// Compiles `$body`, an `#[inline(always)]` function, for several instruction sets and picks the
/// best at run time.
#[macro_export]
macro_rules! dispatch {
    (
        $(#[$doc:meta])*
        $visibility:vis fn $name:ident(
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $output:ty)? = $body:ident;
    ) => {
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
                let features = $crate::cpu::features();
                if features.avx512 {
                    // SAFETY: the processor has the instructions of the function.
                    return unsafe { avx512($($argument),*) };
                }
                if features.avx2 {
                    // SAFETY: the processor has the instructions of the function.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $body($($argument),*)
        }
    };
}
