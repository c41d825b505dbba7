//! The bundle: the folder of an exported model.
//!
//! | file | holds |
//! | --- | --- |
//! | `encoder.onnx` | source tokens to the cross-attention keys and values of every decoder layer |
//! | `decoder.onnx` | one decoder step, with a key/value cache that is updated in place |
//! | `weights.bin` | the weights of both graphs, mapped to memory |
//! | `tokenizer.json` | the tokenizer, in the format of the `tokenizers` library |
//! | `target_tokenizer.json` | the tokenizer of summaries, if it differs |
//! | `generation_config.json` | generation defaults, with transformers' names |
//! | `manifest.json` | a description of the model, its origin, and digests of the files |

pub mod digest;
pub mod io;
pub(crate) mod manifest;
mod precision;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use manifest::{
    CalibrationRecord, FORMAT, FileRecord, Layout, Manifest, ModelShape, SourceRecord, Surplus,
    Tool,
};
pub use precision::Precision;

use crate::error::{Error, Result};

/// The encoder graph.
pub const ENCODER: &str = "encoder.onnx";
/// The decoder graph.
pub const DECODER: &str = "decoder.onnx";
/// The weights of both graphs.
pub const WEIGHTS: &str = "weights.bin";
/// The tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// The tokenizer of summaries, if it differs from that of sources.
pub const TARGET_TOKENIZER: &str = "target_tokenizer.json";
/// Generation defaults.
pub const GENERATION_CONFIG: &str = "generation_config.json";
/// The manifest.
pub const MANIFEST: &str = "manifest.json";

/// The encoder graph of optimum's layout, by which the layout is recognized.
const OPTIMUM_ENCODER: &str = "encoder_model.onnx";

/// The files of every bundle, except the manifest. The manifest has a digest of each.
pub const FILES: [&str; 5] = [ENCODER, DECODER, WEIGHTS, TOKENIZER, GENERATION_CONFIG];

/// An exported model on disk.
#[derive(Clone, Debug)]
pub struct Bundle {
    root: PathBuf,
    manifest: Manifest,
}

impl Bundle {
    /// Opens a bundle. This checks the sizes of all files, and all digests except that of the
    /// weights, which [`check`](Self::check) verifies.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref().to_owned();
        if !root.is_dir() {
            return Err(Error::NoBundle { path: root, problem: "is not a folder" });
        }
        if !root.join(MANIFEST).is_file() {
            if root.join(OPTIMUM_ENCODER).is_file() {
                return Err(Error::OptimumLayout { path: root });
            }
            return Err(Error::NoBundle { path: root, problem: "has no manifest.json" });
        }
        let manifest = read_manifest(&root.join(MANIFEST))?;
        if manifest.layout == Layout::Optimum {
            return Err(Error::OptimumLayout { path: root });
        }
        let bundle = Self { root, manifest };
        for name in bundle.files() {
            let record = bundle.record(name)?;
            let path = bundle.path(name);
            let found = fs::metadata(&path).map_err(|source| Error::io(&path, source))?.len();
            if found != record.bytes {
                return Err(Error::FileSize { path, found, expected: record.bytes });
            }
            if name != WEIGHTS {
                bundle.check_file(name)?;
            }
        }
        bundle.check_shape()?;
        Ok(bundle)
    }

    /// Checks that the weights are large enough for the manifest's sizes, which determine the
    /// buffers.
    fn check_shape(&self) -> Result<()> {
        let shape = &self.manifest.shape;
        let bytes = u128::from(self.record(WEIGHTS)?.bytes);
        let product = |sizes: &[usize]| -> u128 {
            let sizes = sizes.iter().map(|&size| size as u128);
            sizes.fold(1, u128::saturating_mul)
        };
        let [hidden, heads] = [shape.hidden_size, shape.heads];
        // An element takes at least one byte in embedding tables, and half a byte in matrices.
        let needed = [
            ("vocab_size", product(&[shape.vocab_size, hidden])),
            ("source_vocab_size", product(&[shape.source_vocab_size.unwrap_or(0), hidden])),
            ("head_size", product(&[shape.decoder_layers, heads, shape.head_size, hidden]) / 2),
            ("encoder_layers", product(&[shape.encoder_layers, hidden]) / 2),
            ("source_prompt", product(&[shape.source_prompt, hidden])),
        ];
        match needed.iter().find(|(_, needed)| *needed > bytes) {
            None => Ok(()),
            Some((name, _)) => Err(Error::Json {
                path: self.path(MANIFEST),
                problem: format!("says a shape.{name} for which weights.bin is too small"),
            }),
        }
    }

    /// Compares the digest of every file with the manifest.
    pub fn check(&self) -> Result<()> {
        self.files().try_for_each(|name| self.check_file(name))
    }

    /// All files except the manifest.
    fn files(&self) -> impl Iterator<Item = &'static str> {
        FILES.into_iter().chain(self.has_target_tokenizer().then_some(TARGET_TOKENIZER))
    }

    /// Whether the bundle has a target tokenizer.
    pub(crate) fn has_target_tokenizer(&self) -> bool {
        self.manifest.files.contains_key(TARGET_TOKENIZER)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of one of the bundle's files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads the generation defaults.
    pub fn generation_config(&self) -> Result<Map<String, Value>> {
        read_json(&self.path(GENERATION_CONFIG))
    }

    fn record(&self, name: &str) -> Result<&FileRecord> {
        self.manifest.files.get(name).ok_or_else(|| Error::Json {
            path: self.path(MANIFEST),
            problem: format!("names no '{name}' under 'files'"),
        })
    }

    fn check_file(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        let found = digest::file(&path).map_err(|source| Error::io(&path, source))?;
        let expected = &self.record(name)?.sha256;
        if found == *expected {
            Ok(())
        } else {
            Err(Error::FileDigest { path, found, expected: expected.clone() })
        }
    }
}

fn read_manifest(path: &Path) -> Result<Manifest> {
    let fields: Map<String, Value> = read_json(path)?;
    match fields.get("format").and_then(Value::as_u64) {
        Some(format) if format == u64::from(FORMAT) => {}
        Some(format) => {
            return Err(Error::BundleFormat { path: path.into(), found: format });
        }
        None => {
            return Err(Error::Json {
                path: path.into(),
                problem: "has no number 'format'".into(),
            });
        }
    }
    let wrong = |problem: String| Error::Json { path: path.into(), problem };
    let manifest: Manifest =
        serde_json::from_value(Value::Object(fields)).map_err(|error| wrong(error.to_string()))?;
    let shape = &manifest.shape;
    let sizes = [
        ("hidden_size", shape.hidden_size),
        ("decoder_layers", shape.decoder_layers),
        ("heads", shape.heads),
        ("head_size", shape.head_size),
        ("vocab_size", shape.vocab_size),
        ("max_source_positions", shape.max_source_positions),
        ("max_target_positions", shape.max_target_positions.unwrap_or(usize::MAX)),
    ];
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((name, _)) => Err(wrong(format!("says that shape.{name} is 0, which no model has"))),
        None => Ok(manifest),
    }
}

fn read_json(path: &Path) -> Result<Map<String, Value>> {
    let text = fs::read(path).map_err(|source| Error::io(path, source))?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::Json { path: path.into(), problem: error.to_string() })
}
