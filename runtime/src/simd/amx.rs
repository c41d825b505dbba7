//! The tile registers of x86-64's AMX.
//!
//! A tile register is up to sixteen lines of up to 64 bytes. (Intel 64 and IA-32 Architectures Software Developer's
//! Manual, volume 1, chapter 18.)

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::LazyLock;

/// Lines of a tile register.
pub(crate) const LINES: usize = 16;
/// Bytes of a line.
pub(crate) const LINE: usize = 64;

/// What tile registers are multiplied as.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Factors {
    /// Bytes (`TDPBUSD`).
    Int8,
    /// bfloat16 (`TDPBF16PS`).
    Bfloat16,
}

/// Whether the processor has the instructions and the operating system lets this process use them, which it
/// has to be asked for.
pub(crate) fn available(factors: Factors) -> bool {
    static PERMITTED: LazyLock<bool> = LazyLock::new(|| are_kept() && are_permitted());
    /// Bit of AMX-TILE.
    const TILE: u32 = 1 << 24;
    let bit = match factors {
        Factors::Bfloat16 => 1 << 22,
        Factors::Int8 => 1 << 25,
    };
    features() & (TILE | bit) == TILE | bit && *PERMITTED
}

/// The word of the processor's features in which AMX has its bits.
fn features() -> u32 {
    static FEATURES: LazyLock<u32> = LazyLock::new(|| match __cpuid(0).eax {
        7.. => __cpuid_count(7, 0).edx,
        _ => 0,
    });
    *FEATURES
}

/// Whether the operating system keeps tile registers for a process.
fn are_kept() -> bool {
    /// Bits of what it keeps: a tile's configuration, and what it holds.
    const STATE: u64 = 1 << 17 | 1 << 18;
    #[target_feature(enable = "xsave")]
    fn kept() -> u64 {
        // SAFETY: the processor has the instruction, as the caller saw to.
        unsafe { _xgetbv(0) }
    }
    // SAFETY: the processor has the instruction, as just detected.
    is_x86_feature_detected!("xsave") && unsafe { kept() } & STATE == STATE
}

/// Asks the operating system for the tile registers' use.
#[cfg(target_os = "linux")]
fn are_permitted() -> bool {
    /// `ARCH_REQ_XCOMP_PERM` of Linux's `asm/prctl.h`.
    const REQUEST: libc::c_long = 0x1023;
    /// Number of the state that tile registers are.
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: a system call without addresses.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn are_permitted() -> bool {
    false
}

/// How many lines the tile registers have, and how long they are, as `LDTILECFG` reads it.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    line_bytes: [u16; 16],
    lines: [u8; 16],
}

impl Configuration {
    /// Of eight registers with so many whole lines.
    fn of(of_registers: [u8; 8]) -> Self {
        let (mut lines, mut line_bytes) = ([0; 16], [0; 16]);
        lines[..8].copy_from_slice(&of_registers);
        line_bytes[..8].fill(LINE as u16);
        Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            line_bytes,
            lines,
        }
    }
}

thread_local! {
    /// Whether a [`Tiles`] of this thread has configured them.
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// This thread's tile registers, released when this is dropped. To configure and release them takes as long as a fourth of a
/// product.
#[derive(Debug)]
pub(crate) struct Tiles {
    factors: Factors,
    /// Of each register, once they are configured.
    lines: Option<[u8; 8]>,
    /// They are the thread's.
    not_send: PhantomData<*mut ()>,
}

impl Tiles {
    /// Those for factors of a kind, which are not configured yet.
    pub(crate) fn of(factors: Factors) -> Self {
        Self {
            factors,
            lines: None,
            not_send: PhantomData,
        }
    }

    /// Gives eight registers so many whole lines each, at most [`LINES`], if they have not got them. What they hold is lost
    /// where they are configured anew.
    ///
    /// # Panics
    ///
    /// When they are not [`available`] for the factors, a register has more lines or none, or another [`Tiles`] of this thread has
    /// configured them.
    #[inline]
    pub(crate) fn configure(&mut self, lines: [u8; 8]) {
        if self.lines != Some(lines) {
            self.configure_anew(lines);
        }
    }

    #[cold]
    fn configure_anew(&mut self, lines: [u8; 8]) {
        let factors = self.factors;
        let possible = |&lines: &u8| (1..=LINES).contains(&usize::from(lines));
        assert!(
            available(factors) && lines.iter().all(possible),
            "tile registers for {factors:?}, of at most {LINES} lines"
        );
        if self.lines.is_none() {
            assert!(!TAKEN.replace(true), "the thread's tile registers are free");
        }
        self.lines = Some(lines);
        let configuration = Configuration::of(lines);
        // SAFETY: there is the instruction, as just checked, and it reads a configuration that is valid.
        unsafe {
            asm!(
                "ldtilecfg [{}]",
                in(reg) &raw const configuration,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly, preserves_flags)
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        if self.lines.is_some() {
            TAKEN.set(false);
            // SAFETY: there is the instruction, since the registers were configured.
            unsafe {
                asm!(
                    "tilerelease",
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, nomem, preserves_flags)
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_thread_has_its_registers_once() {
        if !available(Factors::Int8) {
            return;
        }
        let mut first = Tiles::of(Factors::Int8);
        first.configure([16; 8]);
        first.configure([3; 8]);
        let second = || Tiles::of(Factors::Int8).configure([16; 8]);
        assert!(catch_unwind(second).is_err(), "they are taken");
        drop(first);
        second();
        let none = || Tiles::of(Factors::Int8).configure([0; 8]);
        assert!(catch_unwind(none).is_err(), "every register has some");
        let too_many = || Tiles::of(Factors::Int8).configure([17; 8]);
        assert!(
            catch_unwind(too_many).is_err(),
            "no register has so many lines"
        );
        second();
    }
}
