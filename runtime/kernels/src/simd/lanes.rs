//! Vectors of sixteen float32, in the widest registers of the processor.
//!
//! A kernel that is generic over [`Lanes`] adds in the same order on every processor.
//! Multiplication and addition are fused, except in plain Rust.
//!
//! Loops here and in such kernels fill arrays one element at a time. `std::array::from_fn` and
//! `map` are not compiled for the instructions of their caller, so they pass registers through
//! memory.

use std::fmt::Debug;

use half::f16;

/// Number of values of a [`Lanes`].
pub(crate) const LANES: usize = 16;

/// Sixteen float32.
///
/// # Safety
///
/// An implementation may be used only if the processor has its instructions. [`dispatch_lanes!`]
/// checks that.
pub unsafe trait Lanes: Copy {
    /// Number of sums of this type that can stay in registers, with a few registers left for the
    /// factors.
    const ACCUMULATORS: usize;
    /// A vector with the same value in all lanes.
    fn splat(value: f32) -> Self;
    /// Loads values.
    fn load(from: &[f32; LANES]) -> Self;
    /// Loads and widens float16 values.
    fn load_half(from: &[f16; LANES]) -> Self;
    /// Loads integers and converts them to floats.
    fn load_integers(from: &[i8; LANES]) -> Self;
    /// Stores the values.
    fn store(self, to: &mut [f32; LANES]);
    /// Stores the nearest float16 values.
    fn store_half(self, to: &mut [f16; LANES]);
    /// `a * b + self`
    fn add_product(self, a: Self, b: Self) -> Self;
    /// `self * other`
    fn times(self, other: Self) -> Self;
    /// Computes a tile in a separate function. If it were inlined into one function with tiles of
    /// other sizes, its sums would not all stay in registers.
    ///
    /// # Safety
    ///
    /// The requirements of [`Microkernel::compute`] hold.
    unsafe fn compute<K: Microkernel, const MR: usize, const NR: usize>(kernel: K);
}

/// Computation of a tile of a matrix whose sums stay in registers.
pub trait Microkernel {
    /// Computes `MR` rows of `NR * LANES` columns. An implementation must be `#[inline(always)]`,
    /// so that it is compiled for the instructions of `L`.
    ///
    /// # Safety
    ///
    /// See the implementation.
    unsafe fn compute<L: Lanes, const MR: usize, const NR: usize>(self);
}

/// Widens float16. A multiplication corrects the exponent and normalizes subnormal values.
/// Infinities and NaN stay the same.
#[inline(always)]
fn widen(from: &[f16; LANES]) -> [f32; LANES] {
    /// 2^112, the difference of the exponents' biases.
    const OFFSET: f32 = f32::from_bits((127 + 112) << 23);
    from.map(|half| {
        let bits = u32::from(half.to_bits());
        let magnitude = (f32::from_bits((bits & 0x7fff) << 13) * OFFSET).to_bits();
        let magnitude = if bits & 0x7c00 == 0x7c00 { magnitude | 0x7f80_0000 } else { magnitude };
        f32::from_bits(magnitude | (bits & 0x8000) << 16)
    })
}

/// Compiles `$body` for each implementation of [`Lanes`] and picks the widest at run time. `$body`
/// is an `#[inline(always)]` function, generic over [`Lanes`] and, if `$element` is given, over an
/// element type.
macro_rules! dispatch_lanes {
    (
        $(#[$doc:meta])*
        $visibility:vis fn $name:ident(
            $($argument:ident: $type:ty),* $(,)?
        ) = $body:ident $(of $element:ty)?;
    ) => {
        $(#[$doc])*
        $visibility fn $name($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx($($argument: $type),*) {
                    $body::<$crate::simd::lanes::Avx $(, $element)?>($($argument),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                fn avx512($($argument: $type),*) {
                    $body::<$crate::simd::lanes::Avx512 $(, $element)?>($($argument),*)
                }
                let features = $crate::cpu::features();
                if features.avx512 {
                    // SAFETY: the processor has the instructions of the function.
                    return unsafe { avx512($($argument),*) };
                }
                if features.avx2_fma {
                    // SAFETY: the processor has the instructions of the function.
                    return unsafe { avx($($argument),*) };
                }
                $body::<$crate::simd::lanes::Portable $(, $element)?>($($argument),*)
            }
            #[cfg(target_arch = "aarch64")]
            $body::<$crate::simd::lanes::Neon $(, $element)?>($($argument),*);
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            $body::<$crate::simd::lanes::Portable $(, $element)?>($($argument),*);
        }
    };
}
pub(crate) use dispatch_lanes;

/// Type of stored floats: float32 or float16.
pub trait FloatElement: Copy + Debug + Default + Send + Sync + 'static {
    /// Widens one value.
    fn widen(self) -> f32;
    /// Widens [`LANES`] values.
    fn load<L: Lanes>(from: &[Self; LANES]) -> L;
    /// Stores the nearest values. A finite value never becomes infinite. Infinities and NaN stay
    /// the same.
    ///
    /// # Panics
    ///
    /// When the slices have different lengths.
    fn store(from: &[f32], to: &mut [Self]);
}

impl FloatElement for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn load<L: Lanes>(from: &[Self; LANES]) -> L {
        L::load(from)
    }

    fn store(from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }
}

impl FloatElement for f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn load<L: Lanes>(from: &[Self; LANES]) -> L {
        L::load_half(from)
    }

    fn store(from: &[f32], to: &mut [Self]) {
        store_halves(from, to);
    }
}

dispatch_lanes! {
    /// [`FloatElement::store`] of float16.
    fn store_halves(from: &[f32], to: &mut [f16]) = store_halves_body;
}

#[inline(always)]
fn store_halves_body<L: Lanes>(from: &[f32], to: &mut [f16]) {
    assert_eq!(from.len(), to.len(), "slices of one length");
    let max = f16::MAX.to_f32_const();
    let (mut finite, mut halves) = ([0.0; LANES], [f16::ZERO; LANES]);
    for (from, to) in from.chunks(LANES).zip(to.chunks_mut(LANES)) {
        finite[..from.len()].copy_from_slice(from);
        for value in &mut finite {
            let nearest = value.clamp(-max, max);
            *value = if value.abs() < f32::INFINITY { nearest } else { *value };
        }
        L::load(&finite).store_half(&mut halves);
        to.copy_from_slice(&halves[..to.len()]);
    }
}

/// Plain Rust.
#[derive(Clone, Copy)]
#[cfg_attr(
    target_arch = "aarch64",
    allow(dead_code, reason = "only tests use it, since every AArch64 has NEON")
)]
pub(crate) struct Portable([f32; LANES]);

// SAFETY: plain Rust needs no instructions beyond the baseline.
unsafe impl Lanes for Portable {
    const ACCUMULATORS: usize = 2;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Self(*from)
    }
    #[inline(always)]
    fn load_half(from: &[f16; LANES]) -> Self {
        Self(widen(from))
    }
    #[inline(always)]
    fn load_integers(from: &[i8; LANES]) -> Self {
        Self(from.map(f32::from))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = self.0;
    }
    #[inline(always)]
    fn store_half(self, to: &mut [f16; LANES]) {
        *to = self.0.map(f16::from_f32);
    }
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|lane| a.0[lane] * b.0[lane] + self.0[lane]))
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * other.0[lane]))
    }
    #[inline(never)]
    unsafe fn compute<K: Microkernel, const MR: usize, const NR: usize>(kernel: K) {
        // SAFETY: the caller promises the requirements of the kernel.
        unsafe { kernel.compute::<Self, MR, NR>() }
    }
}

/// Implements [`Lanes`] for `$count` registers of `$width` numbers.
#[allow(unused_macros, reason = "not on every architecture")]
macro_rules! registers {
    (
        $(#[$doc:meta])*
        $name:ident: $count:literal of $register:ty, $width:literal;
        $sums:literal sums, $features:literal;
        $splat:expr, $load:expr, $load_half:expr, $load_integers:expr,
        $store:expr, $store_half:expr, $add_product:expr, $times:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name([$register; $count]);

        // SAFETY: the users of the type check for its instructions. Loads and stores stay within
        // the array.
        #[allow(unused_unsafe, reason = "newer standard libraries have some as safe functions")]
        unsafe impl Lanes for $name {
            const ACCUMULATORS: usize = $sums;

            #[inline(always)]
            fn splat(value: f32) -> Self {
                // SAFETY: the processor has the instructions.
                Self([unsafe { $splat(value) }; $count])
            }
            #[inline(always)]
            fn load(from: &[f32; LANES]) -> Self {
                let mut loaded = Self::splat(0.0);
                for index in 0..$count {
                    // SAFETY: the load is within the array.
                    loaded.0[index] = unsafe { $load(from.as_ptr().add(index * $width)) };
                }
                loaded
            }
            #[inline(always)]
            fn load_half(from: &[f16; LANES]) -> Self {
                // SAFETY: the processor has the instructions.
                unsafe { $load_half(from) }
            }
            #[inline(always)]
            fn load_integers(from: &[i8; LANES]) -> Self {
                // SAFETY: the processor has the instructions.
                unsafe { $load_integers(from) }
            }
            #[inline(always)]
            fn store(self, to: &mut [f32; LANES]) {
                for index in 0..$count {
                    // SAFETY: the store is within the array.
                    unsafe { $store(to.as_mut_ptr().add(index * $width), self.0[index]) };
                }
            }
            #[inline(always)]
            fn store_half(self, to: &mut [f16; LANES]) {
                for index in 0..$count {
                    // SAFETY: the store is within the array.
                    unsafe { $store_half(to.as_mut_ptr().add(index * $width), self.0[index]) };
                }
            }
            #[inline(always)]
            fn add_product(self, a: Self, b: Self) -> Self {
                let mut sum = self;
                for index in 0..$count {
                    // SAFETY: the processor has the instructions.
                    sum.0[index] = unsafe { $add_product(a.0[index], b.0[index], sum.0[index]) };
                }
                sum
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                let mut product = self;
                for index in 0..$count {
                    // SAFETY: the processor has the instructions.
                    product.0[index] = unsafe { $times(product.0[index], other.0[index]) };
                }
                product
            }
            #[inline(always)]
            unsafe fn compute<K: Microkernel, const MR: usize, const NR: usize>(kernel: K) {
                /// # Safety
                ///
                /// The requirements of [`Microkernel::compute`] hold.
                #[target_feature(enable = $features)]
                #[inline(never)]
                unsafe fn compute<K: Microkernel, const MR: usize, const NR: usize>(kernel: K) {
                    // SAFETY: the caller promises the requirements of the kernel.
                    unsafe { kernel.compute::<$name, MR, NR>() }
                }
                // SAFETY: the users of the type check for its instructions, and the caller promises
                // the requirements of the kernel.
                unsafe { compute::<K, MR, NR>(kernel) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use half::f16;

    use super::{LANES, Lanes, Microkernel};

    registers! {
        /// AVX with FMA and conversion of half precision.
        Avx: 2 of __m256, 8;
        6 sums, "avx2,fma,f16c";
        _mm256_set1_ps, _mm256_loadu_ps, widen_avx, integers_avx,
        _mm256_storeu_ps, narrow_avx, _mm256_fmadd_ps, _mm256_mul_ps
    }
    registers! {
        /// AVX-512.
        Avx512: 1 of __m512, 16;
        24 sums, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c";
        _mm512_set1_ps, _mm512_loadu_ps, widen_avx512, integers_avx512,
        _mm512_storeu_ps, narrow_avx512, _mm512_fmadd_ps, _mm512_mul_ps
    }

    /// # Safety
    ///
    /// The processor has AVX and F16C.
    #[inline(always)]
    unsafe fn widen_avx(from: &[f16; LANES]) -> Avx {
        let from = from.as_ptr().cast::<__m128i>();
        // SAFETY: two loads within the array, with the instructions that the caller promises.
        unsafe {
            Avx([
                _mm256_cvtph_ps(_mm_loadu_si128(from)),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(1))),
            ])
        }
    }

    /// # Safety
    ///
    /// The processor has AVX and F16C, and `to` has space for eight values.
    #[inline(always)]
    unsafe fn narrow_avx(to: *mut f16, from: __m256) {
        // SAFETY: the caller promises the instructions and the space.
        unsafe {
            _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(from));
        };
    }

    /// # Safety
    ///
    /// The processor has AVX-512, and `to` has space for sixteen values.
    #[inline(always)]
    unsafe fn narrow_avx512(to: *mut f16, from: __m512) {
        // SAFETY: the caller promises the instructions and the space.
        unsafe {
            _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(from));
        };
    }

    /// # Safety
    ///
    /// The processor has AVX-512.
    #[inline(always)]
    unsafe fn widen_avx512(from: &[f16; LANES]) -> Avx512 {
        // SAFETY: one load of the array, with the instructions that the caller promises.
        unsafe { Avx512([_mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast()))]) }
    }

    /// # Safety
    ///
    /// The processor has AVX2.
    #[inline(always)]
    unsafe fn integers_avx(from: &[i8; LANES]) -> Avx {
        // SAFETY: one load of the array, with the instructions that the caller promises.
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            Avx([
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes))),
            ])
        }
    }

    /// # Safety
    ///
    /// The processor has AVX-512.
    #[inline(always)]
    unsafe fn integers_avx512(from: &[i8; LANES]) -> Avx512 {
        // SAFETY: one load of the array, with the instructions that the caller promises.
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            Avx512([_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))])
        }
    }
}
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{Avx, Avx512};

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use std::arch::aarch64::*;

    use half::f16;

    use super::{LANES, Lanes, Microkernel};

    registers! {
        /// NEON, which every AArch64 has.
        Neon: 4 of float32x4_t, 4;
        6 sums, "neon";
        vdupq_n_f32, vld1q_f32, widen_neon, integers_neon,
        vst1q_f32, narrow_neon, (|a, b, sum| vfmaq_f32(sum, a, b)), vmulq_f32
    }

    /// # Safety
    ///
    /// The processor has NEON, and `to` has space for four values.
    #[inline(always)]
    unsafe fn narrow_neon(to: *mut f16, from: float32x4_t) {
        // SAFETY: the caller promises the instructions and the space.
        unsafe { vst1_u16(to.cast(), vreinterpret_u16_f16(vcvt_f16_f32(from))) };
    }

    /// # Safety
    ///
    /// The processor has NEON.
    #[inline(always)]
    unsafe fn widen_neon(from: &[f16; LANES]) -> Neon {
        let from = from.as_ptr().cast::<u16>();
        let mut widened = Neon::splat(0.0);
        for index in 0..LANES / 4 {
            // SAFETY: four loads within the array, with the instructions that the caller promises.
            widened.0[index] =
                unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from.add(index * 4)))) };
        }
        widened
    }

    /// # Safety
    ///
    /// The processor has NEON.
    #[inline(always)]
    unsafe fn integers_neon(from: &[i8; LANES]) -> Neon {
        // SAFETY: one load of the array, with the instructions that the caller promises.
        unsafe {
            let bytes = vld1q_s8(from.as_ptr());
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            Neon([
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_high_s16(high)),
            ])
        }
    }
}
#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::Neon;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_the_nearest_finite_numbers() {
        let numbers: Vec<f32> = (0..3000)
            .map(|index| (index as f32 - 1500.0) * 1.7_f32.powi(index % 41 - 20))
            .chain([0.0, -0.0, 1e-7, 65504.0, 65520.0, 1e9, -1e9])
            .collect();
        let numbers = [&numbers[..], &[f32::INFINITY, f32::NEG_INFINITY]].concat();
        let nearest = |&number: &f32| match number.is_finite() {
            true => f16::from_f32(number.clamp(-65504.0, 65504.0)),
            false => f16::from_f32(number),
        };
        let expected: Vec<f16> = numbers.iter().map(nearest).collect();
        for count in [0, 1, 15, 16, 17, numbers.len()] {
            let mut halves = vec![f16::NAN; count];
            f16::store(&numbers[..count], &mut halves);
            assert_eq!(halves, expected[..count]);
            store_halves_body::<Portable>(&numbers[..count], &mut halves);
            assert_eq!(halves, expected[..count]);
        }
        let mut halves = [f16::ZERO];
        f16::store(&[f32::NAN], &mut halves);
        assert!(halves[0].is_nan());
    }

    #[test]
    fn plain_rust_widens_every_half() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let mut widened = [0.0; LANES];
            Portable::load_half(&[half; LANES]).store(&mut widened);
            let same = widened[3] == half.to_f32();
            assert!(same || half.is_nan() && widened[3].is_nan(), "{half}");
        }
    }
}
