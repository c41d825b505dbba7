//! The tile registers of x86-64's AMX.
//!
//! A tile register is up to sixteen rows of up to 64 bytes. (Intel 64 and IA-32 Architectures
//! Software Developer's Manual, volume 1, chapter 18.)

use std::arch::asm;
use std::cell::Cell;
use std::marker::PhantomData;

use crate::cpu::features;

/// Rows of a tile register.
pub(crate) const ROWS: usize = 16;
/// Bytes of a row.
pub(crate) const ROW_BYTES: usize = 64;

/// Element type of the tile registers that are multiplied.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ElementType {
    /// Bytes (`TDPBUSD`).
    Int8,
    /// bfloat16 (`TDPBF16PS`).
    Bfloat16,
}

impl ElementType {
    /// Whether this process can multiply tile registers of this type.
    pub(crate) fn is_available(self) -> bool {
        match self {
            Self::Int8 => features().amx_int8,
            Self::Bfloat16 => features().amx_bf16,
        }
    }
}

/// The sizes of the tile registers, as `LDTILECFG` reads them.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// Configures eight registers. Each has the given number of whole rows.
    fn new(rows_of_registers: [u8; 8]) -> Self {
        let (mut rows, mut row_bytes) = ([0; 16], [0; 16]);
        rows[..8].copy_from_slice(&rows_of_registers);
        row_bytes[..8].fill(ROW_BYTES as u16);
        Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
    }
}

thread_local! {
    /// Whether a [`TileRegisters`] of this thread has configured the registers.
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// The tile registers of a thread, which are released on drop. Configuring and releasing them takes
/// a fourth of the time of a product, so one value is used for many products.
#[derive(Debug)]
pub(crate) struct TileRegisters {
    element_type: ElementType,
    /// Rows of each register, once they are configured.
    rows: Option<[u8; 8]>,
    /// The registers belong to the thread.
    not_send: PhantomData<*mut ()>,
}

impl TileRegisters {
    /// Registers of an element type, which are not configured yet.
    pub(crate) fn new(element_type: ElementType) -> Self {
        Self { element_type, rows: None, not_send: PhantomData }
    }

    /// Configures the number of whole rows of each register, 1 to [`ROWS`]. A change of the
    /// configuration clears the registers.
    ///
    /// # Panics
    ///
    /// When the element type is not available, a number of rows is not 1 to [`ROWS`], or another
    /// [`TileRegisters`] of this thread has configured the registers.
    #[inline]
    pub(crate) fn configure(&mut self, rows: [u8; 8]) {
        if self.rows != Some(rows) {
            self.reconfigure(rows);
        }
    }

    #[cold]
    fn reconfigure(&mut self, rows: [u8; 8]) {
        let element_type = self.element_type;
        let possible = |&rows: &u8| (1..=ROWS).contains(&usize::from(rows));
        assert!(
            element_type.is_available() && rows.iter().all(possible),
            "tile registers for {element_type:?}, of 1 to {ROWS} rows"
        );
        if self.rows.is_none() {
            assert!(!TAKEN.replace(true), "the thread's tile registers are free");
        }
        self.rows = Some(rows);
        let configuration = Configuration::new(rows);
        // SAFETY: the processor has the instruction, and it reads a valid configuration.
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

impl Drop for TileRegisters {
    fn drop(&mut self) {
        if self.rows.is_some() {
            TAKEN.set(false);
            // SAFETY: the processor has the instruction, since the registers were configured.
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
        if !ElementType::Int8.is_available() {
            return;
        }
        let mut first = TileRegisters::new(ElementType::Int8);
        first.configure([16; 8]);
        first.configure([3; 8]);
        let second = || TileRegisters::new(ElementType::Int8).configure([16; 8]);
        assert!(catch_unwind(second).is_err(), "they are taken");
        drop(first);
        second();
        let none = || TileRegisters::new(ElementType::Int8).configure([0; 8]);
        assert!(catch_unwind(none).is_err(), "every register has a row");
        let too_many = || TileRegisters::new(ElementType::Int8).configure([17; 8]);
        assert!(catch_unwind(too_many).is_err(), "no register has so many rows");
        second();
    }
}
