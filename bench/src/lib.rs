//! Measures epitome's own code. To measure a model, there is `epitome-evaluation`.
//!
//! | module | holds |
//! | --- | --- |
//! | [`gate`] | counts instructions and compares them with a stored baseline |
//! | [`tokens`] | generation from token ids, for the comparison with other engines |
//! | [`roofline`] | the memory bandwidth and the arithmetic throughput of the machine |
//! | [`fixtures`] | the repository's trained model and documents |
//! | [`models`] | bundles to measure on, trained or random |
//! | [`random_checkpoint`] | random weights of a stated shape |
//! | [`mock_logits`] | a decoder that costs nothing |

pub mod fixtures;
pub mod gate;
pub mod mock_logits;
pub mod models;
mod random;
pub mod random_checkpoint;
pub mod roofline;
pub mod tokens;
