//! `adapter_config.json`.

use std::path::Path;

use serde_json::{Map, Value};

use super::patterns::Patterns;
use crate::checkpoint::{ADAPTER_CONFIG, read_object};
use crate::{Error, Result};

/// The base of an adapter, as the adapter names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BaseName {
    /// A name on the hub, or a path on the machine that trained the adapter.
    pub(crate) name: Option<String>,
    /// A branch, tag or commit on the hub.
    pub(crate) revision: Option<String>,
}

/// The fields of the file that are used.
pub(super) struct AdapterConfig {
    pub(super) base: BaseName,
    pub(super) method: Method,
    tokens: Vec<(Option<String>, Vec<usize>)>,
}

/// How the adapter changes its base.
pub(super) enum Method {
    Lora(Box<Lora>),
    Ia3,
    TrainableTokens,
}

/// The settings of LoRA.
pub(super) struct Lora {
    rank: f64,
    alpha: f64,
    ranks: Patterns,
    alphas: Patterns,
    rank_stabilized: bool,
    pub(super) dora: bool,
}

/// PEFT methods that do not change weights: they prepend virtual tokens, or only affect training.
const PROMPTS: &[&str] = &[
    "ADAPTION_PROMPT",
    "CARTRIDGE",
    "CPT",
    "MULTITASK_PROMPT_TUNING",
    "P_TUNING",
    "PREFIX_TUNING",
    "PROMPT_TUNING",
];

/// Fields that turn LoRA into another method.
const VARIANTS: &[&str] = &[
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "monteclora_config",
    "target_parameters",
    "use_bdlora",
    "use_qalora",
];

/// Prefixes of `init_lora_weights` whose methods also change the base.
const CHANGED_BASES: &[&str] = &["corda", "loftq", "lora_ga", "mica", "olora", "pissa"];

const MERGE: &str = "merge it with PEFT (model.merge_and_unload()) and export what save_pretrained \
                     writes then";

impl AdapterConfig {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        if !folder.join(ADAPTER_CONFIG).is_file() {
            return Err(Error::Json {
                file: ADAPTER_CONFIG.to_owned(),
                problem: "is missing beside the adapter's weights: PEFT writes both".to_owned(),
            });
        }
        let config = read_object(folder, ADAPTER_CONFIG)?;
        let text = |field: &str| {
            let value = config.get(field).and_then(Value::as_str);
            value.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let base = BaseName { name: text("base_model_name_or_path"), revision: text("revision") };
        let (method, tokens) = match config.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {
                let tokens = token_indices(&config, "trainable_token_indices")?;
                (Method::Lora(Box::new(Lora::read(&config)?)), tokens)
            }
            Some("IA3") => (Method::Ia3, vec![]),
            Some("TRAINABLE_TOKENS") => {
                let tokens = token_indices(&config, "token_indices")?;
                (Method::TrainableTokens, tokens)
            }
            Some(kind) if PROMPTS.contains(&kind) => {
                return Err(error(
                    "peft_type",
                    format!(
                        "is {kind}, which leaves the weights as they are and puts trained vectors \
                         before each text: train with LoRA to export"
                    ),
                ));
            }
            Some(kind) => {
                let kind: String = kind.chars().take(40).flat_map(char::escape_debug).collect();
                return Err(error("peft_type", format!("is {kind}, which is not known: {MERGE}")));
            }
            None => return Err(error("peft_type", "is missing: PEFT writes it".to_owned())),
        };
        Ok(Self { base, method, tokens })
    }

    /// The tokens of a module that were trained.
    pub(super) fn token_indices(&self, module: &str) -> Result<&[usize]> {
        let fits = |name: &Option<String>| match name {
            None => true,
            Some(name) => {
                let above = module.strip_suffix(name.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
        };
        let found = self.tokens.iter().find(|(name, _)| fits(name));
        found.map(|(_, indices)| indices.as_slice()).ok_or_else(|| {
            error(
                "trainable_token_indices",
                format!("does not say which tokens of '{module}' were trained"),
            )
        })
    }
}

impl Lora {
    fn read(config: &Map<String, Value>) -> Result<Self> {
        for &field in VARIANTS {
            let empty = match config.get(field) {
                None | Some(Value::Null | Value::Bool(false)) => true,
                Some(Value::Array(items)) => items.is_empty(),
                Some(Value::Object(items)) => items.is_empty(),
                Some(_) => false,
            };
            if !empty {
                return Err(error(field, format!("is set, which is not known here: {MERGE}")));
            }
        }
        if let Some(Value::String(kind)) = config.get("init_lora_weights")
            && let kind = kind.to_ascii_lowercase()
            && CHANGED_BASES.iter().any(|known| kind.starts_with(known))
        {
            let problem = format!("says that training began with a changed base: {MERGE}");
            return Err(error("init_lora_weights", problem));
        }
        let number = |field: &str| {
            let number = config.get(field).and_then(Value::as_f64);
            number.ok_or_else(|| error(field, "is missing or not a number".to_owned()))
        };
        let flag = |field: &str| config.get(field).and_then(Value::as_bool).unwrap_or(false);
        Ok(Self {
            rank: number("r")?,
            alpha: number("lora_alpha")?,
            ranks: Patterns::read(config, "rank_pattern")?,
            alphas: Patterns::read(config, "alpha_pattern")?,
            rank_stabilized: flag("use_rslora"),
            dora: flag("use_dora"),
        })
    }

    /// The rank of a module's matrices.
    pub(super) fn rank(&self, module: &str) -> Result<usize> {
        let rank = self.ranks.of(module)?.unwrap_or(self.rank);
        match rank {
            1.0..=1e9 if rank.fract() == 0.0 => Ok(rank as usize),
            _ => Err(error("r", format!("gives '{module}' the rank {rank:?}"))),
        }
    }

    /// Scale of the product of a module's matrices.
    pub(super) fn scale(&self, module: &str) -> Result<f32> {
        let alpha = self.alphas.of(module)?.unwrap_or(self.alpha);
        let rank = self.rank(module)? as f64;
        Ok(match self.rank_stabilized {
            true => alpha / rank.sqrt(),
            false => alpha / rank,
        } as f32)
    }
}

/// Token ids, for every module or for some by name.
fn token_indices(
    config: &Map<String, Value>,
    field: &'static str,
) -> Result<Vec<(Option<String>, Vec<usize>)>> {
    let list = |value: &Value| -> Option<Vec<usize>> {
        let ids = value.as_array()?.iter();
        ids.map(|id| usize::try_from(id.as_u64()?).ok()).collect()
    };
    let read = match config.get(field) {
        None | Some(Value::Null) => Some(vec![]),
        Some(Value::Object(object)) => {
            object.iter().map(|(name, value)| Some((Some(name.clone()), list(value)?))).collect()
        }
        Some(value) => list(value).map(|ids| vec![(None, ids)]),
    };
    read.ok_or_else(|| error(field, "is not a list of token ids".to_owned()))
}

fn error(field: &str, problem: String) -> Error {
    Error::Config { file: ADAPTER_CONFIG.to_owned(), field: field.to_owned(), problem }
}
