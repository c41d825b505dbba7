//! The limits of the machine: bytes read from memory and arithmetic operations per second. No
//! decoder step is faster than reading its weights, and no encoder is faster than its
//! multiplications.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

#[cfg(target_arch = "x86_64")]
use epitome_runtime::kernels::int8::Instructions;
use memmap2::MmapMut;
use serde::Serialize;

/// Bytes that a thread reads, much more than any cache holds. Tests need only a rough figure.
const READ_BYTES: usize = if cfg!(test) { 4 << 20 } else { 256 << 20 };
/// Number of streams that a thread reads in turn. On some processors several are faster than one.
const STREAMS: usize = 4;
/// Number of repetitions of each measurement. The fastest counts, since it is a limit.
const ROUNDS: usize = if cfg!(test) { 1 } else { 5 };
/// Number of iterations of an arithmetic loop.
const STEPS: usize = if cfg!(test) { 10_000 } else { 4_000_000 };
/// Number of independent sums of an arithmetic loop, enough to hide the latency of an operation.
const SUMS: usize = 12;

/// The limits of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Roofline {
    /// Number of threads.
    pub threads: usize,
    /// Bytes read from memory per second.
    pub bytes_per_second: f64,
    /// Additions and multiplications of float32 per second.
    pub fp32_per_second: f64,
    /// Additions and multiplications of int8 per second, with the widest instructions; `None` if
    /// this processor has none.
    pub int8_per_second: Option<f64>,
}

impl Roofline {
    /// Measures the limits, which takes a few seconds.
    pub fn measure(threads: usize) -> Self {
        Self {
            threads,
            bytes_per_second: bytes_per_second(threads),
            fp32_per_second: per_second(threads, fp32),
            int8_per_second: int8().map(|work| per_second(threads, work)),
        }
    }
}

fn bytes_per_second(threads: usize) -> f64 {
    let memory: Vec<MmapMut> = (0..threads)
        .map(|thread| {
            let mut memory = MmapMut::map_anon(READ_BYTES).expect("memory to read");
            // Large pages, which a mapped file may have. Without them, small pages are used.
            #[cfg(target_os = "linux")]
            let _ = memory.advise(memmap2::Advice::HugePage);
            memory.fill((thread % 255) as u8 + 1);
            memory
        })
        .collect();
    let seconds = |read: fn(&[u8])| {
        best(|| {
            let start = Instant::now();
            thread::scope(|scope| {
                for part in &memory {
                    scope.spawn(|| read(part));
                }
            });
            start.elapsed().as_secs_f64()
        })
    };
    (threads * READ_BYTES) as f64 / seconds(read::<1>).min(seconds(read::<STREAMS>))
}

/// Reads memory as several streams in turn.
fn read<const STREAMS: usize>(memory: &[u8]) {
    const LINES: usize = 128;
    let mut bytes = [0u8; LINES];
    let streams: Vec<&[u8]> = memory.chunks_exact(memory.len() / STREAMS).collect();
    for index in (0..streams[0].len()).step_by(LINES) {
        for stream in &streams {
            for (byte, read) in bytes.iter_mut().zip(&stream[index..index + LINES]) {
                *byte ^= read;
            }
        }
    }
    black_box(bytes);
}

/// Operations per second of a loop that returns the number of its operations.
fn per_second(threads: usize, work: fn() -> f64) -> f64 {
    let mut operations = 0.0;
    let seconds = best(|| {
        let start = Instant::now();
        operations = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let made = workers.into_iter().map(thread::ScopedJoinHandle::join);
            made.map(|made| made.expect("arithmetic does not panic")).sum()
        });
        start.elapsed().as_secs_f64()
    });
    operations / seconds
}

fn best(measure: impl FnMut() -> f64) -> f64 {
    std::iter::repeat_with(measure).take(ROUNDS).fold(f64::INFINITY, f64::min)
}

fn fp32() -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has the feature.
            return unsafe { x86::fp32_avx512() };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has the features.
            return unsafe { x86::fp32_avx2() };
        }
    }
    multiply_add::<4>()
}

fn int8() -> Option<fn() -> f64> {
    #[cfg(target_arch = "x86_64")]
    {
        if Instructions::detect() == Instructions::Amx {
            return Some(x86::int8_amx);
        }
        if is_x86_feature_detected!("avx512vnni") {
            // SAFETY: the processor has the feature.
            return Some(|| unsafe { x86::int8_vnni() });
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            return Some(|| unsafe { x86::int8_avx2() });
        }
    }
    None
}

/// Fused multiplications and additions over vectors of `LANES` lanes. Returns their number.
#[inline(always)]
fn multiply_add<const LANES: usize>() -> f64 {
    let (factor, term) = (black_box(0.5f32), black_box(1.0f32));
    let mut sums = [[0f32; LANES]; SUMS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            for lane in sum {
                *lane = lane.mul_add(factor, term);
            }
        }
    }
    black_box(sums);
    (2 * STEPS * SUMS * LANES) as f64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::{
        _mm256_add_epi32, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8,
        _mm256_set1_epi16, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_set1_epi8, _mm512_set1_ps,
        _mm512_setzero_ps,
    };
    use std::hint::black_box;

    use super::{Instructions, STEPS, SUMS, multiply_add};

    #[target_feature(enable = "avx512f")]
    pub(super) fn fp32_avx512() -> f64 {
        let (factor, term) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(1.0)));
        let mut sums = [_mm512_setzero_ps(); SUMS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, term);
            }
        }
        black_box(sums);
        (2 * STEPS * SUMS * 16) as f64
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn fp32_avx2() -> f64 {
        multiply_add::<8>()
    }

    /// The usual sequence without VNNI: products of bytes are added in pairs to 16 bits, and these
    /// in pairs to 32 bits.
    #[target_feature(enable = "avx2")]
    pub(super) fn int8_avx2() -> f64 {
        let weights = _mm256_set1_epi8(black_box(3));
        let ones = _mm256_set1_epi16(black_box(1));
        let mut sums = [_mm256_set1_epi8(black_box(1)); SUMS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                // The sum itself is the other factor, so that no product can be computed in
                // advance.
                let pairs = _mm256_maddubs_epi16(*sum, weights);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        black_box(sums);
        (2 * STEPS * SUMS * 32) as f64
    }

    /// Products of tile registers, four sums in turn.
    pub(super) fn int8_amx() -> f64 {
        /// Operand of `LDTILECFG`: the palette, and for each register its bytes per row and its
        /// rows.
        #[repr(align(64))]
        struct Configuration([u8; 64]);

        assert_eq!(Instructions::detect(), Instructions::Amx);
        let mut configuration = Configuration([0; 64]);
        configuration.0[0] = 1;
        for register in 0..8 {
            configuration.0[16 + 2 * register] = 64;
            configuration.0[48 + register] = 16;
        }
        // SAFETY: the processor has the instructions, and the detection asked the operating system
        // to let this process use them. No tile register is in use elsewhere.
        unsafe {
            asm!(
                "ldtilecfg [{configuration}]",
                "2:",
                "tdpbusd tmm0, tmm4, tmm5",
                "tdpbusd tmm1, tmm4, tmm5",
                "tdpbusd tmm2, tmm4, tmm5",
                "tdpbusd tmm3, tmm4, tmm5",
                "dec {steps}",
                "jnz 2b",
                "tilerelease",
                configuration = in(reg) &raw const configuration,
                steps = inout(reg) STEPS => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
        (2 * STEPS * 4 * 16 * 16 * 64) as f64
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn int8_vnni() -> f64 {
        let weights = _mm512_set1_epi8(black_box(3));
        let mut sums = [_mm512_set1_epi8(black_box(1)); SUMS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, weights, weights);
            }
        }
        black_box(sums);
        (2 * STEPS * SUMS * 64) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_a_number() {
        let roofline = Roofline::measure(1);
        assert!(roofline.bytes_per_second > 1e6);
        assert!(roofline.fp32_per_second > 1e6);
        assert!(roofline.int8_per_second.is_none_or(|found| found > 1e6));
    }
}
