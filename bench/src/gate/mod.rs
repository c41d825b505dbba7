//! The gate: does this commit make anything slower?
//!
//! Two measures, for machines that others use too:
//!
//! * **Instructions**, counted by valgrind's callgrind over exactly the work of a probe, ONNX Runtime's
//!   part included. They are the same whatever else the machine does, so a change of
//!   [`decision::INSTRUCTIONS_TOLERANCE`] is told with certainty; but they only tell of the work, not of
//!   how well memory feeds it.
//! * **Time** on the processor, as its ratio to a [`calibration`] load, in the same process and in turns
//!   of a millisecond. Such a ratio moves little when the machine slows down as a whole. How little is
//!   learnt from the baseline, which holds thirty *looks* (each a process of its own, since where a
//!   process happens to lie in memory matters too), and a run of the gate takes looks until it is certain:
//!   see [`decision`].
//!
//! | module | holds |
//! | --- | --- |
//! | [`probe`] | the work that is measured |
//! | [`calibration`] | the work it is measured against, which never changes |
//! | [`look`] | one measurement of time |
//! | [`instructions`] | one count of instructions |
//! | [`decision`] | when a measurement is an alarm: arithmetic alone |
//! | [`baseline`] | what is compared with |
//! | [`run`] | the gate itself |
//! | [`study`] | how often it is wrong, measured |

pub mod baseline;
pub mod calibration;
mod callgrind;
mod clock;
pub mod decision;
pub mod instructions;
pub mod look;
pub mod probe;
pub mod run;
pub mod study;
