//! Features of the processor, detected once in a process.

use std::sync::LazyLock;

/// Instruction sets that kernels are compiled for. Each field includes the sets that it builds on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// x86-64: AVX2.
    pub avx2: bool,
    /// x86-64: AVX2, FMA, and the conversion of float16 (F16C).
    pub avx2_fma: bool,
    /// x86-64: AVX2 and AVX-VNNI.
    pub avx_vnni: bool,
    /// x86-64: AVX-512 F, BW, DQ and VL, and [`avx2_fma`](Self::avx2_fma).
    pub avx512: bool,
    /// x86-64: [`avx512`](Self::avx512) and AVX-512 VNNI.
    pub avx512_vnni: bool,
    /// x86-64: AMX over int8, which this process may use, and [`avx512_vnni`](Self::avx512_vnni).
    pub amx_int8: bool,
    /// x86-64: AMX over bfloat16, which this process may use, and AVX-512 BF16.
    pub amx_bf16: bool,
    /// AArch64: the dot products of Armv8.2.
    pub dot_product: bool,
    /// Whether the processor prefetches beyond the end of a page by itself, as AMD's do since Zen
    /// 4.
    pub prefetches_across_pages: bool,
}

static FEATURES: LazyLock<Features> = LazyLock::new(detect);

/// The features of this processor.
#[inline]
pub fn features() -> &'static Features {
    &FEATURES
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Features {
    let avx2 = is_x86_feature_detected!("avx2");
    let avx2_fma = avx2 && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    let avx512 = avx2_fma
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let avx512_vnni = avx512 && is_x86_feature_detected!("avx512vnni");
    let amx = amx::detect();
    Features {
        avx2,
        avx2_fma,
        avx_vnni: avx2 && is_x86_feature_detected!("avxvnni"),
        avx512,
        avx512_vnni,
        amx_int8: avx512_vnni && amx.int8,
        amx_bf16: avx512 && is_x86_feature_detected!("avx512bf16") && amx.bf16,
        dot_product: false,
        // The first AMD processors with AVX-512 are Zen 4.
        prefetches_across_pages: avx512 && is_amd(),
    }
}

#[cfg(target_arch = "aarch64")]
fn detect() -> Features {
    Features {
        dot_product: std::arch::is_aarch64_feature_detected!("dotprod"),
        ..Features::default()
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> Features {
    Features::default()
}

#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    let identity = std::arch::x86_64::__cpuid(0);
    let vendor = [identity.ebx, identity.edx, identity.ecx].map(u32::to_le_bytes);
    vendor.as_flattened() == b"AuthenticAMD"
}

/// Detection of AMX, which `is_x86_feature_detected!` does not support in stable Rust.
#[cfg(target_arch = "x86_64")]
mod amx {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    #[derive(Default)]
    pub(super) struct Amx {
        pub(super) int8: bool,
        pub(super) bf16: bool,
    }

    /// The AMX features that the processor has and that this process may use.
    pub(super) fn detect() -> Amx {
        /// Bits of leaf 7's EDX.
        const BF16: u32 = 1 << 22;
        const TILE: u32 = 1 << 24;
        const INT8: u32 = 1 << 25;
        let bits = match __cpuid(0).eax {
            7.. => __cpuid_count(7, 0).edx,
            _ => 0,
        };
        if bits & TILE == 0 || !saves_tile_registers() || !permits_tile_registers() {
            return Amx::default();
        }
        Amx { int8: bits & INT8 != 0, bf16: bits & BF16 != 0 }
    }

    /// Whether the operating system saves the tile registers when it switches threads.
    fn saves_tile_registers() -> bool {
        /// Bits of XCR0: configuration and data of the tile registers.
        const STATE: u64 = 1 << 17 | 1 << 18;
        #[target_feature(enable = "xsave")]
        fn saved() -> u64 {
            // SAFETY: the caller checked that the processor has the instruction.
            unsafe { _xgetbv(0) }
        }
        // SAFETY: the processor has the instruction.
        is_x86_feature_detected!("xsave") && unsafe { saved() } & STATE == STATE
    }

    /// Asks the operating system for the use of the tile registers.
    #[cfg(target_os = "linux")]
    fn permits_tile_registers() -> bool {
        /// `ARCH_REQ_XCOMP_PERM` of Linux's `asm/prctl.h`.
        const REQUEST: libc::c_long = 0x1023;
        /// Number of the state component for the data of the tile registers.
        const TILE_DATA: libc::c_long = 18;
        // SAFETY: a system call without addresses.
        unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
    }

    #[cfg(not(target_os = "linux"))]
    fn permits_tile_registers() -> bool {
        false
    }
}
