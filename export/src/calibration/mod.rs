//! Calibration: records the inputs of a model's matrices on documents, for GPTQ.
//!
//! The model is written in float32 with an [`observe`] operator before every linear layer. It
//! summarizes the documents one after the other, with its own generation defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug, Formatter};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use epitome_quantize::{Hessian, InputProducts, padded, rounding_bytes};
use epitome_runtime::bundle::CalibrationRecord;
use epitome_runtime::bundle::digest::Digest;
use epitome_runtime::operators::observe::ActivationObserver;
use epitome_runtime::progress::{Cancelled, Total};
use epitome_runtime::{GenerationParameters, Progress, SessionOptions, Summarizer};

use crate::error::{Error, Result};

/// Calibration documents.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Name of the documents for messages and the manifest, such as their file name.
    pub name: String,
    /// Texts of the documents. Texts longer than the model's window are truncated.
    pub texts: Vec<String>,
}

impl Calibration {
    /// The texts that are not blank.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str).filter(|text| !text.trim().is_empty())
    }

    /// The manifest's record of the calibration.
    pub(crate) fn record(&self) -> CalibrationRecord {
        let mut digest = Digest::default();
        for text in self.texts() {
            digest.update(&(text.len() as u64).to_le_bytes());
            digest.update(text.as_bytes());
        }
        CalibrationRecord {
            name: self.name.clone(),
            documents: self.texts().count(),
            digest: format!("sha256:{}", digest.finish()),
        }
    }
}

/// Memory limit of the calibration.
const MAX_BYTES: u64 = 8 << 30;

/// The tensors that each matrix reads, by name.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Readers {
    tensors: BTreeMap<String, BTreeSet<String>>,
    /// Number of columns of each tensor.
    sizes: BTreeMap<String, usize>,
}

impl Readers {
    /// Adds a matrix that reads `tensor`, with rows of `size`. Returns whether it is the first.
    pub(crate) fn add(&mut self, matrix: &str, tensor: &str, size: usize) -> bool {
        self.tensors.entry(matrix.into()).or_default().insert(tensor.into());
        self.sizes.insert(tensor.into(), size).is_none()
    }

    /// Checks that the memory suffices for the Hessians of all tensors, and for rounding with the
    /// largest.
    pub(crate) fn check_memory(&self) -> Result<()> {
        let sums: u64 = self.sizes.values().map(|&size| Hessian::bytes(size)).sum();
        let rounding = self.sizes.values().max().map_or(0, |&size| rounding_bytes(size));
        match sums + rounding {
            needed if needed > MAX_BYTES => {
                Err(Error::CalibrationMemory { needed, allowed: MAX_BYTES })
            }
            _ => Ok(()),
        }
    }
}

/// Hessians of the observed tensors, by name.
#[derive(Default)]
struct Observed(Mutex<BTreeMap<String, Hessian>>);

impl Debug for Observed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Observed")
    }
}

impl ActivationObserver for Observed {
    fn observe(&self, tensor: &str, values: &[f32], size: usize) {
        let mut hessians = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hessian = hessians.entry(tensor.into()).or_insert_with(|| Hessian::new(size));
        if hessian.size() == size {
            hessian.add(values);
        }
    }
}

/// Hessians of the inputs of each matrix.
#[derive(Debug, PartialEq)]
pub(crate) struct Hessians {
    readers: Readers,
    of_tensors: BTreeMap<String, Hessian>,
}

impl Hessians {
    /// Summarizes the documents with the bundle in `folder`.
    pub(crate) fn of(
        folder: &Path,
        readers: Readers,
        calibration: &Calibration,
        options: SessionOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let observed = Arc::new(Observed::default());
        let options = SessionOptions { observer: Some(observed.clone()), ..options };
        // A time limit would make the result irreproducible.
        let parameters =
            GenerationParameters { cleared: BTreeSet::from(["max_time"]), ..Default::default() };
        let mut summarizer = Summarizer::open_with(folder, &options)?;
        progress.start("Calibrating", Total::Items(calibration.texts().count() as u64));
        for (index, text) in calibration.texts().enumerate() {
            let mut stop = Cancelled(progress);
            // Documents are summarized one by one, so that rows are added in a fixed order.
            let summarized = summarizer.summarize_observed(&[text], &parameters, &mut stop);
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
            summarized.map_err(|error| Error::Calibrating {
                document: index + 1,
                problem: error.to_string(),
            })?;
            progress.advance(1);
        }
        drop(summarizer);
        let mut of_tensors =
            std::mem::take(&mut *observed.0.lock().unwrap_or_else(PoisonError::into_inner));
        of_tensors.values_mut().for_each(Hessian::flush);
        Ok(Self { readers, of_tensors })
    }

    /// The Hessian of a matrix. `None` if the matrix was not observed, or read no rows.
    pub(crate) fn of_matrix(&self, matrix: &str, size_in: usize) -> Option<InputProducts> {
        let tensors = self.readers.tensors.get(matrix)?;
        let mut hessians = tensors
            .iter()
            .filter_map(|tensor| self.of_tensors.get(tensor))
            .filter(|hessian| hessian.size() == size_in)
            .peekable();
        hessians.peek()?;
        let stride = padded(size_in);
        let (mut sums, mut rows) = (vec![0.0; stride * stride], 0);
        for hessian in hessians {
            hessian.add_to(&mut sums, stride);
            rows += hessian.rows();
        }
        Some(InputProducts { sums, size_in, rows })
    }
}

/// The stage of the calibration while graphs are written.
#[derive(Debug)]
pub(crate) enum Stage<'a> {
    /// There is no calibration.
    None,
    /// The graphs are written with observers, and the tensors that matrices read are recorded.
    Observing(&'a mut Readers),
    /// The Hessians are known.
    Known(&'a Hessians),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_beyond_the_memory_allowed_are_refused() {
        // t5-3b: 24 layers on either side, with attention and feed-forward layers of 16384.
        let of = |layers: usize, hidden: usize, inner: usize| {
            let mut readers = Readers::default();
            for layer in 0..layers {
                assert!(readers.add(&format!("{layer}/q"), &format!("{layer}/x"), hidden));
                assert!(!readers.add(&format!("{layer}/k"), &format!("{layer}/x"), hidden));
                assert!(readers.add(&format!("{layer}/down"), &format!("{layer}/y"), inner));
            }
            readers.check_memory()
        };
        assert!(of(24, 1024, 4096).is_ok());
        let error = of(48, 1024, 16384).unwrap_err().to_string();
        assert!(error.contains("takes 27.5 GiB of memory, and 8 GiB are allowed"), "{error}");
    }
}
