//! int8 weights with a scale for each output: products with rows of unsigned integers, exact on
//! every processor.
//!
//! AVX2's `vpmaddubsw` adds pairs of products in 16 bits. Two products of a weight and a 7-bit
//! activation fit, `2 * 127 * 127 < 2^15`. With 8-bit activations two products could saturate, so
//! both factors are widened first. NEON without dot products also adds two products in 16 bits, of
//! signed factors.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod amx;
mod layer;
mod portable;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use self::layer::Int8;
use self::tile::{MAX_PANELS, Sums, Tile, TileShape};
use crate::cpu::features;
use crate::panels::GROUP;
#[cfg(target_arch = "x86_64")]
use crate::panels::MATRIX_GROUP;
#[cfg(target_arch = "x86_64")]
use crate::simd::amx::{ElementType, TileRegisters};
use crate::simd::prefetch::prefers_one_stream;

/// Rows of an AVX-512 tile of several panels, at most. A register holds 16 sums.
const MAX_AVX512_ROWS: usize = 12;
/// Rows of an AVX-512 tile that reads its weights as one stream, at most.
const MAX_STREAM_TILE_ROWS: usize = 24;
/// Rows of a product up to which its weights are read as one stream. With more rows, tiles of
/// several panels are faster: they read the activations less often.
const MAX_STREAM_ROWS: usize = 64;

/// The greatest magnitude of a weight. The smallest weight is its negative.
pub const MAX_WEIGHT: i8 = i8::MAX;

/// An instruction set that has a kernel.
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
    /// AArch64 with NEON, which every AArch64 processor has.
    Neon,
    /// AArch64 with the dot products of Armv8.2.
    DotProd,
}

impl Instructions {
    /// The best instruction set of this processor.
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

    /// The instruction sets of this processor.
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

    /// The shape of tiles for `rows` rows and a layer of these sizes, inputs and outputs.
    ///
    /// The sums of a tile stay in registers, and many sums hide the latency of a dot product. With
    /// many rows, each weight that is read serves all of them. With few rows, several panels are
    /// read at once, since several streams from memory are faster than one. The exception is a
    /// large layer on a processor that prefetches across pages: see [`prefers_one_stream`].
    fn tile_shape(self, rows: usize, sizes: [usize; 2]) -> TileShape {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Amx && rows > MAX_AVX512_ROWS {
            return amx::tile_shape(rows);
        }
        let one_stream =
            self == Self::Avx512Vnni && rows <= MAX_STREAM_ROWS && prefers_one_stream(sizes);
        let max_rows = match self {
            _ if one_stream => MAX_STREAM_TILE_ROWS,
            Self::Portable | Self::Avx2 | Self::Neon | Self::DotProd => 4,
            Self::AvxVnni => 6,
            Self::Avx512Vnni | Self::Amx => MAX_AVX512_ROWS,
        };
        let mr = rows.div_ceil(rows.div_ceil(max_rows).max(1));
        let nr = match (self, mr) {
            _ if one_stream => 1,
            (Self::Avx512Vnni | Self::Amx, 0..=6) => MAX_PANELS,
            (Self::Avx512Vnni | Self::Amx, _) | (Self::AvxVnni, 0..=3) => 2,
            _ => 1,
        };
        TileShape { mr, nr, group: GROUP, one_stream }
    }

    /// A multiplier that uses this instruction set.
    fn multiplier(self) -> Multiplier {
        Multiplier {
            instructions: self,
            #[cfg(target_arch = "x86_64")]
            registers: TileRegisters::new(ElementType::Int8),
        }
    }
}

/// Multiplies tiles with an instruction set. It keeps the tile registers configured from one tile
/// to the next, so a thread has one multiplier at a time.
#[derive(Debug)]
struct Multiplier {
    instructions: Instructions,
    #[cfg(target_arch = "x86_64")]
    registers: TileRegisters,
}

impl Multiplier {
    /// Multiplies a tile. Sums beyond those of the tile do not change.
    ///
    /// # Panics
    ///
    /// When the processor lacks the instruction set, the tile's size is not that of a
    /// [`TileShape`], its slices are too short, or this thread uses another multiplier.
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
