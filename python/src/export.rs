//! Checkpoints to bundles, and models by their names.

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
    /// A file of them.
    File(PathBuf),
    /// Their texts.
    Texts(Vec<String>),
}

impl Documents {
    fn read(self) -> Result<Calibration, Failure> {
        match self {
            Self::File(path) => operations::read_calibration(&path),
            Self::Texts(texts) => Ok(Calibration { name: "a list".into(), texts }),
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
    let signals = Signals::new(py)?;
    let result = py.detach(|| {
        let calibration = calibrate.map(Documents::read).transpose()?;
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

/// Where a model lies: a path that is there, a bundle of the store by its name, or one of the hub,
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
