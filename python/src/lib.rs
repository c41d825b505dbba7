//! The native half of the Python package `epitome_onnx`, which gives it types and shapes.
//!
//! | module | holds |
//! | --- | --- |
//! | `model` | an open bundle: texts to summaries |
//! | `generate` | token ids to token ids, as transformers' `generate` |
//! | `stream` | pieces of text while they are generated |
//! | `export` | a checkpoint to a bundle, models of the hub |
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

/// What `epitome_onnx` is made of.
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

    /// Says which program, with the arguments `before`, runs the command line in another process.
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
