//! What SageMaker's clients send, and what they get.
//!
//! * `request`: what a body asks for.
//! * `json`, `csv`: the formats of bodies; read in one pass, keeping nothing but texts and
//!   parameters.
//! * `bounded_value`: JSON values of parameters, bounded in number.
//! * `content_encoding`: bodies that came compressed.
//! * `answers`: bodies of answers.

mod answers;
mod bounded_value;
mod content_encoding;
mod csv;
#[cfg(test)]
mod fuzz;
mod json;
mod request;

pub(crate) use answers::{Answer, Answers};
pub(crate) use content_encoding::Coding;
pub(crate) use request::{Inputs, Invocation, Layout, Rules, parse};
