//! Builds a tokenizer from its parts.

use epitome_runtime::bundle::Surplus;
use epitome_runtime::tokenizer::{CLEAN_UP_TOKENIZATION, Pipeline, parts};
use serde_json::{Value, json};
use tokenizers::AddedToken;

use super::settings::{NAMED, Settings, special};
use crate::error::{Error, Result};
use crate::version::Version;

/// The parts of a tokenizer, in the format of `tokenizer.json`.
#[derive(Debug)]
pub(super) struct Parts {
    /// From text to normalized text.
    pub(super) normalizer: Value,
    /// From text to words.
    pub(super) pre_tokenizer: Value,
    /// From words to tokens.
    pub(super) model: Value,
    /// From tokens to text.
    pub(super) decoder: Value,
    /// Tokens around the text.
    pub(super) post_processor: PostProcessor,
    /// Tokens that are found in text first. Those of the model keep their ids, others get the next
    /// ones.
    pub(super) added: Vec<AddedToken>,
    /// Pieces of the segmentation that have no id in the model.
    pub(super) surplus: Option<Surplus>,
}

/// Tokens around a text.
#[derive(Clone, Debug)]
pub(super) enum PostProcessor {
    /// Fixed tokens before and after.
    Tokens {
        /// Tokens before the text.
        before: Vec<String>,
        /// Tokens after the text.
        after: Vec<String>,
    },
    /// The post-processor of a `tokenizer.json`.
    Json(Value),
}

impl Parts {
    /// Builds the tokenizer, with the vocabulary in `file`.
    pub(super) fn build(self, file: &str, settings: &Settings) -> Result<Pipeline> {
        let wrong = |error: &dyn std::fmt::Display| Error::Tokenizer {
            file: file.into(),
            problem: format!("cannot become a tokenizer: {error}"),
        };
        let mut pipeline = Pipeline::new(parts::model(self.model).map_err(|e| wrong(&e))?);
        pipeline
            .with_normalizer(parts::normalizer(self.normalizer).map_err(|e| wrong(&e))?)
            .map_err(|error| wrong(&error))?
            .with_pre_tokenizer(parts::pre_tokenizer(self.pre_tokenizer).map_err(|e| wrong(&e))?)
            .with_decoder(parts::decoder(self.decoder).map_err(|e| wrong(&e))?)
            .add_tokens(self.added)
            .map_err(|error| wrong(&error))?;
        // The model was trained with these ids: a token with another one would be wrong.
        for (id, token) in settings.added_tokens() {
            let found = pipeline.token_to_id(&token.content);
            if found != Some(*id) {
                let found = found.map_or("none".into(), |found| found.to_string());
                return Err(wrong(&format!(
                    "the added token '{}' has id {id}, and with this vocabulary it would get \
                     {found}",
                    token.content
                )));
            }
        }
        self.post_processor.put_into(&mut pipeline).map_err(|problem| wrong(&problem))?;
        Ok(pipeline)
    }
}

impl PostProcessor {
    /// Tokens after the text, none before.
    pub(super) fn after(tokens: &[&str]) -> Self {
        Self::around(&[], tokens)
    }

    /// Tokens before and after the text.
    pub(super) fn around(before: &[&str], after: &[&str]) -> Self {
        let owned = |tokens: &[&str]| tokens.iter().map(|&token| token.to_owned()).collect();
        Self::Tokens { before: owned(before), after: owned(after) }
    }

    /// The post-processor of `tokenizer.json`, if one is read. Otherwise 5.x adds the tokens of
    /// `add_bos_token` and `add_eos_token`, and 4.x none.
    pub(super) fn of_json(
        json: Option<&Value>,
        names: &SpecialTokens,
        settings: &Settings,
    ) -> Self {
        let flags = ["add_bos_token", "add_eos_token"];
        if let Some(json) = json.map(|json| &json["post_processor"])
            && !json.is_null()
            && !flags.iter().any(|flag| settings.has(flag))
        {
            return Self::Json(json.clone());
        }
        let token = |flag, name| {
            let token = names.text(name).filter(|_| settings.is_set(flag));
            token.map(str::to_owned).into_iter().collect()
        };
        Self::Tokens { before: token(flags[0], "bos_token"), after: token(flags[1], "eos_token") }
    }

    /// Sets it in a tokenizer, which must have its tokens.
    pub(super) fn put_into(self, pipeline: &mut Pipeline) -> std::result::Result<(), String> {
        let value = match self {
            Self::Tokens { before, after } => template(pipeline, &before, &after)
                .map_err(|missing| format!("it lacks the token '{missing}'"))?,
            Self::Json(value) => value,
        };
        pipeline.with_post_processor(parts::post_processor(value)?);
        Ok(())
    }
}

/// A `TemplateProcessing`, or the token that is missing.
fn template(
    pipeline: &Pipeline,
    before: &[String],
    after: &[String],
) -> std::result::Result<Value, String> {
    let sequence = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    let special = |token: &String| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let around = |inside: Vec<Value>| -> Vec<Value> {
        let before = before.iter().map(special);
        before.chain(inside).chain(after.iter().map(special)).collect()
    };
    let mut tokens = serde_json::Map::new();
    for token in before.iter().chain(after) {
        let id = pipeline.token_to_id(token).ok_or_else(|| token.to_owned())?;
        let entry = json!({"id": token, "ids": [id], "tokens": [token]});
        tokens.insert(token.clone(), entry);
    }
    Ok(json!({
        "type": "TemplateProcessing",
        "single": around(vec![sequence("A")]),
        "pair": around(vec![sequence("A"), sequence("B")]),
        "special_tokens": tokens,
    }))
}

/// Special tokens by name: those of a class with the settings applied.
///
/// The order is that in which transformers adds them (`PreTrainedTokenizerFast.__init__` of 4.57 in
/// `tokenization_utils_fast.py`, `TokenizersBackend.__init__` of 5.24 in
/// `tokenization_utils_tokenizers.py`). It determines the ids of tokens that the vocabulary lacks.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    named: Vec<(&'static str, AddedToken)>,
    unlisted: Vec<AddedToken>,
}

impl SpecialTokens {
    /// The tokens of a class. `defaults` are the names it knows.
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
        Ok(Self { named, unlisted: settings.unlisted_tokens() })
    }

    /// The text of a named token.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let token = self.named.iter().find(|(other, _)| *other == name);
        token.map(|(_, token)| token.content.as_str())
    }

    /// The text of a token that the class requires.
    pub(super) fn required(&self, name: &str) -> Result<&str> {
        self.text(name).ok_or_else(|| Error::Config {
            file: super::settings::TOKENIZER_CONFIG.into(),
            field: name.into(),
            problem: "is null, and the tokenizer needs it".into(),
        })
    }

    /// All tokens to add to a vocabulary with these `own` tokens: those of the settings by id, then
    /// the named ones, then `extra`.
    ///
    /// In 4.x the flags of a token in the vocabulary are kept, in 5.x they are reset.
    pub(super) fn to_add(
        &self,
        settings: &Settings,
        own: Vec<AddedToken>,
        extra: Vec<AddedToken>,
    ) -> Vec<AddedToken> {
        let before_5 = settings.version == Version::V4;
        let mut tokens = if before_5 { own } else { Vec::new() };
        let named = self.named.iter().map(|(_, token)| token.clone());
        let named: Vec<AddedToken> = named.collect();
        let rest: Vec<AddedToken> = self.unlisted.iter().cloned().chain(extra).collect();
        for token in settings.added_tokens().values() {
            let is = |other: &AddedToken| other.content == token.content;
            // A named token is special, whatever the list says. In 4.x the further ones are, too.
            let is_special = named.iter().any(is) || (before_5 && rest.iter().any(is));
            let token = AddedToken { special: token.special || is_special, ..token.clone() };
            match tokens.iter_mut().find(|known| known.content == token.content) {
                Some(known) => *known = token,
                None => tokens.push(token),
            }
        }
        let names = named.len();
        for (place, token) in named.into_iter().chain(rest).enumerate() {
            match tokens.iter_mut().find(|known| known.content == token.content) {
                // 4.x adds a token with other flags again, but the library still finds the first
                // one.
                Some(known) if before_5 && token != special(token.content.as_str()) => {
                    *known =
                        AddedToken { normalized: token.normalized && known.normalized, ..token };
                }
                Some(known) => known.special |= place < names && !before_5,
                None => tokens.push(token),
            }
        }
        tokens
    }
}

/// Default tokens of a class: plain special tokens with these names.
pub(super) fn defaults(tokens: &[(&'static str, &str)]) -> Vec<(&'static str, AddedToken)> {
    let plain = |&(name, text): &(&'static str, &str)| (name, special(text));
    tokens.iter().map(plain).collect()
}

/// The mask token, which includes white space before it.
pub(super) fn mask(content: &str, normalized: bool) -> (&'static str, AddedToken) {
    let token = AddedToken { lstrip: true, normalized, ..special(content) };
    ("mask_token", token)
}

/// The decoder, followed by transformers' `clean_up_tokenization`.
pub(super) fn clean_up_spaces(mut decoder: Value) -> Value {
    if decoder["type"] == "Moses" {
        decoder["clean_up_spaces"] = json!(true);
        return decoder;
    }
    let replace = |(from, to): (&str, &str)| {
        json!({"type": "Replace", "pattern": {"String": from},
               "content": to})
    };
    let mut decoders = vec![decoder, json!({"type": "Fuse"})];
    decoders.extend(CLEAN_UP_TOKENIZATION.map(replace));
    json!({"type": "Sequence", "decoders": decoders})
}
