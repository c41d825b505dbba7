//! The native part of the Python package `epitome_onnx`.
//!
//! | module | content |
//! | --- | --- |
//! | `model` | an open bundle: texts to summaries |
//! | `generate` | generation from token ids, like transformers' `generate` |
//! | `stream` | pieces of text while they are generated |
//! | `export` | exports, and models of the hub |
//! | `parameters` | keyword arguments to generation parameters |
//! | `signals` | Ctrl-C while Python waits |
//! | `errors` | errors to the classes of `epitome_onnx.errors` |

mod errors;
mod export;
mod generate;
mod lock;
mod model;
mod parameters;
mod signals;
mod stream;

use pyo3::prelude::*;

/// The content of the native module.
#[pymodule]
mod _epitome {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use epitome::this_program;
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::export::{export, locate, pull};
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::stream::Pieces;

    /// Sets the program that runs the command line in another process, with the arguments `before`.
    #[pyfunction]
    fn use_program(program: PathBuf, before: Vec<OsString>) {
        this_program::set(program, before);
    }

    /// Runs the command line, and ends the process.
    #[pyfunction]
    fn main(py: Python<'_>, arguments: Vec<OsString>) {
        let command = [vec!["epitome".into()], arguments].concat();
        py.detach(|| epitome::main(command));
    }

    /// Loads ONNX Runtime from this file, unless `ORT_DYLIB_PATH` names another.
    #[pyfunction]
    fn use_library(path: PathBuf) {
        epitome_runtime::library::prefer(path);
    }
}
