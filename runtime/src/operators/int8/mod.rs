//! Products of rows of small unsigned integers with packed int8 weights: exact sums, whatever the
//! processor.
//!
//! Where the processor adds pairs of products in 16 bits (AVX2's `vpmaddubsw`), what the bits of both factors
//! come to decides how: four products of [`FOUR_FIT`] bits fit, `4 * 127 * 63 < 2^15`, and two of
//! [`TWO_FIT`], `2 * 127 * 127 < 2^15`; where even two could saturate, both factors are widened first. (NEON
//! without dot products adds two, too, of factors that are signed.)

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod amx;
mod layer;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::sync::OnceLock;

pub(crate) use self::layer::Int8;
pub use self::layer::{EMBEDDING, LINEAR, WEIGHT_BITS};

#[cfg(target_arch = "x86_64")]
use super::panels::MATRIX_GROUP;
use super::panels::{BLOCK, GROUP, PANEL};
use crate::simd::ahead::crosses_pages;
#[cfg(target_arch = "x86_64")]
use crate::simd::amx::{Factors, Tiles};

/// Bits of both factors together, of which four products can be added in 16 bits.
pub const FOUR_FIT: u32 = 14;
/// Bits of both factors together, of which two products can be added in 16 bits.
pub const TWO_FIT: u32 = 15;
/// Most rows of a tile.
pub const MOST_ROWS: usize = 32;
/// Most panels of a tile.
pub const MOST_PANELS: usize = 4;
/// Most sums of a tile, in panels: rows times panels.
const MOST_SUMS: usize = 64;
/// Most rows of a tile of AVX-512, whose sums are registers of 16.
const AVX512_ROWS: usize = 12;

/// Greatest magnitude of a weight of `bits` bits: symmetrical, so that the sign costs nothing.
pub const fn weight_limit(bits: u32) -> i8 {
    ((1i16 << (bits - 1)) - 1) as i8
}

/// The sums of a tile, one for each output of a panel: those of row `row` and panel `panel` stand at
/// `row * panels + panel`.
pub type Sums = [[i32; PANEL]; MOST_SUMS];

/// How rows and panels are cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of a tile; the last one may have less.
    pub rows: usize,
    /// Panels of a tile; where that many are not left, tiles have two or one.
    pub panels: usize,
    /// Inputs of a row that lie side by side: [`GROUP`] or `MATRIX_GROUP`.
    pub group: usize,
}

impl Shape {
    /// Panels of the next tile where so many are left, which is one at least.
    fn take(self, left: usize) -> usize {
        match left {
            _ if left >= self.panels => self.panels,
            1 => 1,
            _ => 2,
        }
    }
}

/// Some rows of activations and the panels they are multiplied with.
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    /// The inputs of all rows, group by group: for each group of inputs, those of every row in turn.
    /// `rows * stride.next_multiple_of(group)` bytes; what fills the last group may be anything, as it meets zeros.
    pub activations: &'a [u8],
    /// How many rows.
    pub rows: usize,
    /// Inputs of a group: what [`Shape`] has.
    pub group: usize,
    /// Inputs of an output: a multiple of [`BLOCK`].
    pub stride: usize,
    /// Bits of an activation and of a weight together, 16 at most; a weight of `b` bits lies within
    /// [`weight_limit`].
    pub bits: u32,
    /// `panels * stride * PANEL` weights.
    pub weights: &'a [i8],
    /// How many panels.
    pub panels: usize,
}

impl Tile<'_> {
    /// Everything the unchecked kernels rely on, the number of rows and panels left aside.
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

/// A set of instructions there is a kernel for.
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
    /// x86-64 with the matrix instructions of AMX, for many rows, and AVX-512 VNNI.
    Amx,
    /// AArch64, all of which have NEON.
    Neon,
    /// AArch64 with the dot products of Armv8.2.
    DotProd,
}

impl Instructions {
    /// The best that this processor has.
    pub fn detect() -> Self {
        static DETECTED: OnceLock<Instructions> = OnceLock::new();
        *DETECTED.get_or_init(|| Self::available().last().copied().unwrap_or(Self::Portable))
    }

    /// Those that this processor has, best last.
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                found.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni") {
                found.push(Self::AvxVnni);
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni")
            {
                found.push(Self::Avx512Vnni);
                if amx::available() {
                    found.push(Self::Amx);
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            found.push(Self::Neon);
            if std::arch::is_aarch64_feature_detected!("dotprod") {
                found.push(Self::DotProd);
            }
        }
        found
    }

    /// The tiles that `rows` rows are best cut into.
    ///
    /// A tile's sums stay in registers, and as many of them as there are registers hide how long a
    /// dot product takes. Many rows share what is read of a panel; where there are few, several panels
    /// are read at once, since memory gives more to several streams, unless the processor fetches ahead of one as well and
    /// there is little to do meanwhile.
    pub fn shape(self, rows: usize) -> Shape {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Amx && rows > AVX512_ROWS {
            return amx::shape(rows);
        }
        let most = match self {
            Self::Portable | Self::Avx2 | Self::Neon | Self::DotProd => 4,
            Self::AvxVnni => 6,
            Self::Avx512Vnni | Self::Amx => AVX512_ROWS,
        };
        let rows = rows.div_ceil(rows.div_ceil(most).max(1));
        let panels = match (self, rows) {
            (Self::Avx512Vnni, 0..=3) if crosses_pages() => 1,
            (Self::Avx512Vnni, 4..=8) if crosses_pages() => 3,
            (Self::Avx512Vnni | Self::Amx, 0..=6) => MOST_PANELS,
            (Self::Avx512Vnni | Self::Amx, _) | (Self::AvxVnni, 0..=3) => 2,
            _ => 1,
        };
        Shape {
            rows,
            panels,
            group: GROUP,
        }
    }

    /// What multiplies with them.
    pub fn multiplier(self) -> Multiplier {
        Multiplier {
            instructions: self,
            #[cfg(target_arch = "x86_64")]
            tiles: Tiles::of(Factors::Int8),
        }
    }
}

/// Multiplies tiles with a set of instructions. It keeps what these need from one tile to the next: a thread has one at a
/// time.
#[derive(Debug)]
pub struct Multiplier {
    instructions: Instructions,
    #[cfg(target_arch = "x86_64")]
    tiles: Tiles,
}

impl Multiplier {
    /// Multiplies a tile; sums beyond the tile's are left alone.
    ///
    /// # Panics
    ///
    /// When the processor lacks these instructions, or the tile is none of [`Instructions::shape`], or shorter
    /// than it says, or another one of this thread is at work.
    pub fn multiply(&mut self, tile: &Tile<'_>, sums: &mut Sums) {
        tile.check();
        match self.instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Amx if tile.group == MATRIX_GROUP => {
                amx::multiply(&mut self.tiles, tile, sums);
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
