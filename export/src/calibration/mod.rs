//! Learning from documents what the matrices of a model are multiplied with.
//!
//! The model is written in float32, with [`observe`] before every linear layer, and summarizes the
//! documents one after the other, with its own generation defaults.

mod hessian;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug, Formatter};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use epitome_runtime::bundle::CalibrationRecord;
use epitome_runtime::bundle::digest;
use epitome_runtime::operators::observe::Observer;
use epitome_runtime::progress::Total;
use epitome_runtime::{GenerationParameters, Progress, SessionOptions, Summarizer};

use self::hessian::Hessian;
use crate::error::{Error, Result};
use crate::quantize::padded;

/// Documents to calibrate with.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// What they are called, such as the name of their file.
    pub name: String,
    /// Their texts. What is longer than the model's window is truncated.
    pub texts: Vec<String>,
}

impl Calibration {
    /// The texts, without those of blanks alone.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str).filter(|text| !text.trim().is_empty())
    }

    /// What a manifest says of it.
    pub(crate) fn record(&self) -> CalibrationRecord {
        let mut bytes = Vec::new();
        for text in self.texts() {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        CalibrationRecord {
            name: self.name.clone(),
            documents: self.texts().count(),
            digest: format!("sha256:{}", digest::bytes(&bytes)),
        }
    }
}

/// Which tensors of the graphs each matrix reads, by their names.
#[derive(Debug, Default)]
pub(crate) struct Readers(BTreeMap<String, BTreeSet<String>>);

impl Readers {
    /// A matrix reads the tensor. Whether it is the first that does.
    pub(crate) fn add(&mut self, matrix: &str, tensor: &str) -> bool {
        let is_first = !self.0.values().any(|tensors| tensors.contains(tensor));
        self.0.entry(matrix.into()).or_default().insert(tensor.into());
        is_first
    }
}

/// What the tensors of a model's graphs were.
#[derive(Default)]
struct Observed(Mutex<BTreeMap<String, Hessian>>);

impl Debug for Observed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Observed")
    }
}

impl Observer for Observed {
    fn observe(&self, tensor: &str, values: &[f32], size: usize) {
        let mut hessians = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hessian = hessians.entry(tensor.into()).or_insert_with(|| Hessian::new(size));
        if hessian.size() == size {
            hessian.add(values);
        }
    }
}

/// What each matrix was multiplied with.
#[derive(Debug)]
pub(crate) struct Hessians {
    readers: Readers,
    of_tensors: BTreeMap<String, Hessian>,
}

impl Hessians {
    /// Summarizes the documents with the bundle at `folder`.
    pub(crate) fn of(
        folder: &Path,
        readers: Readers,
        calibration: &Calibration,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let observed = Arc::new(Observed::default());
        let options = SessionOptions {
            prepack: false,
            // The threads of this session wait while others add up.
            spin: false,
            observer: Some(observed.clone()),
            ..SessionOptions::default()
        };
        let mut summarizer = Summarizer::open_with(folder, &options)?;
        progress.start("Calibrating", Total::Items(calibration.texts().count() as u64));
        for text in calibration.texts() {
            let mut watch = Watch(progress);
            let parameters = GenerationParameters::default();
            // One by one: in which order rows are added is then the same each time.
            summarizer.summarize_observed(&[text], &parameters, &mut watch)?;
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
            progress.advance(1);
        }
        drop(summarizer);
        let mut of_tensors =
            std::mem::take(&mut *observed.0.lock().unwrap_or_else(PoisonError::into_inner));
        of_tensors.values_mut().for_each(Hessian::flush);
        Ok(Self { readers, of_tensors })
    }

    /// The sum of the products of what the matrix read: the upper half of `[padded, padded]`. None
    /// where nobody watched it, or where it read nothing.
    pub(crate) fn of_matrix(&self, matrix: &str, size_in: usize) -> Option<Vec<f32>> {
        let tensors = self.readers.0.get(matrix)?;
        let mut hessians = tensors
            .iter()
            .filter_map(|tensor| self.of_tensors.get(tensor))
            .filter(|hessian| hessian.size() == size_in)
            .peekable();
        hessians.peek()?;
        let stride = padded(size_in);
        let mut matrix = vec![0.0; stride * stride];
        hessians.for_each(|hessian| hessian.add_to(&mut matrix, stride));
        Some(matrix)
    }
}

/// Lets the user stop a summary, and shows none.
struct Watch<'a>(&'a dyn Progress);

impl Progress for Watch<'_> {
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

/// What the weights of a model know of documents while its graphs are written.
#[derive(Debug)]
pub(crate) enum Stage<'a> {
    /// Nothing.
    None,
    /// The graphs are written to be watched.
    Observing(Readers),
    /// What the matrices are multiplied with.
    Known(&'a Hessians),
}
