//! What everything that works on whole rows of numbers shares: choosing an instruction set at run time, the
//! exponential, lanes of numbers with fused multiplication, and tile registers.

pub(crate) mod ahead;
#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
pub(crate) mod exp;
pub(crate) mod lanes;

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
