//! Errors of sources, checkpoints and exports, one variant and one sentence each.

use std::io;
use std::path::{Path, PathBuf};

use epitome_runtime::bundle::Precision;

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a source could not be read, or a bundle not be written.
///
/// Every message says what is wrong, in which file, entry, tensor or field, and what would be
/// right. An error of the operating system is the [source](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to open, read or write a file.
    #[error("{} could not be read or written", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The disk is full.
    #[error(
        "no room is left on the disk while writing {}: free some, or choose another folder",
        path.display()
    )]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,

    /// The path does not exist.
    #[error(
        "{} does not exist: give a checkpoint folder, a model.tar.gz, or hf://OWNER/NAME for a \
         model of the Hugging Face hub",
        path.display()
    )]
    NoSuchSource {
        /// The path given.
        path: PathBuf,
    },
    /// The hub can have no model of this name.
    #[error(
        "'{text}' is not the name of a model on the Hugging Face hub: write OWNER/NAME, as \
         facebook/bart-large-cnn, and @REVISION behind it for one of its versions"
    )]
    ModelId {
        /// The name given.
        text: String,
    },
    /// The file given is neither a tar nor a gzipped tar.
    #[error(
        "{} is not an archive that can be read ({found}): give a .tar.gz, a .tar or a checkpoint \
         folder",
        path.display()
    )]
    NotAnArchive {
        /// The file given.
        path: PathBuf,
        /// Format that it seems to have.
        found: String,
    },
    /// The archive ends before its last entry does.
    #[error("{} ends too early: the archive is truncated, fetch it again", path.display())]
    TruncatedArchive {
        /// The archive.
        path: PathBuf,
    },
    /// The archive's bytes contradict themselves.
    #[error("{} is damaged ({problem}): fetch it again", path.display())]
    DamagedArchive {
        /// The archive.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
    },
    /// An entry of the archive is something that no training job writes and that could do harm.
    #[error("{} is refused: its entry '{entry}' {problem}", path.display())]
    RefusedEntry {
        /// The archive.
        path: PathBuf,
        /// The entry's name as the archive gives it, shortened when very long.
        entry: String,
        /// Description of the problem and of what would be right.
        problem: String,
    },
    /// The archive's contents are larger than any model archive.
    #[error("{} is refused: {problem}", path.display())]
    ArchiveLimit {
        /// The archive.
        path: PathBuf,
        /// The limit that was passed.
        problem: String,
    },

    /// No folder of the source holds a `config.json`.
    #[error(
        "{} holds no config.json: give a folder or archive that save_pretrained wrote",
        path.display()
    )]
    MissingConfig {
        /// The folder or archive.
        path: PathBuf,
    },
    /// The source has a configuration and no weights that can be read.
    #[error("{} {found}", path.display())]
    MissingWeights {
        /// The folder or archive.
        path: PathBuf,
        /// Description of what it has instead, and advice.
        found: String,
    },
    /// The source holds several adapters, and nothing says which one is to be merged.
    #[error(
        "{} holds several adapters ({}): give the folder of one of them, with --base BASE",
        path.display(),
        some(found)
    )]
    SeveralAdapters {
        /// The folder or archive.
        path: PathBuf,
        /// The folders of the adapters in it.
        found: Vec<String>,
    },
    /// The source holds an adapter alone.
    #[error(
        "{} holds an adapter and no model{}: give the model that it was trained on with --base (a \
         folder, an archive, or its name on the hub)",
        path.display(), base_sentence(base)
    )]
    AdapterWithoutBase {
        /// The folder or archive.
        path: PathBuf,
        /// Name of the base in the adapter, if it has one.
        base: Option<String>,
    },
    /// A base was given for a source without an adapter.
    #[error("{} holds no adapter, which --base is for: leave --base out", path.display())]
    BaseWithoutAdapter {
        /// The folder or archive.
        path: PathBuf,
    },
    /// A JSON file cannot be parsed, or is not an object.
    #[error("{file} {problem}")]
    Json {
        /// The file's name.
        file: String,
        /// Description of the problem.
        problem: String,
    },
    /// A field of a configuration file is missing or has a value that cannot be used.
    #[error("{file}: field '{field}' {problem}")]
    Config {
        /// The file's name.
        file: String,
        /// The field.
        field: String,
        /// Description of the problem and of what would be right.
        problem: String,
    },
    /// The configuration names an unknown architecture.
    #[error("config.json: model_type '{found}' is not supported; known: {}", known.join(", "))]
    UnknownModelType {
        /// The `model_type` found.
        found: String,
        /// The known architectures.
        known: Vec<String>,
    },

    /// Global attention was requested, and the architecture has none.
    #[error(
        "a model of '{model_type}' has no tokens with global attention, which only LED has: leave \
         --global-attention-mask out"
    )]
    NoGlobalAttention {
        /// The checkpoint's `model_type`.
        model_type: &'static str,
    },
    /// A file of the tokenizer is damaged, or cannot be expressed as a `tokenizer.json`.
    #[error("{file} {problem}")]
    Tokenizer {
        /// The file's name.
        file: String,
        /// Description of the problem and of what would be right.
        problem: String,
    },
    /// The checkpoint's kind of tokenizer can only be read from a `tokenizer.json`.
    #[error(
        "the checkpoint has no tokenizer.json, and a {class} cannot be made from its {}: save the \
         tokenizer with AutoTokenizer.from_pretrained(...).save_pretrained(...)",
        found.join(", ")
    )]
    TokenizerClass {
        /// The tokenizer's class.
        class: String,
        /// The vocabulary files that are there.
        found: Vec<String>,
    },
    /// A file that the tokenizer is made from is not there.
    #[error(
        "the checkpoint lacks {missing}, which its {class} is made from; it has {}",
        found.join(", ")
    )]
    TokenizerFile {
        /// The tokenizer's class.
        class: String,
        /// The file that is missing.
        missing: String,
        /// The vocabulary files that are there.
        found: Vec<String>,
    },

    /// A weights file does not have the format of its name.
    #[error("{file} {problem}")]
    Weights {
        /// The file's name.
        file: String,
        /// Description of the problem and of what would be right.
        problem: String,
    },
    /// A pickle names a function or class other than those that make up plain tensors.
    #[error("{file} asks to run '{global}', which is refused: weights must be plain tensors")]
    PickleGlobal {
        /// The weights file's name.
        file: String,
        /// The function or class, with its module.
        global: String,
    },
    /// A value of the state dictionary is something other than a tensor.
    #[error(
        "{file} holds {kind} under '{name}' where a tensor is expected: save model.state_dict() \
         itself"
    )]
    NotATensor {
        /// The weights file's name.
        file: String,
        /// The key.
        name: String,
        /// Kind of the value.
        kind: String,
    },
    /// A tensor's description contradicts the file it is in.
    #[error("{file}: tensor '{name}' {problem}")]
    BadTensor {
        /// The weights file's name.
        file: String,
        /// The tensor.
        name: String,
        /// Description of the problem.
        problem: String,
    },
    /// The index names a shard that is not there.
    #[error("{index} lists '{shard}', which is missing: fetch the whole checkpoint")]
    MissingShard {
        /// The index file's name.
        index: String,
        /// The shard's file name.
        shard: String,
    },
    /// A shard lacks a tensor that the index says it has.
    #[error(
        "{shard} lacks the tensor '{name}' that {index} says it holds: the files are not of one \
         checkpoint"
    )]
    ShardLacksTensor {
        /// The index file's name.
        index: String,
        /// The shard's file name.
        shard: String,
        /// The tensor.
        name: String,
    },

    /// The architecture needs a tensor that the checkpoint lacks.
    #[error("the checkpoint lacks the tensor '{name}' that its config.json asks for")]
    MissingTensor {
        /// The tensor.
        name: String,
    },
    /// The checkpoint has tensors that the architecture does not use.
    #[error("the checkpoint holds tensors that its config.json has no place for: {}", some(names))]
    UnexpectedTensors {
        /// The tensors.
        names: Vec<String>,
    },
    /// A tensor's shape differs from the configuration.
    #[error("tensor '{name}' has shape {found:?} where config.json asks for {expected:?}")]
    TensorShape {
        /// The tensor.
        name: String,
        /// Its shape in the checkpoint.
        found: Vec<usize>,
        /// Its shape by the configuration.
        expected: Vec<usize>,
    },
    /// A weight is NaN or infinite.
    #[error(
        "tensor '{tensor}' holds a NaN or an infinity: the training diverged, use an earlier \
         checkpoint"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
    },

    /// A weight is too large for the precision.
    #[error(
        "tensor '{tensor}' holds {value:e}, and the precision asked for holds {limit:e} at most: \
         choose another with --precision"
    )]
    BeyondPrecision {
        /// The tensor.
        tensor: String,
        /// Magnitude of the weight.
        value: f32,
        /// Largest magnitude of the precision.
        limit: f32,
    },

    /// The dataset does not exist.
    #[error("{} does not exist: give a folder of XSum's files, a .csv or a .jsonl", path.display())]
    NoSuchDataset {
        /// The path given.
        path: PathBuf,
    },
    /// The dataset is malformed.
    #[error("{} {problem}", path.display())]
    Dataset {
        /// The file or folder.
        path: PathBuf,
        /// Description of the problem and of what would be right.
        problem: String,
    },
    /// The dataset lacks a column.
    #[error("{} has no column '{name}': it has {}", path.display(), some(found))]
    DatasetColumn {
        /// The file.
        path: PathBuf,
        /// The requested column.
        name: String,
        /// The existing columns.
        found: Vec<String>,
    },

    /// The output exists, and is not a bundle.
    #[error("{} exists and is not a bundle: choose another --output, or remove it", path.display())]
    OutputExists {
        /// The output.
        path: PathBuf,
    },
    /// The portable layout does not support this precision.
    #[error("--layout optimum holds fp32 weights only, not {precision}: leave --precision out")]
    PortablePrecision {
        /// The requested precision.
        precision: Precision,
    },
    /// Calibration does not support this precision.
    #[error(
        "documents to calibrate with serve int4 weights only, not {precision}: choose int4, or \
         leave them out"
    )]
    CalibratedPrecision {
        /// The requested precision.
        precision: Precision,
    },
    /// The calibration documents have no text.
    #[error("{name} has no text in it: give documents to calibrate with")]
    NoCalibrationText {
        /// Name of the documents.
        name: String,
    },
    /// Calibration needs too much memory.
    #[error(
        "calibrating this model takes {} GiB of memory, and {} GiB are allowed: export it without \
         documents to calibrate with",
        gibibytes(*needed),
        gibibytes(*allowed)
    )]
    CalibrationMemory {
        /// Memory needed, in bytes.
        needed: u64,
        /// Memory limit, in bytes.
        allowed: u64,
    },
    /// The model could not summarize a calibration document.
    #[error("calibrating failed at document {document}: {problem}")]
    Calibrating {
        /// Number of the document, from 1.
        document: usize,
        /// Error of the runtime. The call set no parameter, so that the checkpoint is at fault.
        problem: String,
    },
    /// The calibration data is not usable for any matrix.
    #[error(
        "no matrix could be calibrated, since what the model computes on the documents is not \
         finite: export it without them"
    )]
    NothingCalibrated,
    /// The written model failed verification.
    #[error("the exported model is unsound: {problem}")]
    Unsound {
        /// Result of the verification.
        problem: String,
    },
    /// The origin of a model, such as a server, failed.
    #[error("{0}")]
    Origin(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The runtime failed on the written model.
    #[error(transparent)]
    Runtime(#[from] epitome_runtime::Error),
}

impl Error {
    /// Whether the user asked to stop.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted)
    }

    /// Whether the command was called wrongly: the same call can never succeed.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NoSuchSource { .. }
            | Self::ModelId { .. }
            | Self::AdapterWithoutBase { .. }
            | Self::BaseWithoutAdapter { .. }
            | Self::SeveralAdapters { .. }
            | Self::NoSuchDataset { .. }
            | Self::DatasetColumn { .. }
            | Self::OutputExists { .. }
            | Self::NoGlobalAttention { .. }
            | Self::PortablePrecision { .. }
            | Self::CalibratedPrecision { .. } => true,
            Self::Runtime(error) => error.is_usage(),
            _ => false,
        }
    }

    /// An error while reading a stream: our own or the origin's error inside `error`, or else the
    /// operating system's error at `path`.
    pub(crate) fn of_stream(path: &Path, error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(error) if error.kind() == io::ErrorKind::Other => match error.into_inner() {
                Some(inner) => Self::Origin(inner),
                None => Self::io(path, io::ErrorKind::Other.into()),
            },
            Err(error) => Self::io(path, error),
        }
    }

    /// An error of the operating system at `path`. A full disk has its own variant.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_owned() }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }
}

/// The adapter's base, to follow "no model" in a sentence.
fn base_sentence(base: &Option<String>) -> String {
    let text =
        |base: &String| format!(" (its base is '{base}', which is not in the local hub cache)");
    base.as_ref().map(text).unwrap_or_default()
}

/// Gibibytes, to a tenth.
fn gibibytes(bytes: u64) -> f64 {
    (bytes as f64 / f64::from(1 << 30) * 10.0).ceil() / 10.0
}

/// The first few of `names`, and the number of others.
pub(crate) fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = Error::io(Path::new("m/a"), io::ErrorKind::StorageFull.into());
        assert_eq!(
            full.to_string(),
            "no room is left on the disk while writing m/a: free some, or choose another folder"
        );
        let other = Error::io(Path::new("m/a"), io::ErrorKind::PermissionDenied.into());
        assert_eq!(other.to_string(), "m/a could not be read or written");
    }

    #[test]
    fn long_lists_of_names_are_shortened() {
        let names: Vec<String> = (0..9).map(|n| format!("t{n}")).collect();
        let message = Error::UnexpectedTensors { names }.to_string();
        assert!(message.ends_with(": t0, t1, t2, t3, t4 and 4 more"), "{message}");
    }
}
