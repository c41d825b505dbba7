//! From the parts of a tokenizer to the tokenizer.

use epitome_runtime::bundle::Surplus;
use serde_json::{Value, json};
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, Tokenizer};

use super::settings::{NAMED, Settings, special};
use crate::error::{Error, Result};

/// The parts of a tokenizer, each as the `tokenizers` library writes it in `tokenizer.json`.
#[derive(Debug)]
pub(super) struct Blueprint {
    /// Text to text.
    pub(super) normalizer: Value,
    /// Text to words.
    pub(super) pre_tokenizer: Value,
    /// Words to tokens.
    pub(super) model: Value,
    /// Tokens to text.
    pub(super) decoder: Value,
    /// What is put around the tokens.
    pub(super) frame: Frame,
    /// Tokens found in text before anything else; those of the model keep their ids, others get
    /// the next ones.
    pub(super) added: Vec<AddedToken>,
    /// Pieces that cut text, and have no id of their own in the model.
    pub(super) surplus: Option<Surplus>,
}

/// What is put around the tokens of a text.
#[derive(Debug)]
pub(super) enum Frame {
    /// These tokens before and after.
    Tokens {
        /// Before.
        before: Vec<String>,
        /// After.
        after: Vec<String>,
    },
    /// RoBERTa's: `cls` before and `sep` after, as transformers' `RobertaProcessing` writes it.
    Roberta {
        /// Before.
        cls: String,
        /// After.
        sep: String,
        /// Whether a space is put before the text.
        add_prefix_space: bool,
        /// Whether spaces count to the offsets.
        trim_offsets: bool,
    },
}

impl Blueprint {
    /// Makes the tokenizer, from the vocabulary in `file`.
    pub(super) fn build(self, file: &str, settings: &Settings) -> Result<Tokenizer> {
        let wrong = |error: &dyn std::fmt::Display| Error::Tokenizer {
            file: file.into(),
            problem: format!("cannot become a tokenizer: {error}"),
        };
        let parts = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": self.normalizer, "pre_tokenizer": self.pre_tokenizer,
            "post_processor": null, "decoder": self.decoder, "model": self.model,
        });
        let mut tokenizer: Tokenizer =
            serde_json::from_value(parts).map_err(|error| wrong(&error))?;
        tokenizer
            .add_tokens(self.added)
            .map_err(|error| wrong(&error))?;
        // The model learned these ids: a token that would get another one is read wrongly.
        for (id, token) in settings.added_tokens() {
            let found = tokenizer.token_to_id(&token.content);
            if found != Some(*id) {
                let found = found.map_or("none".into(), |found| found.to_string());
                return Err(wrong(&format!(
                    "the added token '{}' has id {id}, and with this vocabulary it would get {found}",
                    token.content
                )));
            }
        }
        let processor = self
            .frame
            .processor(&tokenizer)
            .map_err(|missing| wrong(&format!("it lacks the token '{missing}'")))?;
        let processor: PostProcessorWrapper =
            serde_json::from_value(processor).map_err(|error| wrong(&error))?;
        tokenizer.with_post_processor(Some(processor));
        Ok(tokenizer)
    }
}

impl Frame {
    /// These tokens after the text, none before.
    pub(super) fn after(tokens: &[&str]) -> Self {
        Self::Tokens {
            before: Vec::new(),
            after: tokens.iter().map(|&token| token.to_owned()).collect(),
        }
    }

    /// The post-processor as `tokenizer.json` has it, or the token that the tokenizer lacks.
    fn processor(&self, tokenizer: &Tokenizer) -> std::result::Result<Value, String> {
        let id = |token: &str| tokenizer.token_to_id(token).ok_or_else(|| token.to_owned());
        match self {
            Self::Tokens { before, after } => {
                let sequence = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
                let special = |token: &String| json!({"SpecialToken": {"id": token, "type_id": 0}});
                let around = |inside: Vec<Value>| -> Vec<Value> {
                    let before = before.iter().map(special);
                    before
                        .chain(inside)
                        .chain(after.iter().map(special))
                        .collect()
                };
                let mut tokens = serde_json::Map::new();
                for token in before.iter().chain(after) {
                    let entry = json!({"id": token, "ids": [id(token)?], "tokens": [token]});
                    tokens.insert(token.clone(), entry);
                }
                Ok(json!({
                    "type": "TemplateProcessing",
                    "single": around(vec![sequence("A")]),
                    "pair": around(vec![sequence("A"), sequence("B")]),
                    "special_tokens": tokens,
                }))
            }
            Self::Roberta {
                cls,
                sep,
                add_prefix_space,
                trim_offsets,
            } => Ok(json!({
                "type": "RobertaProcessing",
                "sep": [sep, id(sep)?], "cls": [cls, id(cls)?],
                "trim_offsets": trim_offsets, "add_prefix_space": add_prefix_space,
            })),
        }
    }
}

/// Special tokens by name: those of a class and what the settings make of them.
///
/// The order is that in which transformers adds them (`TokenizersBackend.__init__` in
/// `tokenization_utils_tokenizers.py`): it decides the ids of those that the vocabulary lacks.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    named: Vec<(&'static str, AddedToken)>,
    unlisted: Vec<AddedToken>,
}

impl SpecialTokens {
    /// The tokens of a class with these `defaults`, which name those it knows.
    pub(super) fn new(
        settings: &Settings,
        defaults: &[(&'static str, AddedToken)],
    ) -> Result<Self> {
        let mut named = Vec::new();
        for name in NAMED {
            let default = defaults.iter().find(|(other, _)| *other == name);
            if let Some(token) = settings.token(name, default.map(|(_, token)| token.clone()))? {
                named.push((name, token));
            }
        }
        Ok(Self {
            named,
            unlisted: settings.unlisted_tokens(),
        })
    }

    /// The text of a named token.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let token = self.named.iter().find(|(other, _)| *other == name);
        token.map(|(_, token)| token.content.as_str())
    }

    /// The text of a token that the class cannot do without.
    pub(super) fn required(&self, name: &str) -> Result<&str> {
        self.text(name).ok_or_else(|| Error::Config {
            file: super::settings::TOKENIZER_CONFIG.into(),
            field: name.into(),
            problem: "is null, and the tokenizer needs it".into(),
        })
    }

    /// Every token to add: those of the settings by id, then the named ones, then `extra`.
    pub(super) fn to_add(&self, settings: &Settings, extra: Vec<AddedToken>) -> Vec<AddedToken> {
        let mut tokens: Vec<AddedToken> = settings.added_tokens().values().cloned().collect();
        let further = self.named.iter().map(|(_, token)| token.clone());
        for token in further.chain(self.unlisted.iter().cloned()).chain(extra) {
            match tokens
                .iter_mut()
                .find(|known| known.content == token.content)
            {
                // A named token is special, whatever the list says.
                Some(known) => known.special |= token.special,
                None => tokens.push(token),
            }
        }
        tokens
    }
}

/// Defaults of a class: plain special tokens under these names.
pub(super) fn defaults(tokens: &[(&'static str, &str)]) -> Vec<(&'static str, AddedToken)> {
    let plain = |&(name, text): &(&'static str, &str)| (name, special(text));
    tokens.iter().map(plain).collect()
}

/// The decoder, with transformers' `clean_up_tokenization` behind it where the settings ask for it.
///
/// transformers 5.23 heeds `clean_up_tokenization_spaces` for every model but BPE.
pub(super) fn tidy(decoder: Value) -> Value {
    const REPLACEMENTS: [(&str, &str); 10] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    let replace = |(from, to): (&str, &str)| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let mut decoders = vec![decoder, json!({"type": "Fuse"})];
    decoders.extend(REPLACEMENTS.map(replace));
    json!({"type": "Sequence", "decoders": decoders})
}
