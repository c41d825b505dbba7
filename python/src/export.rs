//! Exports, and models by their names.

use std::path::PathBuf;

use epitome::operations::{self, Failure};
use epitome_export::{Calibration, ExportOptions};
use epitome_runtime::bundle::{Layout, Precision};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;

use crate::errors::{Class, exception};
use crate::signals::Signals;

/// Documents to calibrate with.
#[derive(FromPyObject)]
pub(crate) enum Documents {
    /// A file or a folder of documents.
    File(PathBuf),
    /// The texts of documents.
    Texts(Vec<String>),
}

impl Documents {
    /// Reads the first `limit` documents; the texts of a table are in the column `text_column`.
    fn read(self, text_column: Option<&str>, limit: usize) -> Result<Calibration, Failure> {
        match self {
            Self::File(path) => operations::read_calibration(&path, text_column, limit),
            Self::Texts(texts) => {
                let texts = texts.into_iter().filter(|text| !text.trim().is_empty());
                Ok(Calibration { name: "a list".into(), texts: texts.take(limit).collect() })
            }
        }
    }
}

/// Exports the checkpoint at `source` to the folder `output`.
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "those of the Python function")]
pub(crate) fn export(
    py: Python<'_>,
    source: PathBuf,
    output: PathBuf,
    precision: &str,
    base: Option<PathBuf>,
    layout: &str,
    verify: bool,
    calibrate: Option<Documents>,
    calibrate_limit: usize,
    text_column: Option<String>,
) -> PyResult<()> {
    let precision = parse_precision(py, precision)?;
    let layout = match layout {
        "bundle" => Layout::Bundle,
        "optimum" => Layout::Optimum,
        other => {
            let message = format!("layout is '{other}', and must be 'bundle' or 'optimum'");
            return Err(exception(py, Class::Parameter, message));
        }
    };
    if calibrate_limit == 0 {
        let message = "calibrate_limit is 0, and must be at least 1";
        return Err(exception(py, Class::Parameter, message));
    }
    if text_column.is_some() && !matches!(calibrate, Some(Documents::File(_))) {
        let message = "text_column is that of a file to calibrate with: give calibrate a file";
        return Err(exception(py, Class::Parameter, message));
    }
    let signals = Signals::new(py)?;
    let result = py.detach(|| {
        let text_column = text_column.as_deref();
        let calibration = calibrate.map(|documents| documents.read(text_column, calibrate_limit));
        let calibration = calibration.transpose()?;
        let options = ExportOptions {
            layout,
            verify,
            precision,
            calibration: calibration.as_ref(),
            progress: &signals,
            ..ExportOptions::default()
        };
        operations::export(&source, base.as_deref(), &output, options)
    });
    signals.or(())?;
    result.map(drop).map_err(|failure| raised(py, Class::Export, &failure))
}

/// Fetches a model of the hub into the store, and returns its name there.
#[pyfunction]
pub(crate) fn pull(
    py: Python<'_>,
    id: &str,
    name: Option<&str>,
    precision: &str,
    base: Option<String>,
    verify: bool,
) -> PyResult<String> {
    let precision = parse_precision(py, precision)?;
    let signals = Signals::new(py)?;
    let result = py.detach(|| operations::pull(id, name, base, precision, verify, &signals));
    signals.or(())?;
    result.map_err(|failure| raised(py, Class::Model, &failure))
}

/// The path of a model: an existing path, a bundle of the store by its name, or a model of the hub,
/// which is pulled to the store first.
#[pyfunction]
pub(crate) fn locate(py: Python<'_>, model: PathBuf) -> PyResult<PathBuf> {
    let signals = Signals::new(py)?;
    let located = py.detach(|| operations::locate(&model, &signals));
    signals.or(())?;
    located.map_err(|failure| raised(py, Class::Model, &failure))
}

fn parse_precision(py: Python<'_>, name: &str) -> PyResult<Precision> {
    name.parse().map_err(|error| exception(py, Class::Parameter, format!("precision: {error}")))
}

fn raised(py: Python<'_>, class: Class, failure: &Failure) -> PyErr {
    match failure.is_interrupted {
        true => PyKeyboardInterrupt::new_err(()),
        false => exception(py, class, failure),
    }
}
