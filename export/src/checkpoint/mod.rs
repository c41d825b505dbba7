//! A checkpoint as `save_pretrained` leaves it: `config.json` and weights.
//!
//! Weights are read from, in this order of precedence (transformers' own):
//!
//! 1. `model.safetensors`;
//! 2. `model.safetensors.index.json` with its shards;
//! 3. `pytorch_model.bin`, in either format of `torch.save`: since PyTorch 1.6, and before;
//! 4. `pytorch_model.bin.index.json` with its shards;
//! 5. `flax_model.msgpack`, which transformers 4 reads where it is told to.
//!
//! Weights files are mapped, not read, so that opening costs little and a tensor only occupies
//! memory that the system can take back. No code in a pickle is ever run.

mod bitsandbytes;
mod change;
mod files;
mod flax;
mod mapped;
mod python_json;
mod safetensors;
mod stored;
mod strided;
mod tensor;
mod torch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use bitsandbytes::Quantized;
use stored::Files;
use tensor::Values;

pub(crate) use change::{Axis, Change};
use files::Format;
pub(crate) use files::{
    ADAPTER_CONFIG, CONFIG, GENERATION_CONFIG, NO_WEIGHTS, Weights, adapter_weights,
    instead_of_weights, is_adapter, is_part, is_telling, is_tokenizer, is_used,
};
pub(crate) use stored::Stored;
pub use strided::DType;
pub use tensor::TensorView;
#[cfg(test)]
pub(crate) use torch::SNIPPETS;

use crate::{Error, Result};

/// Limit in bytes of a JSON file. Real ones, indices included, are below 1 MB.
const MAX_JSON: u64 = 64 << 20;

/// Names that wrappers of a model insert into tensor names: `torch.compile`,
/// `DistributedDataParallel`, fully sharded data parallelism and activation checkpoints.
const WRAPPERS: [&str; 4] =
    ["_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// A checkpoint folder with its weights mapped.
pub struct Checkpoint {
    root: PathBuf,
    config: Map<String, Value>,
    generation_config: Option<Map<String, Value>>,
    weights_format: String,
    files: Files,
    tensors: BTreeMap<String, Stored>,
    quantized: BTreeMap<String, Quantized>,
    /// Changes of adapters, in their order.
    changes: BTreeMap<String, Vec<Change<Stored>>>,
}

impl Checkpoint {
    /// Opens the checkpoint in the folder `root`.
    ///
    /// ```no_run
    /// # fn main() -> epitome_export::Result<()> {
    /// use epitome_export::checkpoint::Checkpoint;
    ///
    /// let checkpoint = Checkpoint::open("pegasus".as_ref())?;
    /// for name in checkpoint.names() {
    ///     println!("{name}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(root: &Path) -> Result<Self> {
        let names = file_names(root)?;
        if !names.contains(CONFIG) {
            return Err(Error::MissingConfig { path: root.to_owned() });
        }
        let config = read_object(root, CONFIG)?;
        let generation_config = names
            .contains(GENERATION_CONFIG)
            .then(|| read_object(root, GENERATION_CONFIG))
            .transpose()?;
        if let Some(method) = quantization(&config)
            && method != "bitsandbytes"
        {
            return Err(Error::Config {
                file: CONFIG.to_owned(),
                field: "quantization_config".to_owned(),
                problem: format!(
                    "says that the weights are quantized with {method}, which cannot be read: give \
                     the checkpoint that they were made from"
                ),
            });
        }
        let weights = Weights::find(&names).ok_or_else(|| Error::MissingWeights {
            path: root.to_owned(),
            found: instead_of_weights(&names).unwrap_or_else(|| NO_WEIGHTS.to_owned()),
        })?;

        let mut reader =
            Reader { root, format: weights.format, files: Files::default(), tensors: vec![] };
        let weights_format = if weights.sharded {
            let shards = reader.read_index(weights.file)?;
            format!("{} ({shards} shard{})", weights.base(), if shards == 1 { "" } else { "s" })
        } else {
            reader.read_file(weights.file, |_| true)?;
            weights.base().to_owned()
        };
        let Reader { files, tensors, .. } = reader;
        let mut tensors = without_wrappers(tensors);
        let quantized = bitsandbytes::collect(&mut tensors, &files)?;
        Ok(Self {
            root: root.to_owned(),
            config,
            generation_config,
            weights_format,
            files,
            tensors,
            quantized,
            changes: BTreeMap::new(),
        })
    }

    /// The object in `config.json`.
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// The object in `generation_config.json`, when there is one.
    pub fn generation_config(&self) -> Option<&Map<String, Value>> {
        self.generation_config.as_ref()
    }

    /// The checkpoint's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Files that the weights were read from: `pytorch_model.bin` or `model.safetensors`, with
    /// ` (N shards)` behind it if there are several.
    pub fn weights_format(&self) -> &str {
        &self.weights_format
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().chain(self.quantized.keys()).map(String::as_str)
    }

    /// The tensor `name`.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let values = match self.tensors.get(name) {
            Some(stored) => Values::Stored(self.files.view(stored)),
            None => Values::Quantized(self.quantized.get(name)?.view(&self.files)),
        };
        let changes = self.changes.get(name).into_iter().flatten();
        let changes = changes.map(|change| change.map(|stored| self.files.view(stored)));
        Some(TensorView::new(values, changes.collect()))
    }

    /// Whether both names exist and refer to the same bytes of the same storage with the same
    /// layout, as tied weights that are stored once.
    ///
    /// For tied weights that are stored twice, see [`TensorView::same_values`].
    pub fn same_storage(&self, a: &str, b: &str) -> bool {
        let unchanged = |name| !self.changes.contains_key(name);
        match (self.tensors.get(a), self.tensors.get(b)) {
            (Some(x), Some(y)) => x == y && (a == b || unchanged(a) && unchanged(b)),
            _ => false,
        }
    }

    /// Maps another weights file, and returns its tensors without adding them.
    pub(crate) fn map(&mut self, root: &Path, file: &str) -> Result<Vec<(String, Stored)>> {
        let format = files::format(file);
        self.files.read(root, file, format)
    }

    /// Whether the tensor `name` exists.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name) || self.quantized.contains_key(name)
    }

    /// Notes the file that an adapter's weights were read from.
    pub(crate) fn note_adapter(&mut self, file: &str) {
        self.weights_format = format!("{} + {file}", self.weights_format);
    }

    /// Location of a tensor that is not quantized.
    pub(crate) fn stored(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    /// Adds the tensor `name`, or replaces it.
    pub(crate) fn replace(&mut self, name: String, stored: Stored) {
        self.quantized.remove(&name);
        self.changes.remove(&name);
        self.tensors.insert(name, stored);
    }

    /// Size of a tensor's first axis.
    pub(crate) fn rows(&self, name: &str) -> Option<usize> {
        self.tensor(name)?.shape().first().copied()
    }

    /// Resizes a small tensor of the shape `[1, _]`, with zeros for new elements.
    pub(crate) fn resize(&mut self, name: &str, length: usize) {
        let Some(tensor) = self.tensor(name).filter(|tensor| tensor.shape().first() == Some(&1))
        else {
            return;
        };
        let mut values = tensor.to_f32();
        values.resize(length, 0.0);
        let stored = self.files.add(name, vec![1, length], &values);
        self.replace(name.to_owned(), stored);
    }

    /// Sets the vocabulary size.
    pub(crate) fn set_vocab_size(&mut self, size: usize) {
        self.config.insert("vocab_size".to_owned(), size.into());
    }

    /// Adds a change of the tensor `name`. The operands must have the right shapes.
    pub(crate) fn change(&mut self, name: &str, change: Change<Stored>) {
        self.changes.entry(name.to_owned()).or_default().push(change);
    }
}

/// Collects the tensors of one or more weights files.
struct Reader<'a> {
    root: &'a Path,
    format: Format,
    files: Files,
    tensors: Vec<(String, Stored)>,
}

impl Reader<'_> {
    /// Adds the tensors of one weights file that `wanted` selects.
    fn read_file(&mut self, name: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let found = self.files.read(self.root, name, self.format)?;
        self.tensors.extend(found.into_iter().filter(|(name, _)| wanted(name)));
        Ok(())
    }

    /// Adds the tensors of all shards in `index`. Returns the number of shards.
    fn read_index(&mut self, index: &str) -> Result<usize> {
        let problem =
            |problem: &str| Error::Json { file: index.to_owned(), problem: problem.to_owned() };
        let object = read_object(self.root, index)?;
        let Some(Value::Object(map)) = object.get("weight_map") else {
            return Err(problem("has no object 'weight_map' that gives each tensor's file"));
        };
        let mut shards: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (tensor, shard) in map {
            let shard = shard
                .as_str()
                .ok_or_else(|| problem("has a 'weight_map' whose values are not file names"))?;
            if shard.is_empty() || shard.starts_with('.') || shard.contains(['/', '\\', ':']) {
                return Err(Error::Json {
                    file: index.to_owned(),
                    problem: format!("names the shard '{shard}', which is not a plain file name"),
                });
            }
            shards.entry(shard).or_default().insert(tensor);
        }
        for shard in shards.keys() {
            if !self.root.join(shard).is_file() {
                return Err(Error::MissingShard {
                    index: index.to_owned(),
                    shard: (*shard).to_owned(),
                });
            }
        }
        for (shard, expected) in &shards {
            let before = self.tensors.len();
            self.read_file(shard, |name| expected.contains(name))?;
            let found: BTreeSet<&str> =
                self.tensors[before..].iter().map(|(name, _)| name.as_str()).collect();
            if let Some(missing) = expected.difference(&found).next() {
                return Err(Error::ShardLacksTensor {
                    index: index.to_owned(),
                    shard: (*shard).to_owned(),
                    name: (*missing).to_owned(),
                });
            }
        }
        Ok(shards.len())
    }
}

/// The tensors by name, without the names of wrappers.
fn without_wrappers(tensors: Vec<(String, Stored)>) -> BTreeMap<String, Stored> {
    let bare = |name: &str| {
        let parts = name.split('.').filter(|part| !WRAPPERS.contains(part));
        parts.collect::<Vec<_>>().join(".")
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in &tensors {
        *counts.entry(bare(name)).or_default() += 1;
    }
    // Tensors whose names would be equal keep their wrapper's name.
    tensors
        .into_iter()
        .map(|(name, stored)| match bare(&name) {
            bare if counts[&bare] == 1 => (bare, stored),
            _ => (name, stored),
        })
        .collect()
}

/// The quantization method (`gptq`, `awq`, `bitsandbytes`), if the weights are quantized.
fn quantization(config: &Map<String, Value>) -> Option<String> {
    let method = config.get("quantization_config")?.get("quant_method")?.as_str()?;
    Some(method.chars().take(40).flat_map(char::escape_debug).collect())
}

/// Names of the files in `folder`. Names that are not Unicode are left out: no checkpoint has them.
pub(crate) fn file_names(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(|source| Error::io(folder, source))? {
        let entry = entry.map_err(|source| Error::io(folder, source))?;
        if let Some(name) = entry.file_name().to_str()
            && entry.path().is_file()
        {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

/// Reads the JSON object in a file of the checkpoint.
pub(crate) fn read_object(root: &Path, name: &str) -> Result<Map<String, Value>> {
    let problem = |problem: String| Error::Json { file: name.to_owned(), problem };
    let path = root.join(name);
    let mut text = Vec::new();
    fs::File::open(&path)
        .and_then(|file| file.take(MAX_JSON + 1).read_to_end(&mut text))
        .map_err(|source| Error::io(&path, source))?;
    if text.len() as u64 > MAX_JSON {
        return Err(problem(format!("is larger than {} MB", MAX_JSON >> 20)));
    }
    match python_json::parse(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(problem("is not a JSON object".to_owned())),
        Err(error) => Err(problem(format!("is not valid JSON: {error}"))),
    }
}
