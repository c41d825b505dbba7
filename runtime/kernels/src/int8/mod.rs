//! int8 weights with a scale for each output: products with rows of unsigned integers, exact on
//! every processor.
//!
//! AVX2's `vpmaddubsw` adds pairs of products in 16 bits. Two products of a weight and of an
//! activation of `MAX_PAIRED_BITS` fit, `2 * 127 * 127 < 2^15`; of wider activations two could
//! saturate, so both factors are widened first. (NEON without dot products adds two, too, of
//! factors that are signed.)

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod amx;
mod layer;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use self::layer::Int8;
use crate::cpu::features;
#[cfg(target_arch = "x86_64")]
use crate::panels::MATRIX_GROUP;
use crate::panels::{BLOCK, GROUP, PANEL};
#[cfg(target_arch = "x86_64")]
use crate::simd::amx::{ElementType, TileRegisters};

/// Bits of an activation whose products two can be added in 16 bits.
#[cfg(target_arch = "x86_64")]
const MAX_PAIRED_BITS: u32 = 7;
/// Rows of a tile, at most.
#[cfg(any(target_arch = "x86_64", test))]
const MAX_ROWS: usize = 32;
/// Panels of a tile, at most.
const MAX_PANELS: usize = 4;
/// Sums of a tile, at most, in panels: rows times panels.
const MAX_SUMS: usize = 64;
/// Rows of a tile of AVX-512, at most; its sums are registers of 16.
const MAX_AVX512_ROWS: usize = 12;

/// The greatest magnitude of a weight: symmetrical, so that the sign costs nothing.
pub const MAX_WEIGHT: i8 = i8::MAX;

/// The sums of a tile, one for each output of a panel: those of row `row` and panel `panel` stand
/// at `row * panels + panel`.
type Sums = [[i32; PANEL]; MAX_SUMS];

/// How rows and panels are cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TileShape {
    /// Rows of a tile; the last tile may have fewer.
    mr: usize,
    /// Panels of a tile; where fewer are left, tiles have two or one.
    nr: usize,
    /// Inputs of a row that lie side by side: [`GROUP`] or `MATRIX_GROUP`.
    group: usize,
}

impl TileShape {
    /// Panels of the next tile where so many are left, which is one at least.
    fn next_panels(self, left: usize) -> usize {
        match left {
            _ if left >= self.nr => self.nr,
            1 => 1,
            _ => 2,
        }
    }
}

/// Some rows of activations and the panels they are multiplied with.
#[derive(Clone, Copy, Debug)]
struct Tile<'a> {
    /// The inputs of all rows, group by group: for each group of inputs, those of every row in
    /// turn. `rows * stride.next_multiple_of(group)` bytes; bytes that only fill the last group may
    /// have any value, since they meet weights of zero.
    activations: &'a [u8],
    /// How many rows.
    rows: usize,
    /// Inputs of a group, as in [`TileShape`].
    group: usize,
    /// Inputs of an output: a multiple of [`BLOCK`].
    stride: usize,
    /// Bits of an activation, 8 at most.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "AVX2 alone asks"))]
    activation_bits: u32,
    /// `panels * stride * PANEL` weights, of [`MAX_WEIGHT`] at most.
    weights: &'a [i8],
    /// How many panels.
    panels: usize,
}

impl Tile<'_> {
    /// Checks everything that the unchecked kernels rely on, except for the numbers of rows and
    /// panels.
    fn check(&self) {
        let padded = self.stride.checked_next_multiple_of(self.group);
        let panel = self.stride.checked_mul(PANEL);
        assert!(
            self.stride > 0
                && self.stride.is_multiple_of(BLOCK)
                && padded.and_then(|row| row.checked_mul(self.rows))
                    == Some(self.activations.len())
                && panel.and_then(|panel| panel.checked_mul(self.panels))
                    == Some(self.weights.len()),
            "rows and panels as long as the stride says"
        );
    }
}

/// A set of instructions that there is a kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// Plain Rust.
    Portable,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with the 256-bit dot products of AVX-VNNI.
    AvxVnni,
    /// x86-64 with the 512-bit dot products of AVX-512 VNNI.
    Avx512Vnni,
    /// x86-64 with AMX, for many rows, and AVX-512 VNNI.
    Amx,
    /// AArch64, all of which have NEON.
    Neon,
    /// AArch64 with the dot products of Armv8.2.
    DotProd,
}

impl Instructions {
    /// The best that this processor has.
    #[inline]
    pub fn detect() -> Self {
        let features = features();
        if features.amx_int8 {
            Self::Amx
        } else if features.avx512_vnni {
            Self::Avx512Vnni
        } else if features.avx_vnni {
            Self::AvxVnni
        } else if features.avx2 {
            Self::Avx2
        } else if features.dot_product {
            Self::DotProd
        } else if cfg!(target_arch = "aarch64") {
            Self::Neon
        } else {
            Self::Portable
        }
    }

    /// Those that this processor has.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        let features = features();
        let known = [
            (Self::Portable, true),
            (Self::Avx2, features.avx2),
            (Self::AvxVnni, features.avx_vnni),
            (Self::Avx512Vnni, features.avx512_vnni),
            (Self::Amx, features.amx_int8),
            (Self::Neon, cfg!(target_arch = "aarch64")),
            (Self::DotProd, features.dot_product),
        ];
        let available = known.into_iter().filter(|(_, available)| *available);
        available.map(|(instructions, _)| instructions).collect()
    }

    /// The tiles that suit `rows` rows.
    ///
    /// A tile's sums stay in registers, and many sums hide the latency of a dot product. Many rows
    /// share what is read of a panel. With few rows several panels are read at once, since memory
    /// gives more to several streams, unless the processor prefetches well for one stream and there
    /// is little arithmetic meanwhile.
    fn tile_shape(self, rows: usize) -> TileShape {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Amx && rows > MAX_AVX512_ROWS {
            return amx::tile_shape(rows);
        }
        let max_rows = match self {
            Self::Portable | Self::Avx2 | Self::Neon | Self::DotProd => 4,
            Self::AvxVnni => 6,
            Self::Avx512Vnni | Self::Amx => MAX_AVX512_ROWS,
        };
        let mr = rows.div_ceil(rows.div_ceil(max_rows).max(1));
        let across_pages = features().prefetches_across_pages;
        let nr = match (self, mr) {
            (Self::Avx512Vnni, 0..=3) if across_pages => 1,
            (Self::Avx512Vnni, 4..=8) if across_pages => 3,
            (Self::Avx512Vnni | Self::Amx, 0..=6) => MAX_PANELS,
            (Self::Avx512Vnni | Self::Amx, _) | (Self::AvxVnni, 0..=3) => 2,
            _ => 1,
        };
        TileShape { mr, nr, group: GROUP }
    }

    /// A multiplier with these instructions.
    fn multiplier(self) -> Multiplier {
        Multiplier {
            instructions: self,
            #[cfg(target_arch = "x86_64")]
            registers: TileRegisters::new(ElementType::Int8),
        }
    }
}

/// Multiplies tiles with a set of instructions. It keeps the tile registers configured from one
/// tile to the next: a thread has one multiplier at a time.
#[derive(Debug)]
struct Multiplier {
    instructions: Instructions,
    #[cfg(target_arch = "x86_64")]
    registers: TileRegisters,
}

impl Multiplier {
    /// Multiplies a tile; sums beyond the tile's are left alone.
    ///
    /// # Panics
    ///
    /// When the processor lacks these instructions, the tile has not the size of a
    /// [`TileShape`] or is shorter than it says, or another multiplier of this thread is at work.
    fn multiply(&mut self, tile: &Tile<'_>, sums: &mut Sums) {
        tile.check();
        match self.instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Amx if tile.group == MATRIX_GROUP => {
                amx::multiply(&mut self.registers, tile, sums);
            }
            _ if tile.group != GROUP => panic!("groups of {} inputs", tile.group),
            Instructions::Portable => portable::multiply(tile, sums),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => x86_64::avx2(tile, sums),
            #[cfg(target_arch = "x86_64")]
            Instructions::AvxVnni => x86_64::avx_vnni(tile, sums),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vnni | Instructions::Amx => x86_64::avx512_vnni(tile, sums),
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => aarch64::neon(tile, sums),
            #[cfg(target_arch = "aarch64")]
            Instructions::DotProd => aarch64::dot_product(tile, sums),
            #[allow(unreachable_patterns, reason = "those of other architectures")]
            other => panic!("{other:?} is of another architecture"),
        }
    }
}

#[cfg(test)]
mod tests;
