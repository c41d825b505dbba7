//! What SageMaker's clients send, and what they get: formats, requests and answers.

mod answer;
mod media;
mod request;

pub(crate) use answer::{Answer, Answers};
pub use media::Format;
pub(crate) use media::{accepted, sent};
pub(crate) use request::{Invocation, Item, parse};
