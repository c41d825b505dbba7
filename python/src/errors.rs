//! Errors for Python: the classes of `epitome_onnx.errors`, and their messages.

use std::error::Error as StdError;

use epitome_runtime::Error;
use pyo3::prelude::*;

/// A class of `epitome_onnx.errors`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class {
    Document,
    Export,
    Generation,
    Library,
    Model,
    Parameter,
    Text,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Document => "DocumentError",
            Self::Export => "ExportError",
            Self::Generation => "GenerationError",
            Self::Library => "LibraryError",
            Self::Model => "ModelError",
            Self::Parameter => "ParameterError",
            Self::Text => "TextError",
        }
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::Parameter(error) if error.is_usage() => Self::Parameter,
            Error::EmptyText { .. } => Self::Text,
            Error::Library(_) => Self::Library,
            Error::OnnxRuntime { .. } | Error::Generate(_) => Self::Generation,
            _ => Self::Model,
        }
    }
}

/// An exception of this class.
pub(crate) fn exception(py: Python<'_>, class: Class, message: impl ToString) -> PyErr {
    let made = py
        .import("epitome_onnx.errors")
        .and_then(|errors| errors.getattr(class.name()))
        .and_then(|class| class.call1((message.to_string(),)));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// The exception for an error of the runtime.
pub(crate) fn of_runtime(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, Class::of(error), sentence(error))
}

/// An error and its causes, each once.
pub(crate) fn sentence(error: &(dyn StdError + 'static)) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !sentence.contains(&text) {
            sentence = format!("{sentence}: {text}");
        }
        cause = error.source();
    }
    sentence
}
