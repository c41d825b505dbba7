//! Random PEGASUS checkpoints of a given shape. Speed and memory depend on a model's shape, not on
//! the values of its weights.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use fastrand::Rng;
use safetensors::{Dtype, View};
use serde_json::json;

use crate::fixtures;
use crate::random::normal;

/// The sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of layers of the encoder, and of the decoder.
    pub layers: usize,
    /// Size of a hidden state.
    pub hidden: usize,
    /// Size of the inner layer of a feed-forward block.
    pub ffn: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// Size of the vocabulary.
    pub vocab: usize,
    /// Largest number of tokens of a source, and of a summary.
    pub positions: usize,
}

impl Shape {
    /// google/pegasus-large: 568 million parameters, 2.3 GB.
    pub const PEGASUS_LARGE: Self =
        Self { layers: 16, hidden: 1024, ffn: 4096, heads: 16, vocab: 96_103, positions: 1024 };

    /// The proportions and the vocabulary of google/pegasus-large in 32 million parameters.
    pub const SMALL: Self =
        Self { layers: 4, hidden: 256, ffn: 1024, heads: 4, vocab: 96_103, positions: 512 };

    /// Writes a checkpoint: `config.json`, `model.safetensors` and a tokenizer of the fixtures.
    /// Every run writes the same files. Only one tensor is in memory at a time.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let config = serde_json::to_string_pretty(&self.config())?;
        fs::write(folder.join("config.json"), config)?;
        let tokenizer = fixtures::folder().join("tiny/pegasus-relu");
        for name in ["tokenizer.json", "special_tokens_map.json"] {
            let path = tokenizer.join(name);
            fs::copy(&path, folder.join(name))
                .with_context(|| format!("cannot copy '{}'", path.display()))?;
        }
        let weights = folder.join("model.safetensors");
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        safetensors::serialize_to_file(self.tensors(), Some(metadata), &weights)
            .with_context(|| format!("cannot write '{}'", weights.display()))
    }

    fn config(&self) -> serde_json::Value {
        json!({
            "architectures": ["PegasusForConditionalGeneration"],
            "model_type": "pegasus",
            "activation_function": "relu",
            "d_model": self.hidden,
            "encoder_layers": self.layers,
            "decoder_layers": self.layers,
            "encoder_attention_heads": self.heads,
            "decoder_attention_heads": self.heads,
            "encoder_ffn_dim": self.ffn,
            "decoder_ffn_dim": self.ffn,
            "max_position_embeddings": self.positions,
            "vocab_size": self.vocab,
            "scale_embedding": true,
            "decoder_start_token_id": 0,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "forced_eos_token_id": 1,
            "max_length": 64,
            "num_beams": 8,
            "length_penalty": 0.8,
        })
    }

    /// All tensors with their names.
    fn tensors(&self) -> Vec<(String, RandomTensor)> {
        let mut list = Tensors::default();
        list.matrix("model.shared", self.vocab, self.hidden);
        for side in ["encoder", "decoder"] {
            for layer in 0..self.layers {
                let at = format!("model.{side}.layers.{layer}");
                let attentions: &[&str] = match side {
                    "decoder" => &["self_attn", "encoder_attn"],
                    _ => &["self_attn"],
                };
                for attention in attentions {
                    for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                        list.linear(&format!("{at}.{attention}.{part}"), self.hidden, self.hidden);
                    }
                    list.norm(&format!("{at}.{attention}_layer_norm"), self.hidden);
                }
                list.linear(&format!("{at}.fc1"), self.ffn, self.hidden);
                list.linear(&format!("{at}.fc2"), self.hidden, self.ffn);
                list.norm(&format!("{at}.final_layer_norm"), self.hidden);
            }
            list.norm(&format!("model.{side}.layer_norm"), self.hidden);
        }
        list.0
    }
}

#[derive(Default)]
struct Tensors(Vec<(String, RandomTensor)>);

impl Tensors {
    fn add(&mut self, name: String, shape: Vec<usize>, mean: f32, deviation: f32) {
        let seed = self.0.len() as u64;
        self.0.push((name, RandomTensor { shape, mean, deviation, seed }));
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) {
        let deviation = 1.0 / (columns as f32).sqrt();
        self.add(format!("{name}.weight"), vec![rows, columns], 0.0, deviation);
    }

    fn linear(&mut self, name: &str, rows: usize, columns: usize) {
        self.matrix(name, rows, columns);
        self.add(format!("{name}.bias"), vec![rows], 0.0, 0.05);
    }

    fn norm(&mut self, name: &str, size: usize) {
        self.add(format!("{name}.weight"), vec![size], 1.0, 0.1);
        self.add(format!("{name}.bias"), vec![size], 0.0, 0.1);
    }
}

/// A tensor whose values are computed when they are written.
struct RandomTensor {
    shape: Vec<usize>,
    mean: f32,
    deviation: f32,
    seed: u64,
}

impl View for RandomTensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut random = Rng::with_seed(self.seed);
        let count = self.data_len() / size_of::<f32>();
        let bytes = (0..count)
            .flat_map(|_| (self.mean + self.deviation * normal(&mut random)).to_le_bytes());
        Cow::Owned(bytes.collect())
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<f32>()
    }
}
