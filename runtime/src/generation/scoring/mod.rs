//! Arithmetic over whole rows of scores, where a search spends most of its time.
//!
//! Every kernel is plain Rust over a fixed number of lanes. It is compiled for the baseline and for
//! each useful instruction set ([`epitome_kernels::dispatch!`]). Lanes are combined in a fixed
//! order and multiplications are never fused, so every version gives the same bits on every
//! machine.

pub(crate) mod normalizer;
pub(crate) mod top_k;
pub(crate) mod torch_topk;

/// Number of independent accumulators: two AVX-512, four AVX or eight SSE/NEON registers, enough to
/// hide the latency of additions.
pub(crate) const LANES: usize = 32;

/// Number of scores in a block. The maximum of each block is kept, so that ranking can skip blocks.
pub(crate) const BLOCK: usize = 256;
