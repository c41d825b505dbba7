//! Requests and answers of SageMaker's clients.
//!
//! * `request`: reads a body in its format.
//! * `invocation`: the content of a body, collected while it is read.
//! * `json`, `csv`, `npy`: the formats of bodies, read in one pass that keeps only texts and
//!   parameters.
//! * `json::chat`: bodies of OpenAI's clients.
//! * `parameters`: parameters of `generate`, and further ones that clients send.
//! * `bounded_value`: JSON values of parameters, bounded in number.
//! * `content_encoding`: compressed bodies.
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
