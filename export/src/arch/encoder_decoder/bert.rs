//! BERT (Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
//! Understanding") and its descendants.
//!
//! Agrees with `transformers/models/bert/modeling_bert.py`, and with `roberta`, `xlm_roberta`,
//! `camembert` and `electra` there. All tokens belong to the first segment. RoBERTa, XLM-RoBERTa
//! and CamemBERT count positions past padding; ELECTRA's embeddings have a size of their own.

use super::submodel::{Submodel, SubmodelType};
use crate::arch::blocks::activation::Activation;
use crate::arch::blocks::attention::{Attention, Projections};
use crate::arch::blocks::embedding::{Embedding, TokenNorm};
use crate::arch::blocks::feed_forward::{FeedForward, FeedForwardNames};
use crate::arch::blocks::heads::Heads;
use crate::arch::blocks::norm::{Norm, NormKind, Placement};
use crate::arch::blocks::output::{Output, Transform};
use crate::arch::blocks::positions::{PositionKind, PositionTable};
use crate::arch::blocks::transformer::{Stack, StackNames};
use crate::arch::config::{ModelConfig, wrong};
use crate::arch::weights::Alias;
use crate::error::Result;

pub(super) const BERT: SubmodelType = SubmodelType {
    model_type: "bert",
    tokenizer_class: "BertTokenizer",
    encoder: Some(|config| encoder(config, &ENCODER, &BERT_MODEL)),
    decoder: Some(|config| decoder(config, &BERT_DECODER, &BERT_MODEL)),
    shared: Some(|config| encoder(config, &BERT_DECODER.base, &BERT_MODEL)),
};
pub(super) const ELECTRA: SubmodelType = SubmodelType {
    model_type: "electra",
    tokenizer_class: "ElectraTokenizer",
    encoder: Some(|config| encoder(config, &ENCODER, &ELECTRA_MODEL)),
    decoder: Some(|config| decoder(config, &ELECTRA_DECODER, &ELECTRA_MODEL)),
    shared: Some(|config| encoder(config, &ELECTRA_DECODER.base, &ELECTRA_MODEL)),
};
pub(super) const ROBERTA: SubmodelType = SubmodelType {
    model_type: "roberta",
    tokenizer_class: "RobertaTokenizer",
    encoder: Some(|config| encoder(config, &ENCODER, &ROBERTA_MODEL)),
    decoder: Some(|config| decoder(config, &ROBERTA_DECODER, &ROBERTA_MODEL)),
    shared: Some(|config| encoder(config, &ROBERTA_DECODER.base, &ROBERTA_MODEL)),
};
pub(super) const CAMEMBERT: SubmodelType =
    SubmodelType { model_type: "camembert", tokenizer_class: "CamembertTokenizer", ..XLM_ROBERTA };
pub(super) const XLM_ROBERTA: SubmodelType = SubmodelType {
    model_type: "xlm-roberta",
    tokenizer_class: "XLMRobertaTokenizer",
    encoder: Some(|config| encoder(config, &ENCODER, &XLM_ROBERTA_MODEL)),
    decoder: Some(|config| decoder(config, &ROBERTA_DECODER, &XLM_ROBERTA_MODEL)),
    shared: Some(|config| encoder(config, &ROBERTA_DECODER.base, &XLM_ROBERTA_MODEL)),
};

/// Default values of a configuration class of transformers, and the differences between models.
struct Defaults {
    vocab_size: usize,
    hidden: usize,
    /// `embedding_size`, if the class has it.
    embedding: Option<usize>,
    heads: usize,
    inner: usize,
    /// `pad_token_id`, if positions are counted past it.
    padding: Option<u32>,
}

const BERT_MODEL: Defaults = Defaults {
    vocab_size: 30522,
    hidden: 768,
    embedding: None,
    heads: 12,
    inner: 3072,
    padding: None,
};
const ELECTRA_MODEL: Defaults =
    Defaults { hidden: 256, embedding: Some(128), heads: 4, inner: 1024, ..BERT_MODEL };
const ROBERTA_MODEL: Defaults = Defaults { vocab_size: 50265, padding: Some(1), ..BERT_MODEL };
const XLM_ROBERTA_MODEL: Defaults = Defaults { padding: Some(1), ..BERT_MODEL };

/// Checkpoint names of the model without its head.
struct Base {
    prefix: &'static str,
    stack: StackNames,
    table: &'static str,
}

/// Names of a model below a prefix.
macro_rules! base {
    ($prefix:literal) => {
        Base {
            prefix: $prefix,
            stack: StackNames {
                stack: concat!($prefix, "encoder"),
                layers: "layer",
                within: "",
                self_attention: ["attention", "attention.output.LayerNorm"],
                cross_attention: ["crossattention", "crossattention.output.LayerNorm"],
                feed_forward: ["", "output.LayerNorm"],
                closing_norm: "",
            },
            table: concat!($prefix, "embeddings.word_embeddings.weight"),
        }
    };
}

const ENCODER: Base = base!("encoder.");

/// Checkpoint names of a decoder.
struct Decoder {
    base: Base,
    /// Names of the linear layer of the head, and of its norm.
    transform: [&'static str; 2],
    /// Name of the output table.
    table: &'static str,
    /// Two names of the output's bias.
    bias: [&'static str; 2],
    /// Whether the head uses the activation function of the layers; otherwise it uses GELU.
    own_activation: bool,
}

const BERT_DECODER: Decoder = Decoder {
    base: base!("decoder.bert."),
    transform: [
        "decoder.cls.predictions.transform.dense",
        "decoder.cls.predictions.transform.LayerNorm",
    ],
    table: "decoder.cls.predictions.decoder.weight",
    bias: ["decoder.cls.predictions.decoder.bias", "decoder.cls.predictions.bias"],
    own_activation: true,
};
const ROBERTA_DECODER: Decoder = Decoder {
    base: base!("decoder.roberta."),
    transform: ["decoder.lm_head.dense", "decoder.lm_head.layer_norm"],
    table: "decoder.lm_head.decoder.weight",
    bias: ["decoder.lm_head.decoder.bias", "decoder.lm_head.bias"],
    own_activation: false,
};
const ELECTRA_DECODER: Decoder = Decoder {
    base: base!("decoder.electra."),
    transform: ["decoder.generator_predictions.dense", "decoder.generator_predictions.LayerNorm"],
    table: "decoder.generator_lm_head.weight",
    bias: ["decoder.generator_lm_head.bias"; 2],
    own_activation: false,
};

/// Names below the layer's `attention` or `crossattention`.
const PROJECTIONS: Projections = Projections {
    query: "self.query",
    key: "self.key",
    value: "self.value",
    output: "output.dense",
};

fn encoder(config: &ModelConfig, base: &Base, defaults: &Defaults) -> Result<Submodel> {
    let kind = config.string_or("position_embedding_type", "absolute")?;
    if kind != "absolute" {
        return Err(wrong(
            "position_embedding_type",
            format_args!("is '{kind}', but only absolute is supported"),
        ));
    }
    let hidden = config.size_or("hidden_size", defaults.hidden)?;
    let count = config.heads_or("num_attention_heads", defaults.heads, hidden)?;
    let norm = Norm {
        kind: NormKind::Layer,
        size: hidden,
        epsilon: config.positive_or("layer_norm_eps", 1e-12)?,
        placement: Placement::Post,
    };
    let layers = config.layers_or("num_hidden_layers", 12)?;
    let attention = Attention::new(Heads { count, size: hidden / count }, hidden, PROJECTIONS);
    let feed_forward = FeedForward {
        inner: config.size_or("intermediate_size", defaults.inner)?,
        activation: Activation::from_config_or(config, "hidden_act", "gelu")?,
        names: FeedForwardNames::Plain(["intermediate.dense", "output.dense"]),
    };
    let stack = Stack::new((base.stack, layers), attention, feed_forward, norm);
    let size = match defaults.embedding {
        Some(size) => config.size_or("embedding_size", size)?,
        None => hidden,
    };
    let vocab_size = config.size_or("vocab_size", defaults.vocab_size)?;
    let rows = config.size_or("max_position_embeddings", 512)?;
    let (kind, positions) = match defaults.padding {
        None => (PositionKind::Learned { offset: 0 }, rows),
        Some(padding) => {
            let padding = config.token_or("pad_token_id", padding, vocab_size)?;
            let positions = rows.saturating_sub(padding as usize + 1);
            if positions == 0 {
                return Err(wrong(
                    "max_position_embeddings",
                    format_args!(
                        "is {rows}, and positions are counted from pad_token_id {padding}"
                    ),
                ));
            }
            (PositionKind::LearnedCounted { padding }, positions)
        }
    };
    let below = |name: &str| format!("{}{name}", base.prefix);
    let table = PositionTable { kind, positions, hidden: size };
    let norm = Norm { size, ..norm };
    let embedding = Embedding {
        segments: Some((
            below("embeddings.token_type_embeddings.weight"),
            config.size_or("type_vocab_size", 2)?,
        )),
        positions: Some((below("embeddings.position_embeddings"), table)),
        norm: Some(TokenNorm {
            name: below("embeddings.LayerNorm"),
            norm,
            before_positions: false,
        }),
        projection: (size != hidden).then(|| (below("embeddings_project"), hidden)),
        ..Embedding::new(base.table.into(), vocab_size, size)
    };
    Ok(Submodel {
        stack,
        embedding,
        table: base.table,
        output: None,
        positions,
        aliases: Vec::new(),
        // The pooler serves other tasks.
        unused: vec![below("pooler.")],
    })
}

fn decoder(config: &ModelConfig, names: &Decoder, defaults: &Defaults) -> Result<Submodel> {
    let mut model = encoder(config, &names.base, defaults)?;
    let Embedding { size, vocab_size, .. } = model.embedding;
    let activation = match names.own_activation {
        true => model.stack.feed_forward.activation,
        false => Activation::Gelu,
    };
    let hidden = model.stack.norm.size;
    let norm = Norm { size, ..model.stack.norm };
    model.output = Some(Output {
        tied: config.flag("tie_word_embeddings", true)?,
        transform: Some(Transform { names: names.transform, hidden, activation, norm }),
        bias: (names.bias[0], vec![vocab_size]),
        ..Output::new(names.table, vocab_size, size)
    });
    model.aliases.push((names.bias[0].into(), Alias::Instead(names.bias[1].into())));
    model.unused.push(names.bias[1].into());
    Ok(model)
}
