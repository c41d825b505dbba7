//! The gate: does this commit need more instructions than the stored baseline?
//!
//! valgrind's callgrind counts the instructions of each [`Probe`], ONNX Runtime's part included. A
//! count does not depend on what else the machine does, nor on its processor, since valgrind shows
//! the same one to every program. It says nothing of waiting for memory.
//!
//! | module | holds |
//! | --- | --- |
//! | [`probe`] | the work that is measured |
//! | [`counting`] | counts the work's instructions in a process under valgrind |
//! | [`baseline`] | the stored counts, and what they were made with |
//! | [`check`] | compares counts with the baseline |

pub mod baseline;
mod callgrind;
pub mod check;
pub mod counting;
pub mod probe;

pub use probe::Probe;
