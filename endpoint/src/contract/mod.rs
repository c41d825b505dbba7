//! What SageMaker's clients send, and what they get.
//!
//! * `request`: reads a body in its format.
//! * `invocation`: what a body asks for, collected while it is read.
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
mod invocation;
mod json;
mod request;

pub(crate) use answers::{Answer, Answers};
pub(crate) use content_encoding::Coding;
pub(crate) use invocation::{Inputs, Invocation, Layout, Rules};
pub(crate) use request::parse;
