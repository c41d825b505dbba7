//! The arithmetic over whole rows of scores, where a search spends its time.
//!
//! Every kernel is plain Rust over a fixed number of lanes, compiled once for the baseline and once
//! for each instruction set that pays ([`epitome_kernels::dispatch!`]). Lanes are combined in a
//! fixed order and multiplications are never fused, so the result is the same bit for bit whichever
//! version runs, on every machine.

pub(crate) mod normalizer;
pub(crate) mod top_k;
pub(crate) mod torch_topk;

/// Independent accumulators: two AVX-512, four AVX or eight SSE/NEON registers, enough to hide the
/// latency of adding.
pub(crate) const LANES: usize = 32;

/// Scores whose maximum is kept, so that ranking can pass over those that cannot matter.
pub(crate) const BLOCK: usize = 256;
