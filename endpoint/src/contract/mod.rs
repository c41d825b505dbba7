//! What SageMaker's clients send, and what they get.
//!
//! * `request`: reads a body in its format.
//! * `invocation`: what a body asks for, collected while it is read.
//! * `json`, `csv`, `npy`: the formats of bodies; read in one pass, keeping nothing but texts and
//!   parameters.
//! * `json::chat`: bodies as OpenAI's clients send them.
//! * `parameters`: those of `generate`, and what clients send beside them.
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
mod npy;
mod parameters;
mod request;

pub(crate) use answers::{Answer, Answers, IsSpecial};
pub(crate) use content_encoding::Coding;
pub(crate) use invocation::{Inputs, Invocation, Layout, Rules, TransformJob};
pub(crate) use json::chat::{ChatRequest, Style, model_name};
pub(crate) use request::{parse, parse_chat};
