//! `manifest.json`: the description of a bundle, its origin, and the digests of its files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::precision::Precision;

/// The bundle format that this version writes and reads.
pub const FORMAT: u32 = 1;

/// The layout of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// The bundle that this library runs.
    #[default]
    Bundle,
    /// Standard operators with optimum's names, for other programs.
    Optimum,
}

impl Layout {
    fn is_bundle(&self) -> bool {
        *self == Self::Bundle
    }
}

/// The contents of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the bundle format: [`FORMAT`].
    pub format: u32,
    /// Layout of the export; absent for a bundle.
    #[serde(skip_serializing_if = "Layout::is_bundle", default)]
    pub layout: Layout,
    /// `model_type` of the checkpoint.
    pub architecture: String,
    /// Precision of the weights.
    pub precision: Precision,
    /// The program that wrote the bundle.
    pub tool: Tool,
    /// Version of ONNX Runtime that the bundle was verified with; absent without verification.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub onnxruntime: Option<String>,
    /// Documents for the calibration of the weights; absent without calibration.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub calibration: Option<CalibrationRecord>,
    /// Origin of the model.
    pub source: SourceRecord,
    /// Sizes of the model.
    pub shape: ModelShape,
    /// Maximum number of source tokens, special tokens included. Longer sources are truncated.
    pub max_source_tokens: usize,
    /// Text that precedes every source, as in training: `summarize: ` for T5. Absent if the model
    /// was trained without one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_prefix: Option<String>,
    /// Tokens of the tokenizer that the model does not know; absent if it knows all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub surplus_tokens: Option<Surplus>,
    /// Token of the tokenizer's target language (mBART, M2M-100), a hint for `forced_bos_token_id`.
    /// As in transformers, generation uses only the model's settings.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target_language_token: Option<u32>,
    /// The file that each generation default came from.
    pub generation_defaults: BTreeMap<String, String>,
    /// Records of all other files of the bundle.
    pub files: BTreeMap<String, FileRecord>,
}

/// Tokens of the tokenizer that the model does not know. They are replaced by another token.
///
/// Marian's SentencePiece model has pieces that are not in its vocabulary. They take part in the
/// tokenization, and become the unknown token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surplus {
    /// The first such id. All greater ids are surplus too.
    pub from: u32,
    /// The id that replaces them.
    pub token: u32,
}

impl Surplus {
    /// The id for the model of the token `id`.
    pub fn apply(self, id: u32) -> u32 {
        if id < self.from { id } else { self.token }
    }
}

/// The program that wrote a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// Name of the program: `epitome`.
    pub name: String,
    /// Version of the program.
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
    /// `transformers_version` of config.json, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transformers_version: Option<String>,
    /// Tensors of the checkpoint that the model does not use.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub left_out: Vec<String>,
}

/// The documents for the calibration of a bundle's weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalibrationRecord {
    /// Name of the documents' file, without its path.
    pub name: String,
    /// Number of documents.
    pub documents: usize,
    /// Digest of the documents' texts.
    pub digest: String,
}

/// Size and digest of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
}

/// Sizes of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelShape {
    /// Size of a hidden state.
    pub hidden_size: usize,
    /// Number of encoder layers.
    pub encoder_layers: usize,
    /// Number of decoder layers.
    pub decoder_layers: usize,
    /// Number of heads of keys and values of a decoder layer.
    pub heads: usize,
    /// Size of a head.
    pub head_size: usize,
    /// Size of the vocabulary of summaries.
    pub vocab_size: usize,
    /// Size of the vocabulary of sources, if it differs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_vocab_size: Option<usize>,
    /// Maximum number of source tokens.
    pub max_source_positions: usize,
    /// Maximum number of decoder tokens, the start token included; absent if positions are
    /// unlimited.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_target_positions: Option<usize>,
    /// Whether the encoder has the input `global_attention_mask` (LED).
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub global_attention: bool,
    /// Number of trained keys and values that precede those of every source (MVP's prompts).
    #[serde(skip_serializing_if = "is_zero", default)]
    pub source_prompt: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
