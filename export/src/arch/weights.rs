//! Copies the checkpoint's tensors into the weight file: finds them by name, checks shape and
//! finite values, stores each once, and reports the ones that no graph reads.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use epitome_quantize::{Packer, Packing, are_finite, max_magnitude};
use epitome_runtime::Progress;
use epitome_runtime::bundle::Precision;
use epitome_runtime::kernels::panels::PANEL;

use crate::calibration::{Readers, Stage};
use crate::checkpoint::{Checkpoint, TensorView};
use crate::error::{Error, Result, some};
use crate::onnx::weights::{StoredTensor, WeightFile};
use crate::packing::{Role, element_type, packing};

/// A packed matrix in the weight file: its weights, and the data of its columns.
pub(crate) struct PackedTensors {
    /// Name of the weights.
    pub(crate) weights_key: String,
    /// The weights.
    pub(crate) weights: StoredTensor,
    /// Name and data of the columns, such as scales: float32 `[_, padded size_out]`. `None` if the
    /// format needs no data.
    pub(crate) columns: Option<(String, StoredTensor)>,
}

/// A tensor that is read from the checkpoint.
struct Values<'a> {
    tensor: TensorView<'a>,
    /// The columns that form a matrix of their own, if not the whole tensor is read.
    columns: Option<Range<usize>>,
    name: &'a str,
    /// Whether minus infinity is allowed.
    bans: bool,
    progress: &'a dyn Progress,
}

impl Values<'_> {
    /// Passes the values to `sink` in row-major order. Fails if a value is not finite, or if the
    /// export is cancelled.
    fn stream(&self, sink: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let element_bytes = self.tensor.dtype().size() as u64;
        self.stream_unchecked(&mut |values| {
            if !are_finite(values, self.bans) {
                return Err(Error::NotFinite { tensor: self.name.into() });
            }
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            self.progress.advance(values.len() as u64 * element_bytes);
            sink(values)
        })
    }

    fn stream_unchecked(&self, sink: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let Some(columns) = self.columns.clone() else {
            return self.tensor.write_f32(sink);
        };
        let values = self.tensor.to_f32();
        let width = self.tensor.shape().last().copied().unwrap_or(1);
        for column in columns {
            let rows = values.iter().skip(column).step_by(width);
            sink(&rows.copied().collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// Another form of a tensor in the checkpoint.
#[derive(Clone, Debug)]
pub(crate) enum Alias {
    /// Reads this tensor if the checkpoint lacks the name.
    Instead(String),
    /// Reads some columns of this tensor, transposed: transformers' `Conv1D` keeps several linear
    /// layers in one tensor, `[in, out]`.
    Columns {
        /// The tensor.
        of: String,
        /// The first column.
        from: usize,
        /// Number of columns of the tensor.
        all: usize,
    },
}

/// Prefixes of the stacks' tensors, in every architecture.
const STACKS: [&str; 2] = ["encoder.", "decoder."];
/// Buffers that PyTorch saved with the weights. The export does not need them.
const BUFFERS: [&str; 3] = ["position_ids", "version", "_float_tensor"];

/// Reads tensors out of a checkpoint and stores them.
pub(crate) struct ModelWeights<'a> {
    checkpoint: &'a Checkpoint,
    base_prefix: &'static str,
    file: WeightFile,
    precision: Precision,
    stage: Stage<'a>,
    progress: &'a dyn Progress,
    /// Names of the tensors that were read.
    used: BTreeSet<String>,
    /// Tensors that the checkpoint has under other names or in another form.
    aliases: BTreeMap<String, Alias>,
    /// Numbers of matrices that calibration rounded, and of those with too little data for it.
    calibrated: usize,
    not_calibrated: Vec<String>,
}

impl<'a> ModelWeights<'a> {
    /// Reads tensors of `checkpoint` and stores them in `file`, matrices in `precision`. A tensor
    /// whose name begins with `base_prefix` may lack it in the checkpoint.
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        base_prefix: &'static str,
        file: WeightFile,
        precision: Precision,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            checkpoint,
            base_prefix,
            file,
            precision,
            stage: Stage::None,
            progress,
            used: BTreeSet::new(),
            aliases: BTreeMap::new(),
            calibrated: 0,
            not_calibrated: Vec::new(),
        }
    }

    /// Reads `other` in place of `name` from here on, if the checkpoint lacks `name`.
    pub(crate) fn read_as(&mut self, name: &str, other: &str) {
        if !self.has(name) {
            self.aliases.insert(name.into(), Alias::Instead(other.into()));
        }
    }

    /// Reads `name` as `alias` says from here on.
    pub(crate) fn alias(&mut self, name: &str, alias: &Alias) {
        match alias {
            Alias::Instead(other) => self.read_as(name, other),
            Alias::Columns { .. } => {
                self.aliases.insert(name.into(), alias.clone());
            }
        }
    }

    /// The name in the checkpoint of the tensor `name`.
    fn in_checkpoint<'n>(&'n self, name: &'n str) -> &'n str {
        let name = match self.aliases.get(name) {
            Some(Alias::Instead(other) | Alias::Columns { of: other, .. }) => other,
            None => name,
        };
        let bare = self.without_base(name);
        let stored = |name| self.checkpoint.tensor(name).is_some();
        if !stored(name) && stored(bare) { bare } else { name }
    }

    fn without_base<'n>(&self, name: &'n str) -> &'n str {
        name.strip_prefix(self.base_prefix).unwrap_or(name)
    }

    /// Sets the stage of calibration.
    pub(crate) fn set_stage(&mut self, stage: Stage<'a>) {
        self.stage = stage;
    }

    /// The tensors that matrices read, while calibration observes them.
    pub(crate) fn readers(&mut self) -> Option<&mut Readers> {
        match &mut self.stage {
            Stage::Observing(readers) => Some(readers),
            Stage::None | Stage::Known(_) => None,
        }
    }

    /// The packing of the matrix `name`, which has `size_in` inputs.
    pub(crate) fn packing(&self, name: &str, size_in: usize, role: Role) -> Box<dyn Packing> {
        let Stage::Known(hessians) = &self.stage else {
            return packing(self.precision, role, None);
        };
        // A matrix that is stored already is not rounded again.
        let is_stored = self.file.get(&weights_key(name)).is_some();
        let inputs = || if is_stored { None } else { hessians.of_matrix(name, size_in) };
        packing(self.precision, role, Some(&inputs))
    }

    /// Reports the matrices with too little calibration data. Fails if that is true for all.
    pub(crate) fn check_calibration(&self) -> Result<()> {
        let (count, names) = (self.not_calibrated.len(), &self.not_calibrated);
        match (self.calibrated, count) {
            (_, 0) => Ok(()),
            (0, _) => Err(Error::NothingCalibrated),
            (calibrated, _) => {
                self.progress.note(&format!(
                    "The documents show too little for {count} of {} matrices, which are rounded \
                     by themselves: {}",
                    count + calibrated,
                    some(names)
                ));
                Ok(())
            }
        }
    }

    /// The precision of the matrices.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// Size of all tensors of the checkpoint in bytes.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.checkpoint.names().map(|name| self.bytes(name)).sum()
    }

    fn bytes(&self, name: &str) -> u64 {
        self.checkpoint
            .tensor(self.in_checkpoint(name))
            .map_or(0, |tensor| (tensor.len() * tensor.dtype().size()) as u64)
    }

    /// Whether the checkpoint has the tensor `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.checkpoint.tensor(self.in_checkpoint(name)).is_some()
    }

    /// Stores the tensor `name`, which must have the shape `dims`, as float32. With `bans`, minus
    /// infinity is allowed: it bans a token.
    pub(crate) fn store(&mut self, name: &str, dims: &[usize], bans: bool) -> Result<StoredTensor> {
        self.used.insert(self.in_checkpoint(name).into());
        if let Some(stored) = self.file.get(name) {
            return Ok(stored.clone());
        }
        let values = self.read(name, dims, bans)?;
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
        let (weights_key, columns_key) = (weights_key(name), format!("{name}/columns"));
        if let Some(weights) = self.file.get(&weights_key).cloned() {
            let columns = self.file.get(&columns_key).cloned();
            return Ok(PackedTensors {
                weights_key,
                weights,
                columns: columns.map(|columns| (columns_key, columns)),
            });
        }
        let values = self.read(name, &dims, false)?;
        let [size_out, size_in] = dims;
        let shape = packing.shape(size_out, size_in);
        let element_type = element_type(packing.format());
        let limit = packing.limit();
        let weights = self.file.store(&weights_key, element_type, &shape, |sink| {
            let mut packer = Packer::new(packing, size_in);
            values.stream(&mut |values| {
                let value = max_magnitude(values);
                if value > limit {
                    return Err(Error::BeyondPrecision { tensor: name.into(), value, limit });
                }
                packer.take(values, sink)
            })?;
            packer.finish(sink)
        })?;
        match packing.is_calibrated() {
            Some(true) => self.calibrated += 1,
            Some(false) => self.not_calibrated.push(name.into()),
            None => {}
        }
        let columns = packing.columns();
        let columns = match columns.is_empty() {
            true => None,
            false => {
                let padded = size_out.next_multiple_of(PANEL);
                let shape = [columns.len() / padded, padded];
                let stored = self.file.store_f32(&columns_key, &shape, |sink| sink(&columns))?;
                Some((columns_key, stored))
            }
        };
        Ok(PackedTensors { weights_key, weights, columns })
    }

    /// Whether both tensors exist and hold the same values.
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

    /// The values of a small tensor of shape `dims`, as an operand of a computed tensor.
    pub(crate) fn values(&mut self, name: &str, dims: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.tensor(name, dims)?;
        if tensor.first_non_finite().is_some() {
            return Err(Error::NotFinite { tensor: name.into() });
        }
        let values = tensor.to_f32();
        self.pass_over(&[name]);
        Ok(values)
    }

    /// Reads the tensor `name`, which must have the shape `dims`.
    fn read<'n>(&self, name: &'n str, dims: &[usize], bans: bool) -> Result<Values<'n>>
    where
        'a: 'n,
    {
        let (tensor, columns) = match self.aliases.get(name) {
            Some(Alias::Columns { from, all, .. }) => {
                let (rows, of_rows) = dims.split_first().expect("a matrix or a vector");
                let stored: Vec<usize> = of_rows.iter().copied().chain([*all]).collect();
                (self.tensor(name, &stored)?, Some(*from..from + rows))
            }
            _ => (self.tensor(name, dims)?, None),
        };
        Ok(Values { tensor, columns, name, bans, progress: self.progress })
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

    /// Stores a computed tensor.
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

    /// Whether the tensor exists and holds a value other than zero.
    pub(crate) fn is_nonzero(&self, name: &str) -> bool {
        self.checkpoint
            .tensor(self.in_checkpoint(name))
            .is_some_and(|tensor| tensor.to_f32().iter().any(|value| *value != 0.0))
    }

    /// Marks all tensors with this prefix as used.
    pub(crate) fn pass_over_all(&mut self, prefix: &str) {
        let prefix = self.without_base(prefix);
        let names: Vec<_> = self
            .checkpoint
            .names()
            .filter(|name| self.without_base(name).starts_with(prefix))
            .collect();
        self.pass_over(&names);
    }

    /// Marks tensors that the graphs do not need as used.
    pub(crate) fn pass_over(&mut self, names: &[&str]) {
        for &name in names {
            if self.used.insert(self.in_checkpoint(name).into()) {
                self.progress.advance(self.bytes(name));
            }
        }
    }

    /// The tensors of the checkpoint that were not read: heads for other tasks, buffers. A tensor
    /// that looks like a part of the model is an error, since the graphs would lack it.
    pub(crate) fn left_out(&self) -> Result<Vec<String>> {
        let names = self.checkpoint.names();
        let unused = names.filter(|name| !self.used.contains(*name));
        let (parts, others): (Vec<_>, Vec<_>) =
            unused.map(str::to_owned).partition(|name| self.looks_needed(name));
        match parts.is_empty() {
            true => Ok(others),
            false => Err(Error::UnexpectedTensors { names: parts }),
        }
    }

    /// Whether a tensor is in a stack or in a used module, or its name ends with the name of a used
    /// tensor.
    fn looks_needed(&self, name: &str) -> bool {
        let name = self.without_base(name);
        let last = name.rsplit('.').next();
        if last.is_some_and(|last| BUFFERS.contains(&last)) {
            return false;
        }
        let in_stack = STACKS.iter().any(|stack| name.starts_with(stack));
        in_stack
            || self.used.iter().any(|used| {
                let used = self.without_base(used);
                let module = used.rsplit_once('.').map_or(used, |(module, _)| module);
                let below = name.strip_prefix(module);
                let behind = name.strip_suffix(used);
                below.is_some_and(|rest| rest.starts_with('.'))
                    || behind.is_some_and(|rest| rest.ends_with('.'))
            })
    }

    /// Ends the weight file. Returns `(bytes, sha256)`.
    pub(crate) fn finish(self) -> Result<(u64, String)> {
        self.file.finish()
    }
}

/// Key of the weights of a packed matrix.
fn weights_key(name: &str) -> String {
    format!("{name}/packed")
}
