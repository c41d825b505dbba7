//! Which files make up a checkpoint, by name.

use std::collections::BTreeSet;

/// The configuration every checkpoint has.
pub(crate) const CONFIG: &str = "config.json";

/// The defaults for generation, in checkpoints of transformers 4.27 and later.
pub(crate) const GENERATION_CONFIG: &str = "generation_config.json";

/// Files that a conversion may need, apart from weights: configuration and tokenizer.
const PARTS: &[&str] = &[
    CONFIG,
    GENERATION_CONFIG,
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

/// Weights that cannot be read, and what they are.
const FOREIGN: &[(&str, &str)] = &[
    ("tf_model.h5", "holds only TensorFlow weights (tf_model.h5)"),
    (
        "flax_model.msgpack",
        "holds only Flax weights (flax_model.msgpack)",
    ),
    (
        "model.ckpt.index",
        "holds only TensorFlow 1 weights (model.ckpt.index)",
    ),
    (
        "adapter_model.safetensors",
        "holds only an adapter (adapter_model.safetensors), not merged",
    ),
    (
        "adapter_model.bin",
        "holds only an adapter (adapter_model.bin), not merged",
    ),
    (
        "pytorch_model.bin.partial",
        "holds only a part of a download",
    ),
];

/// How a weights file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Safetensors,
    Torch,
}

/// The file that weights are read from, or the index of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weights {
    pub(crate) format: Format,
    pub(crate) file: &'static str,
    pub(crate) sharded: bool,
}

/// The order in which transformers looks for weights.
const WEIGHTS: &[Weights] = &[
    Weights {
        format: Format::Safetensors,
        file: "model.safetensors",
        sharded: false,
    },
    Weights {
        format: Format::Safetensors,
        file: "model.safetensors.index.json",
        sharded: true,
    },
    Weights {
        format: Format::Torch,
        file: "pytorch_model.bin",
        sharded: false,
    },
    Weights {
        format: Format::Torch,
        file: "pytorch_model.bin.index.json",
        sharded: true,
    },
];

impl Weights {
    /// The file or index that is read when a folder holds these files.
    pub(crate) fn find(names: &BTreeSet<String>) -> Option<Self> {
        WEIGHTS
            .iter()
            .copied()
            .find(|weights| names.contains(weights.file))
    }

    /// The name of the file without `.index.json`.
    pub(crate) fn base(self) -> &'static str {
        self.file.strip_suffix(".index.json").unwrap_or(self.file)
    }
}

/// What a folder without weights has in their place, to follow its name in a sentence.
pub(crate) fn instead_of_weights(names: &BTreeSet<String>) -> &'static str {
    let foreign = FOREIGN.iter().find(|(name, _)| names.contains(*name));
    foreign.map_or("holds no weights", |(_, what)| what)
}

/// The format of a weights file, by the end of its name.
pub(super) fn format(name: &str) -> Format {
    match name.ends_with(".safetensors") {
        true => Format::Safetensors,
        false => Format::Torch,
    }
}

/// The format of a file that may hold weights, shards included.
fn weights_format(name: &str) -> Option<Format> {
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
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

/// Whether a file of this name belongs to a checkpoint.
pub(crate) fn is_part(name: &str) -> bool {
    PARTS.contains(&name)
        || WEIGHTS.iter().any(|weights| weights.file == name)
        || weights_format(name).is_some()
}

/// Whether a file of this name says something about its folder, though it need not be unpacked.
pub(crate) fn is_telling(name: &str) -> bool {
    is_part(name) || FOREIGN.iter().any(|(foreign, _)| *foreign == name)
}

/// Whether a conversion reads the file `name` of a folder whose weights are `weights`: all parts
/// but the weights and indices that another form of them takes precedence over.
pub(crate) fn is_used(name: &str, weights: Option<Weights>) -> bool {
    let (Some(weights), true) = (weights, is_part(name)) else {
        return is_part(name);
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
        for name in [
            "training_args.bin",
            "optimizer.pt",
            "rng_state.pth",
            "optimizer.bin",
        ] {
            assert!(!is_part(name), "{name}");
        }
        assert!(!is_part("model\n.safetensors"));
    }
}
