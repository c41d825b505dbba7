//! `manifest.json`: what a bundle is, where it came from, and what its files must hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::precision::Precision;

/// The bundle format that this version writes and reads.
pub const FORMAT: u32 = 1;

/// What an export is written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// The bundle that this library runs.
    #[default]
    Bundle,
    /// Standard operators under optimum's names, for ONNX Runtime in other hands.
    Optimum,
}

impl Layout {
    fn is_bundle(&self) -> bool {
        *self == Self::Bundle
    }
}

/// The record in `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the bundle format: [`FORMAT`].
    pub format: u32,
    /// What the export is written for; absent for a bundle.
    #[serde(skip_serializing_if = "Layout::is_bundle", default)]
    pub layout: Layout,
    /// `model_type` of the checkpoint.
    pub architecture: String,
    /// Precision of the weights.
    pub precision: Precision,
    /// What wrote the bundle.
    pub tool: Tool,
    /// Version of ONNX Runtime it was verified with; absent when verification was turned off.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub onnxruntime: Option<String>,
    /// What weights were rounded by; absent where they were rounded by themselves.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub calibration: Option<CalibrationRecord>,
    /// Where the model came from.
    pub source: SourceRecord,
    /// Sizes of the model.
    pub shape: ModelShape,
    /// Longest source in tokens, the end token included; what is longer is truncated.
    pub max_source_tokens: usize,
    /// What is put before every source text, as the model was trained: `summarize: ` for T5. Absent
    /// where it was trained without.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_prefix: Option<String>,
    /// Tokens of the tokenizer that the model does not know; absent where it knows all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub surplus_tokens: Option<Surplus>,
    /// The token of the language that the tokenizer was set to write (mBART, M2M-100). A hint for
    /// `forced_bos_token_id`: as in transformers, generation follows the model's settings alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_language_token: Option<u32>,
    /// Which file each generation default came from.
    pub generation_defaults: BTreeMap<String, String>,
    /// Every other file of the bundle.
    pub files: BTreeMap<String, FileRecord>,
}

/// Tokens that only serve to cut text: the model sees another in their place.
///
/// Marian's SentencePiece model has pieces that its vocabulary leaves out; they cut text as any
/// other, and are unknown to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surplus {
    /// The first id of them; all that follow are, too.
    pub from: u32,
    /// The id that the model sees.
    pub token: u32,
}

impl Surplus {
    /// The id that the model sees for the token `id`.
    pub fn apply(self, id: u32) -> u32 {
        if id < self.from { id } else { self.token }
    }
}

/// The program that wrote a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// `epitome`
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The checkpoint that a bundle was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// File or folder name, without its path.
    pub name: String,
    /// Digest of the archive, or of the files read from a folder.
    pub digest: String,
    /// The file the weights were read from.
    pub weights: String,
    /// `transformers_version` in config.json, where it says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transformers_version: Option<String>,
    /// Tensors that the model has no use for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left_out: Vec<String>,
}

/// The documents that a bundle's weights were rounded by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalibrationRecord {
    /// What they were called: the name of a file, without its path.
    pub name: String,
    /// How many.
    pub documents: usize,
    /// Digest of their texts.
    pub digest: String,
}

/// What a file of the bundle must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Sizes of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelShape {
    /// Size of a hidden state.
    pub hidden_size: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Heads of keys and values of a decoder layer.
    pub heads: usize,
    /// Size of a head.
    pub head_size: usize,
    /// Tokens the model can produce.
    pub vocab_size: usize,
    /// Tokens a source can hold, where it has a vocabulary of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_vocab_size: Option<usize>,
    /// Most tokens a source can have.
    pub max_source_positions: usize,
    /// Most tokens that the decoder can read of a sequence, the start token included; absent where
    /// its positions have no end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_target_positions: Option<usize>,
    /// Whether the encoder reads which tokens have global attention (LED).
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub global_attention: bool,
    /// Trained keys and values before those of every source (MVP's prompts).
    #[serde(skip_serializing_if = "is_zero", default)]
    pub source_prompt: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
