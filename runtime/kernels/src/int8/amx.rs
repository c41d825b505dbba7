//! The product with the tile registers of x86-64's AMX.
//!
//! A tile register is sixteen rows of 64 bytes. It holds 64 inputs of sixteen rows of activations
//! or of the sixteen outputs of a panel. In memory, both have the order that the instruction needs.
//! (Intel 64 and IA-32 Architectures Software Developer's Manual, `TDPBUSD`.)

use std::arch::asm;

use super::tile::{MAX_PANELS, MAX_ROWS, Sums, Tile, TileShape};
use crate::panels::{MATRIX_GROUP as STEP, PANEL};
use crate::simd::amx::{ROW_BYTES, ROWS, TileRegisters};

/// Bytes of a tile register.
const REGISTER_BYTES: usize = ROWS * STEP;

/// The shape of tiles for `rows` rows. The sums of a tile fill the registers that the factors
/// leave.
pub(super) fn tile_shape(rows: usize) -> TileShape {
    let mr = rows.div_ceil(rows.div_ceil(MAX_ROWS));
    TileShape { mr, nr: if mr > ROWS { 2 } else { 4 }, group: STEP, one_stream: false }
}

/// Rows of each register. Registers 0 to 3 hold sums, 4 and 5 activations, 6 and 7 weights. If
/// there are more than sixteen rows, register 5 holds the activations of the rows after the first
/// sixteen, and registers 2 and 3 hold their sums. Otherwise all sums are those of the first rows.
fn register_rows(rows: usize) -> [u8; 8] {
    let (first, rest) = (rows.min(ROWS), rows.saturating_sub(ROWS));
    let second = if rest > 0 { rest } else { first };
    [first, first, second, second, first, second, ROWS, ROWS].map(|rows| rows as u8)
}

/// Writes the loop over the inputs of a tile. The first arguments are the registers and the offsets
/// of the activations. Then follow, for each panel, the register of its weights, the offset of its
/// tail, and its sums: `SUM += ACTIVATIONS to OFFSET` names two registers and the offset of the sum
/// in memory. Activations are loaded with a non-temporal hint, so that the panels of a tile stay in
/// the first-level cache.
macro_rules! product {
    (
        $product:expr;
        rows: $($rows:literal at $rows_at:literal),+;
        $(
            panel $panel:ident in $weights:literal at $tail_at:literal:
            $($sum:literal += $by:literal to $sum_at:literal),+;
        )+
    ) => {{
        let Product { activations, activations_step, panels, tails, steps, sums, sums_row } =
            $product;
        let [$($panel,)+ ..] = panels;
        // SAFETY: the loop reads `steps` steps of the rows and panels. If there are tails, it then
        // reads the last step of the rows and the tails. It writes the sums of the tile's rows. The
        // caller promises that the pointers are valid for this, and that the tile registers are
        // configured for these rows.
        unsafe {
            asm!(
                $($(concat!("tilezero tmm", $sum),)+)+
                "2:",
                $(
                    concat!(
                        "tileloaddt1 tmm", $rows,
                        ", [{activations} + {line} + ", $rows_at, "]"
                    ),
                )+
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

/// The operands of the loop, with pointers into a checked tile and its sums.
struct Product {
    /// The activations, and the bytes from one step to the next.
    activations: *const u8,
    activations_step: usize,
    /// The weights of each panel.
    panels: [*const i8; MAX_PANELS],
    /// The last, shorter step of each panel, padded to a register; null where there is none.
    tails: *const i8,
    /// Number of steps, at least one.
    steps: usize,
    /// The sums, and the bytes from one row's sums to the next row's.
    sums: *mut i32,
    sums_row: usize,
}

impl Product {
    /// # Safety
    ///
    /// The tile registers are configured with [`register_rows`], there is at least one step, and
    /// the pointers are those of a checked tile of `rows` rows and `panels` panels, of a tail for
    /// each panel, and of the sums.
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
        // SAFETY: the tile is checked, and its stride is a multiple of a step and not 0.
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
