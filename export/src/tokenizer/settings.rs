//! Settings in the files beside a vocabulary: `tokenizer_config.json`, `special_tokens_map.json`
//! and `added_tokens.json`.
//!
//! They are merged as in `PreTrainedTokenizerBase._from_pretrained` of transformers 4.57 and 5.24
//! (`tokenization_utils_base.py`). `added_tokens_decoder` of `tokenizer_config.json` hides the two
//! other files, which transformers wrote before 4.34, and the added tokens of `tokenizer.json`.
//! Without it `special_tokens_map.json` wins over `tokenizer_config.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::error::{Error, Result};
use crate::version::Version;

pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";

/// The names of special tokens, in the order in which transformers adds them to a vocabulary.
pub(super) const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Name of the list of further special tokens in 4.x.
const ADDITIONAL: &str = "additional_special_tokens";
/// Name of the same list in 5.x.
const EXTRA: &str = "extra_special_tokens";

/// The merged settings of a tokenizer.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The version of transformers to agree with.
    pub(super) version: Version,
    fields: Map<String, Value>,
    added: BTreeMap<u32, AddedToken>,
}

impl Settings {
    /// Reads the files in `folder`, each of which may be missing, and the added tokens of `json`,
    /// its `tokenizer.json`.
    pub(super) fn read(folder: &Path, version: Version, json: Option<&Value>) -> Result<Self> {
        let fields = object(folder, TOKENIZER_CONFIG)?.unwrap_or_default();
        let mut settings = Self { version, fields, added: BTreeMap::new() };
        // A null under the old name also hides the class's default.
        if version == Version::V5
            && settings.extra_is_unset()
            && let Some(extra) = settings.fields.remove(ADDITIONAL)
        {
            settings.fields.insert(EXTRA.into(), extra);
        }
        match settings.fields.remove("added_tokens_decoder") {
            Some(Value::Object(tokens)) => {
                for (id, token) in &tokens {
                    settings.add(TOKENIZER_CONFIG, id.parse().ok(), token, None)?;
                }
            }
            Some(_) => return Err(bad(TOKENIZER_CONFIG, "added_tokens_decoder")),
            None => {
                settings.read_old_files(folder)?;
                let added = json.and_then(|json| json["added_tokens"].as_array());
                for token in added.into_iter().flatten() {
                    let id = token["id"].as_u64().and_then(|id| id.try_into().ok());
                    settings.add("tokenizer.json", id, token, None)?;
                }
            }
        }
        Ok(settings)
    }

    fn extra_is_unset(&self) -> bool {
        match self.fields.get(EXTRA) {
            None | Some(Value::Null) => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(_) => false,
        }
    }

    /// Name of the list of further special tokens.
    fn list(&self) -> &'static str {
        match self.version {
            Version::V4 => ADDITIONAL,
            Version::V5 => EXTRA,
        }
    }

    fn read_old_files(&mut self, folder: &Path) -> Result<()> {
        let list = self.list();
        for (key, value) in object(folder, SPECIAL_TOKENS_MAP)?.unwrap_or_default() {
            match (key.as_str(), value, self.fields.get_mut(&key)) {
                (name, Value::Array(more), Some(Value::Array(known))) if name == list => {
                    let more = more.into_iter().filter(|token| !known.contains(token));
                    let more: Vec<_> = more.collect();
                    known.extend(more);
                }
                (_, value, _) => {
                    self.fields.insert(key, value);
                }
            }
        }
        let special: Vec<String> = NAMED
            .iter()
            .filter_map(|name| content(self.fields.get(*name)?))
            .chain(self.listed(list).filter_map(content))
            .map(str::to_owned)
            .collect();
        for (text, id) in object(folder, ADDED_TOKENS)?.unwrap_or_default() {
            let is_special = special.contains(&text);
            let id = id.as_u64().and_then(|id| id.try_into().ok());
            self.add(ADDED_TOKENS, id, &Value::String(text), Some(is_special))?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        file: &str,
        id: Option<u32>,
        token: &Value,
        special: Option<bool>,
    ) -> Result<()> {
        let id = id.ok_or_else(|| bad(file, "a token's id"))?;
        let mut token = added_token(token, false).ok_or_else(|| bad(file, "a token"))?;
        if let Some(special) = special {
            token.special = special;
            token.normalized = !special;
        }
        self.added.insert(id, token);
        Ok(())
    }

    /// A named special token, or `default` if the files do not name it; `None` if it is null.
    pub(super) fn token(
        &self,
        name: &str,
        default: Option<AddedToken>,
    ) -> Result<Option<AddedToken>> {
        let token = match self.fields.get(name) {
            None => default,
            Some(Value::Null) => None,
            Some(value @ Value::String(_)) => match default {
                // A class whose mask token strips white space also does so for another name.
                Some(default) => {
                    content(value).map(|content| AddedToken { content: content.into(), ..default })
                }
                None => added_token(value, true),
            },
            Some(value) => {
                Some(added_token(value, true).ok_or_else(|| bad(TOKENIZER_CONFIG, name))?)
            }
        };
        // The list of added tokens has the token's flags.
        Ok(token.map(|token| {
            let known = self.added.values().find(|known| known.content == token.content);
            AddedToken { special: true, ..known.cloned().unwrap_or(token) }
        }))
    }

    /// Named tokens beside [`NAMED`] that are strings, `something_token`. Only 5.x knows them.
    pub(super) fn unlisted_tokens(&self) -> Vec<AddedToken> {
        if self.version == Version::V4 {
            return Vec::new();
        }
        self.fields
            .iter()
            .filter(|(name, _)| name.ends_with("_token") && !NAMED.contains(&name.as_str()))
            .filter_map(|(_, value)| added_token(value, true))
            .collect()
    }

    /// Further special tokens, if the files list them.
    pub(super) fn extra_tokens(&self) -> Option<Vec<AddedToken>> {
        let value = self.fields.get(self.list())?;
        if self.version == Version::V4 && value.is_null() {
            return None;
        }
        let tokens = self.listed(self.list());
        Some(tokens.filter_map(|token| added_token(token, true)).collect())
    }

    fn listed(&self, name: &str) -> impl Iterator<Item = &Value> {
        let list = self.fields.get(name).and_then(Value::as_array);
        list.into_iter().flatten()
    }

    /// Tokens added to the vocabulary, by id.
    pub(super) fn added_tokens(&self) -> &BTreeMap<u32, AddedToken> {
        &self.added
    }

    /// A setting; null counts as absent.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// A string, if it is set.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    /// A flag, or its default.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.optional_flag(name)?.unwrap_or(default))
    }

    /// A flag, if it is set.
    pub(super) fn optional_flag(&self, name: &str) -> Result<Option<bool>> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_bool().map(Some).ok_or_else(|| bad(TOKENIZER_CONFIG, name)),
        }
    }

    /// Whether a flag is set to true.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.fields.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// A small count, or its default.
    pub(super) fn count(&self, name: &str, default: usize) -> Result<usize> {
        const MAX: u64 = 100_000;
        match self.fields.get(name) {
            None => Ok(default),
            Some(value) => match value.as_u64() {
                Some(count @ 0..=MAX) => Ok(count as usize),
                _ => Err(bad(TOKENIZER_CONFIG, name)),
            },
        }
    }

    /// Whether the files have this setting, even as null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// `model_max_length`; transformers writes 1e30 for "no limit".
    pub(super) fn model_max_length(&self) -> Option<f64> {
        self.fields.get("model_max_length")?.as_f64()
    }
}

/// A special token as transformers makes it from a string.
pub(super) fn special(content: impl Into<String>) -> AddedToken {
    AddedToken::from(content.into(), true)
}

/// Reads an object from `name` in `folder`; `None` if there is no such file.
pub(super) fn object(folder: &Path, name: &str) -> Result<Option<Map<String, Value>>> {
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let json = |problem: String| Error::Json { file: name.into(), problem };
    let text = fs::read(&path).map_err(|source| Error::io(&path, source))?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(fields)) => Ok(Some(fields)),
        Ok(_) => Err(json("is not a JSON object".into())),
        Err(error) => Err(json(format!("is not JSON: {error}"))),
    }
}

fn content(token: &Value) -> Option<&str> {
    match token {
        Value::String(content) => Some(content),
        other => other.get("content")?.as_str(),
    }
}

/// A token that is a string, or an object with flags.
fn added_token(token: &Value, special: bool) -> Option<AddedToken> {
    let flag = |name, default| token.get(name).and_then(Value::as_bool).unwrap_or(default);
    let special = flag("special", special);
    Some(AddedToken {
        content: content(token)?.into(),
        single_word: flag("single_word", false),
        lstrip: flag("lstrip", false),
        rstrip: flag("rstrip", false),
        normalized: flag("normalized", !special),
        special,
    })
}

fn bad(file: &str, field: &str) -> Error {
    Error::Config {
        file: file.into(),
        field: field.into(),
        problem: "is not of the form that transformers writes".into(),
    }
}
