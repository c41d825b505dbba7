//! The environment variables of the hub's Python library: see `huggingface_hub/constants.py`.

use std::env;
use std::fs;
use std::path::PathBuf;

use epitome_export::hub_cache::{self, Cache};

use crate::error::{Error, Result};

/// The default of `HF_ENDPOINT`.
pub const HUB: &str = "https://huggingface.co";

/// Size limit in bytes of a file with a token.
const MAX_TOKEN: u64 = 4096;

/// Settings of the hub and its cache.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the hub, without a slash at the end: `HF_ENDPOINT`.
    pub endpoint: String,
    /// The user's token, if there is one.
    pub token: Option<Token>,
    /// Whether downloads are forbidden: `HF_HUB_OFFLINE`.
    pub offline: bool,
    /// The cache: `HF_HUB_CACHE`, or `hub` below `HF_HOME`.
    pub cache: Cache,
}

/// A token of a user.
#[derive(Clone)]
pub struct Token {
    value: String,
    /// The variable or the file that the token came from.
    pub origin: String,
}

impl Token {
    /// The value that is sent.
    pub(crate) fn value(&self) -> &str {
        &self.value
    }
}

impl std::fmt::Debug for Token {
    /// Hides the token itself.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({})", self.origin)
    }
}

impl Settings {
    /// Reads the settings of the environment.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] names a variable with a wrong value, [`Error::NoCache`] a missing one.
    pub fn from_env() -> Result<Self> {
        Ok(Self {
            endpoint: endpoint()?,
            token: token()?,
            offline: set("HF_HUB_OFFLINE")
                .or_else(|| set("TRANSFORMERS_OFFLINE"))
                .is_some_and(is_true),
            cache: Cache::from_env().ok_or(Error::NoCache)?,
        })
    }
}

fn endpoint() -> Result<String> {
    const NAME: &str = "HF_ENDPOINT";
    let Some(value) = set(NAME) else {
        return Ok(HUB.to_owned());
    };
    let wrong = |problem| Error::Setting { name: NAME, value: value.clone(), problem };
    let endpoint = value.trim_end_matches('/');
    let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    match host {
        None | Some("") => Err(wrong("which is no address: write https://HOST")),
        Some(host) if !host.bytes().all(|byte| byte.is_ascii_graphic()) || host.contains('@') => {
            Err(wrong("which is no plain address: write https://HOST"))
        }
        Some(_) => Ok(endpoint.to_owned()),
    }
}

fn token() -> Result<Option<Token>> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(value) = set(name) {
            return sound(value.trim().to_owned(), name.to_owned()).map(Some);
        }
    }
    if set("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(is_true) {
        return Ok(None);
    }
    let path = set("HF_TOKEN_PATH").map(PathBuf::from);
    let Some(path) = path.or_else(|| Some(hub_cache::home()?.join("token"))) else {
        return Ok(None);
    };
    match fs::metadata(&path) {
        Ok(file) if file.is_file() && file.len() <= MAX_TOKEN => {}
        _ => return Ok(None),
    }
    let value = fs::read_to_string(&path).map_err(|error| Error::io(&path, error))?;
    match value.trim() {
        "" => Ok(None),
        value => sound(value.to_owned(), path.display().to_string()).map(Some),
    }
}

/// Checks that a header can hold the token.
fn sound(value: String, origin: String) -> Result<Token> {
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Token { value, origin });
    }
    Err(Error::Setting {
        name: "HF_TOKEN",
        // The error must not show the token.
        value: "...".to_owned(),
        problem: "which has spaces or line breaks in it: copy it again",
    })
}

fn set(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn is_true(value: String) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
}
