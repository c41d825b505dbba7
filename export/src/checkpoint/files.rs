//! Names of the files of a checkpoint.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{Error, Result};

/// Configuration of a checkpoint.
pub(crate) const CONFIG: &str = "config.json";

/// Generation defaults, in checkpoints of transformers 4.27 and later.
pub(crate) const GENERATION_CONFIG: &str = "generation_config.json";

/// Configuration of a PEFT adapter.
pub(crate) const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Weights files of an adapter. The first that exists is read.
const ADAPTER_WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// Files that a tokenizer is made from.
const TOKENIZER: &[&str] = &[
    "added_tokens.json",
    "dict.txt",
    "merges.txt",
    "prophetnet.tokenizer",
    "sentencepiece.bpe.model",
    "source.spm",
    "special_tokens_map.json",
    "spiece.model",
    "target.spm",
    "target_vocab.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab-src.json",
    "vocab-tgt.json",
    "vocab.json",
    "vocab.txt",
];

/// Error for a folder without weights.
pub(crate) const NO_WEIGHTS: &str = "holds no weights: pytorch_model.bin or model.safetensors (or \
                                     their .index.json with shards) is needed";

/// Weights files that cannot be read: prefix and suffix of the name, kind, and advice.
const FOREIGN: &[(&str, &str, &str)] = &[
    (
        "zero_pp_rank_",
        ".pt",
        "holds a checkpoint of DeepSpeed ZeRO, a part for each process: gather it with \
         'python zero_to_fp32.py . .' in the folder with zero_to_fp32.py",
    ),
    (
        "bf16_zero_pp_rank_",
        ".pt",
        "holds a checkpoint of DeepSpeed ZeRO, a part for each process: gather it with \
         'python zero_to_fp32.py . .' in the folder with zero_to_fp32.py",
    ),
    (
        "mp_rank_",
        ".pt",
        "holds a checkpoint of DeepSpeed: gather it with 'python zero_to_fp32.py . .' in the \
         folder with zero_to_fp32.py",
    ),
    (
        "",
        ".distcp",
        "holds a sharded checkpoint of FSDP (.distcp): gather it with \
         'accelerate merge-weights FOLDER OUTPUT', FOLDER being that with the .distcp files",
    ),
    (
        "",
        ".gguf",
        "holds weights of llama.cpp (.gguf), which are rounded already: give the checkpoint that \
         they were made from",
    ),
    (
        "",
        ".ckpt",
        "holds a checkpoint of Lightning (.ckpt): load it with the module that was trained, and \
         save its transformers model with save_pretrained",
    ),
    (
        "encoder_model",
        ".onnx",
        "holds a model that optimum exported to ONNX: give the checkpoint that it was made from",
    ),
    (
        "decoder_model",
        ".onnx",
        "holds a model that optimum exported to ONNX: give the checkpoint that it was made from",
    ),
    (
        "shared_vocabulary",
        "",
        "holds a model of CTranslate2 (model.bin): give the checkpoint that it was converted from",
    ),
    (
        "tf_model",
        ".h5",
        "holds only TensorFlow weights (tf_model.h5): load them with transformers 4 \
         (from_pretrained(FOLDER, from_tf=True)) and save_pretrained them",
    ),
    (
        "flax_model-",
        ".msgpack",
        "holds only Flax weights in shards (flax_model-....msgpack): load them with transformers 4 \
         (from_pretrained(FOLDER, from_flax=True)) and save_pretrained them",
    ),
    (
        "model.ckpt",
        ".index",
        "holds only TensorFlow 1 weights (model.ckpt.index): convert them with the script of the \
         model in transformers 4",
    ),
    (
        "rust_model",
        ".ot",
        "holds only weights of rust-bert (rust_model.ot): give the checkpoint that they were made \
         from",
    ),
    ("pytorch_model.bin", ".partial", "holds only a part of a download: fetch it again"),
];

/// Kind and advice for a weights file that cannot be read.
fn foreign(name: &str) -> Option<&'static str> {
    FOREIGN
        .iter()
        .find(|(begin, end, _)| name.starts_with(begin) && name.ends_with(end))
        .map(|(.., what)| *what)
}

/// Format of a weights file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Safetensors,
    Torch,
    Flax,
}

/// The weights file, or the index of the weights files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weights {
    pub(crate) format: Format,
    pub(crate) file: &'static str,
    pub(crate) sharded: bool,
}

/// Weights in the order in which transformers looks for them. transformers reads Flax only on
/// request.
const WEIGHTS: &[Weights] = &[
    Weights { format: Format::Safetensors, file: "model.safetensors", sharded: false },
    Weights { format: Format::Safetensors, file: "model.safetensors.index.json", sharded: true },
    Weights { format: Format::Torch, file: "pytorch_model.bin", sharded: false },
    Weights { format: Format::Torch, file: "pytorch_model.bin.index.json", sharded: true },
    Weights { format: Format::Flax, file: "flax_model.msgpack", sharded: false },
];

impl Weights {
    /// The weights that are read from a folder with these files.
    pub(crate) fn find(names: &BTreeSet<String>) -> Option<Self> {
        WEIGHTS.iter().copied().find(|weights| names.contains(weights.file))
    }

    /// The file name without `.index.json`.
    pub(crate) fn base(self) -> &'static str {
        self.file.strip_suffix(".index.json").unwrap_or(self.file)
    }
}

/// The end of a sentence about a folder without weights: what it has instead.
pub(crate) fn instead_of_weights(names: &BTreeSet<String>) -> Option<String> {
    names.iter().find_map(|name| foreign(name)).map(str::to_owned)
}

/// Whether a tokenizer may be made from the file `name`.
pub(crate) fn is_tokenizer(name: &str) -> bool {
    TOKENIZER.contains(&name)
}

/// Whether the file `name` belongs to an adapter.
pub(crate) fn is_adapter(name: &str) -> bool {
    name == ADAPTER_CONFIG || ADAPTER_WEIGHTS.contains(&name)
}

/// The weights file of the adapter in `folder`.
pub(crate) fn adapter_weights(folder: &Path) -> Result<&'static str> {
    let found = ADAPTER_WEIGHTS.into_iter().find(|name| folder.join(name).is_file());
    found.ok_or_else(|| Error::Weights {
        file: ADAPTER_WEIGHTS[0].to_owned(),
        problem: format!("is missing beside {ADAPTER_CONFIG}: fetch the whole adapter"),
    })
}

/// Format of a weights file, by the end of its name.
pub(super) fn format(name: &str) -> Format {
    match name.rsplit_once('.') {
        Some((_, "safetensors")) => Format::Safetensors,
        Some((_, "msgpack")) => Format::Flax,
        _ => Format::Torch,
    }
}

/// Format of a file that may hold weights, shards included.
fn weights_format(name: &str) -> Option<Format> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !plain {
        None
    } else if name.starts_with("model") && name.ends_with(".safetensors") {
        Some(Format::Safetensors)
    } else if name.starts_with("pytorch_model") && name.ends_with(".bin") {
        Some(Format::Torch)
    } else {
        None
    }
}

/// Whether the file `name` belongs to a checkpoint.
pub(crate) fn is_part(name: &str) -> bool {
    is_model(name) || is_adapter(name)
}

/// Whether the file `name` belongs to a model: configuration, tokenizer or weights.
fn is_model(name: &str) -> bool {
    name == CONFIG
        || name == GENERATION_CONFIG
        || is_tokenizer(name)
        || WEIGHTS.iter().any(|weights| weights.file == name)
        || weights_format(name).is_some()
}

/// Whether the name of a file says something about its folder, though the file need not be
/// unpacked.
pub(crate) fn is_telling(name: &str) -> bool {
    is_part(name) || foreign(name).is_some()
}

/// Whether a conversion reads the file `name` of a folder with these `weights`: all parts but the
/// weights and indices in a form of lower precedence.
pub(crate) fn is_used(name: &str, weights: Option<Weights>) -> bool {
    let (Some(weights), true) = (weights, is_model(name)) else {
        return is_model(name);
    };
    if WEIGHTS.iter().any(|other| other.file == name) {
        return name == weights.file;
    }
    match weights_format(name) {
        Some(format) => weights.sharded && format == weights.format,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn safetensors_take_precedence_and_leave_the_rest_unused() {
        let names = names(&["pytorch_model.bin", "model.safetensors", "config.json"]);
        let weights = Weights::find(&names).unwrap();
        assert_eq!(weights.file, "model.safetensors");
        assert!(is_used("config.json", Some(weights)));
        assert!(is_used("model.safetensors", Some(weights)));
        assert!(!is_used("pytorch_model.bin", Some(weights)));
        assert!(!is_used("model-00001-of-00002.safetensors", Some(weights)));
        assert!(!is_used("training_args.bin", Some(weights)));
    }

    #[test]
    fn shards_are_parts_and_training_state_is_not() {
        let weights = Weights::find(&names(&["pytorch_model.bin.index.json"])).unwrap();
        assert!(weights.sharded);
        assert_eq!(weights.base(), "pytorch_model.bin");
        assert!(is_used("pytorch_model-00001-of-00002.bin", Some(weights)));
        assert!(!is_used("model-00001-of-00002.safetensors", Some(weights)));
        for name in ["training_args.bin", "optimizer.pt", "rng_state.pth", "optimizer.bin"] {
            assert!(!is_part(name), "{name}");
        }
        assert!(!is_part("model\n.safetensors"));
        assert!(is_part("adapter_model.bin") && !is_used("adapter_model.bin", Some(weights)));
    }
}
