//! The product with the tile registers of x86-64's AMX.
//!
//! A tile register is sixteen rows of 64 bytes. It holds 64 inputs of sixteen rows of activations,
//! or of a panel's sixteen outputs, which lie in memory as the instruction wants them. (Intel 64
//! and IA-32 Architectures Software Developer's Manual, `TDPBUSD`.)

use std::arch::asm;

use super::{MAX_PANELS, MAX_ROWS, Sums, Tile, TileShape};
use crate::panels::{MATRIX_GROUP as STEP, PANEL};
use crate::simd::amx::{ROW_BYTES, ROWS, TileRegisters};

/// Bytes of a tile register.
const REGISTER_BYTES: usize = ROWS * STEP;

/// The tiles that many rows are cut into: as many sums as there are registers for beside the
/// factors.
pub(super) fn tile_shape(rows: usize) -> TileShape {
    let mr = rows.div_ceil(rows.div_ceil(MAX_ROWS));
    TileShape { mr, nr: if mr > ROWS { 2 } else { 4 }, group: STEP }
}

/// Rows of each register. Registers 0 to 3 hold sums, 4 and 5 activations, 6 and 7 weights.
/// Register 5 holds the activations of the rows beyond the first sixteen, and 2 and 3 their sums;
/// where there are no such rows, all sums are of the first.
fn register_rows(rows: usize) -> [u8; 8] {
    let (first, second) = (rows.min(ROWS), rows.saturating_sub(ROWS));
    let beyond = if second > 0 { second } else { first };
    [first, first, beyond, beyond, first, beyond, ROWS, ROWS].map(|rows| rows as u8)
}

/// Writes the loop over a tile's inputs. The arguments are the registers and offsets of its
/// activations, and for each panel the register and offset of its weights, the sums they make with
/// which activations, and the offsets of these sums. Activations are loaded with the hint that they
/// pass once, so that a tile's panels stay in the first-level cache.
macro_rules! product {
    (
        $product:expr;
        rows: $($of_rows:literal at $rows_at:literal),+;
        $(panel $panel:ident in $weights:literal at $tail_at:literal: $($sum:literal += $by:literal to $sum_at:literal),+;)+
    ) => {{
        let Product { activations, activations_step, panels, tails, steps, sums, sums_row } = $product;
        let [$($panel,)+ ..] = panels;
        // SAFETY: as the caller has it: the loop reads `steps` steps of the rows and panels, then,
        // where there are tails, the rows' last step and the tails, and writes as many rows of sums
        // as the tile has. The tile registers are configured for these.
        unsafe {
            asm!(
                $($(concat!("tilezero tmm", $sum),)+)+
                "2:",
                $(concat!("tileloaddt1 tmm", $of_rows, ", [{activations} + {line} + ", $rows_at, "]"),)+
                $(
                    concat!("tileloadd tmm", $weights, ", [{", stringify!($panel), "} + {line}]"),
                    $(concat!("tdpbusd tmm", $sum, ", tmm", $by, ", tmm", $weights),)+
                    concat!("add {", stringify!($panel), "}, 1024"),
                )+
                "add {activations}, {step}",
                "dec {steps}",
                "jnz 2b",
                "test {tails}, {tails}",
                "jz 3f",
                $(concat!("lea {", stringify!($panel), "}, [{tails} + ", $tail_at, "]"),)+
                "xor {tails:e}, {tails:e}",
                "inc {steps}",
                "jmp 2b",
                "3:",
                $($(concat!("tilestored [{sums} + {sums_row} + ", $sum_at, "], tmm", $sum),)+)+
                activations = inout(reg) activations => _,
                step = in(reg) activations_step,
                $($panel = inout(reg) $panel => _,)+
                tails = inout(reg) tails => _,
                steps = inout(reg) steps => _,
                line = in(reg) STEP,
                sums = in(reg) sums,
                sums_row = in(reg) sums_row,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }};
}

/// The operands of a loop. Its pointers are those of a checked tile and of its sums.
struct Product {
    /// The activations, and the bytes from one step to the next.
    activations: *const u8,
    activations_step: usize,
    /// The weights of each panel.
    panels: [*const i8; MAX_PANELS],
    /// The last, shorter step of each panel, padded to a register; null where there is none.
    tails: *const i8,
    /// At least one.
    steps: usize,
    /// The sums, and the bytes from one row's sums to the next row's.
    sums: *mut i32,
    sums_row: usize,
}

impl Product {
    /// # Safety
    ///
    /// The tile registers have the [`register_rows`] of so many rows, there is a step, and the
    /// pointers are those of a checked tile of so many rows and panels, of a tail for each panel,
    /// and of their sums.
    unsafe fn run(self, rows: usize, panels: usize) {
        match (rows, panels) {
            (0..=ROWS, 1) => product!(self; rows: 4 at 0; panel b0 in 6 at 0: 0 += 4 to 0;),
            (0..=ROWS, 2) => product!(self; rows: 4 at 0;
                panel b0 in 6 at 0: 0 += 4 to 0;
                panel b1 in 7 at 1024: 1 += 4 to 64;),
            (0..=ROWS, 4) => product!(self; rows: 4 at 0;
                panel b0 in 6 at 0: 0 += 4 to 0;
                panel b1 in 7 at 1024: 1 += 4 to 64;
                panel b2 in 6 at 2048: 2 += 4 to 128;
                panel b3 in 7 at 3072: 3 += 4 to 192;),
            (_, 1) => product!(self; rows: 4 at 0, 5 at 1024;
                panel b0 in 6 at 0: 0 += 4 to 0, 2 += 5 to 1024;),
            (_, 2) => product!(self; rows: 4 at 0, 5 at 1024;
                panel b0 in 6 at 0: 0 += 4 to 0, 2 += 5 to 2048;
                panel b1 in 7 at 1024: 1 += 4 to 64, 3 += 5 to 2112;),
            other => panic!("a tile of {other:?} rows and panels"),
        }
    }
}

pub(super) fn multiply(registers: &mut TileRegisters, tile: &Tile<'_>, sums: &mut Sums) {
    const { assert!(STEP == ROW_BYTES && PANEL == ROWS) };
    let (rows, panels) = (tile.rows, tile.panels);
    assert!((1..=MAX_ROWS).contains(&rows), "1 to {MAX_ROWS} rows and not {rows}");
    registers.configure(register_rows(rows));
    let panel_size = tile.stride * PANEL;
    let mut product = Product {
        activations: tile.activations.as_ptr(),
        activations_step: rows * STEP,
        panels: [tile.weights.as_ptr(); MAX_PANELS],
        tails: std::ptr::null(),
        steps: tile.stride / STEP,
        sums: sums.as_mut_ptr().cast(),
        sums_row: panels * PANEL * size_of::<i32>(),
    };
    for (index, panel) in product.panels[..panels].iter_mut().enumerate() {
        *panel = tile.weights[index * panel_size..].as_ptr();
    }
    let rest = tile.stride % STEP * PANEL;
    if rest == 0 {
        // SAFETY: the tile is checked, and a stride that is a multiple of a step holds one at
        // least.
        return unsafe { product.run(rows, panels) };
    }
    let mut tails = [[0; REGISTER_BYTES]; MAX_PANELS];
    for (tail, panel) in tails.iter_mut().zip(tile.weights.chunks_exact(panel_size)) {
        tail[..rest].copy_from_slice(&panel[panel_size - rest..]);
    }
    if product.steps > 0 {
        product.tails = tails.as_ptr().cast();
    } else {
        product.steps = 1;
        product.panels = std::array::from_fn(|panel| tails[panel].as_ptr());
    }
    // SAFETY: the tile is checked, and there is a tail for each panel.
    unsafe { product.run(rows, panels) };
}
