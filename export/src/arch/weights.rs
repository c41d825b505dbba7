//! The checkpoint's tensors on their way into the weight file: found by name, checked for shape and
//! finite values, stored once, and accounted for.

use std::collections::{BTreeMap, BTreeSet};

use epitome_runtime::Progress;
use epitome_runtime::bundle::Precision;
use epitome_runtime::kernels::panels::PANEL;

use crate::checkpoint::{Checkpoint, TensorView};
use crate::error::{Error, Result};
use crate::onnx::weights::{StoredTensor, WeightFile};
use crate::quantize::{Packer, Packing};

/// A packed matrix in the weight file: its weights, and what belongs to its columns.
pub(crate) struct PackedTensors {
    /// Name of the weights.
    pub(crate) weights_key: String,
    /// The weights.
    pub(crate) weights: StoredTensor,
    /// What belongs to the columns, float32 `[_, padded size_out]`, and its name; none where the
    /// format needs nothing.
    pub(crate) columns: Option<(String, StoredTensor)>,
}

/// A tensor on its way out of the checkpoint.
struct Values<'a> {
    tensor: TensorView<'a>,
    name: &'a str,
    progress: &'a dyn Progress,
}

impl Values<'_> {
    /// Hands over the values in row-major order; fails where one is not finite, or when the export
    /// is cancelled.
    fn stream(&self, sink: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let element_bytes = self.tensor.dtype().size() as u64;
        self.tensor.write_f32(&mut |values| {
            // One pass: a value that is not finite has an exponent of all ones.
            if values
                .iter()
                .fold(0, |seen, v| seen | u32::from(!v.is_finite()))
                != 0
            {
                return Err(Error::NotFinite {
                    tensor: self.name.into(),
                });
            }
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            self.progress.advance(values.len() as u64 * element_bytes);
            sink(values)
        })
    }
}

/// Reads tensors out of a checkpoint and stores them.
pub(crate) struct ModelWeights<'a> {
    checkpoint: &'a Checkpoint,
    file: WeightFile,
    precision: Precision,
    progress: &'a dyn Progress,
    used: BTreeSet<String>,
    /// For names that the checkpoint lacks: the one that is read instead.
    instead: BTreeMap<String, String>,
}

impl<'a> ModelWeights<'a> {
    /// Weights of `checkpoint`, to be stored in `file`, its matrices in `precision`.
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        file: WeightFile,
        precision: Precision,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            checkpoint,
            file,
            precision,
            progress,
            used: BTreeSet::new(),
            instead: BTreeMap::new(),
        }
    }

    /// Where the checkpoint lacks `name`: from here on reads `other` under that name.
    pub(crate) fn read_as(&mut self, name: &str, other: &str) {
        if !self.has(name) {
            self.instead.insert(name.into(), other.into());
        }
    }

    /// The checkpoint's name of what is read as `name`.
    fn in_checkpoint<'n>(&'n self, name: &'n str) -> &'n str {
        self.instead.get(name).map_or(name, String::as_str)
    }

    /// The precision of the matrices.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// Bytes of all tensors of the checkpoint.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.checkpoint.names().map(|name| self.bytes(name)).sum()
    }

    fn bytes(&self, name: &str) -> u64 {
        self.checkpoint
            .tensor(name)
            .map_or(0, |tensor| (tensor.len() * tensor.dtype().size()) as u64)
    }

    /// Whether the checkpoint has a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.checkpoint.tensor(name).is_some()
    }

    /// Stores the tensor `name`, which must have the shape `dims`, as float32.
    pub(crate) fn store(&mut self, name: &str, dims: &[usize]) -> Result<StoredTensor> {
        self.used.insert(self.in_checkpoint(name).into());
        if let Some(stored) = self.file.get(name) {
            return Ok(stored.clone());
        }
        let values = Values {
            tensor: self.tensor(name, dims)?,
            name,
            progress: self.progress,
        };
        self.file.store_f32(name, dims, |sink| values.stream(sink))
    }

    /// Stores the matrix `name`, which must have the shape `dims`, packed.
    pub(crate) fn store_packed(
        &mut self,
        name: &str,
        dims: [usize; 2],
        packing: &mut dyn Packing,
    ) -> Result<PackedTensors> {
        self.used.insert(self.in_checkpoint(name).into());
        let [weights_key, columns_key] = ["packed", "columns"].map(|part| format!("{name}/{part}"));
        if let Some(weights) = self.file.get(&weights_key).cloned() {
            let columns = self.file.get(&columns_key).cloned();
            return Ok(PackedTensors {
                weights_key,
                weights,
                columns: columns.map(|columns| (columns_key, columns)),
            });
        }
        let values = Values {
            tensor: self.tensor(name, &dims)?,
            name,
            progress: self.progress,
        };
        let [size_out, size_in] = dims;
        let shape = packing.shape(size_out, size_in);
        let element_type = packing.element_type();
        let limit = packing.limit();
        let weights = self
            .file
            .store(&weights_key, element_type, &shape, |sink| {
                let mut packer = Packer::new(packing, size_in);
                values.stream(&mut |values| {
                    let most = values.iter().fold(0.0f32, |most, v| most.max(v.abs()));
                    if most > limit {
                        return Err(Error::BeyondPrecision {
                            tensor: name.into(),
                            value: most,
                            limit,
                        });
                    }
                    packer.take(values, sink)
                })?;
                packer.finish(sink)
            })?;
        let columns = packing.columns();
        let columns = match columns.is_empty() {
            true => None,
            false => {
                let padded = size_out.next_multiple_of(PANEL);
                let shape = [columns.len() / padded, padded];
                let stored = self
                    .file
                    .store_f32(&columns_key, &shape, |sink| sink(&columns))?;
                Some((columns_key, stored))
            }
        };
        Ok(PackedTensors {
            weights_key,
            weights,
            columns,
        })
    }

    /// Whether both tensors are there and hold the same values.
    pub(crate) fn same_values(&self, a: &str, b: &str) -> bool {
        let [a, b] = [a, b].map(|name| self.in_checkpoint(name));
        a == b && self.has(a)
            || self.checkpoint.same_storage(a, b)
            || self
                .checkpoint
                .tensor(a)
                .zip(self.checkpoint.tensor(b))
                .is_some_and(|(a, b)| a.same_values(&b))
    }

    /// The values of a small tensor of shape `dims`, to compute others from.
    pub(crate) fn values(&mut self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.tensor(name, dims)?;
        if tensor.first_non_finite().is_some() {
            return Err(Error::NotFinite {
                tensor: name.into(),
            });
        }
        let values = tensor.to_f32();
        self.pass_over(&[name]);
        Ok(values)
    }

    fn tensor(&self, name: &str, dims: &[usize]) -> Result<TensorView<'a>> {
        let tensor = self
            .checkpoint
            .tensor(self.in_checkpoint(name))
            .ok_or_else(|| Error::MissingTensor { name: name.into() })?;
        if tensor.shape() == dims {
            return Ok(tensor);
        }
        Err(Error::TensorShape {
            name: name.into(),
            found: tensor.shape().to_vec(),
            expected: dims.to_vec(),
        })
    }

    /// Stores a tensor that is computed rather than read.
    pub(crate) fn store_computed(
        &mut self,
        key: &str,
        dims: &[usize],
        values: impl FnOnce() -> Vec<f32>,
    ) -> Result<StoredTensor> {
        match self.file.get(key) {
            Some(stored) => Ok(stored.clone()),
            None => self.file.store_f32(key, dims, |sink| sink(&values())),
        }
    }

    /// Whether the tensor is there and holds anything but zeros.
    pub(crate) fn is_nonzero(&self, name: &str) -> bool {
        self.checkpoint
            .tensor(name)
            .is_some_and(|tensor| tensor.to_f32().iter().any(|value| *value != 0.0))
    }

    /// Accounts for tensors the graphs do not need.
    pub(crate) fn pass_over(&mut self, names: &[&str]) {
        for &name in names {
            if self.used.insert(name.into()) {
                self.progress.advance(self.bytes(name));
            }
        }
    }

    /// Ends the weight file, `(bytes, sha256)`, once every tensor of the checkpoint was used.
    pub(crate) fn finish(self) -> Result<(u64, String)> {
        let extra: Vec<String> = self
            .checkpoint
            .names()
            .filter(|name| !self.used.contains(*name))
            .map(str::to_owned)
            .collect();
        if extra.is_empty() {
            self.file.finish()
        } else {
            Err(Error::UnexpectedTensors { names: extra })
        }
    }
}
