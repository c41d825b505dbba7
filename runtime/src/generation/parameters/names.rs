//! Names of transformers' parameters that epitome does not support, and suggestions for unknown
//! names.

use serde_json::Value;

use super::scope::Scope;
use crate::generation::error::MAX_SHOWN;

/// Parameters that only change how transformers computes. They are accepted with any value.
pub(super) const HARMLESS: &[&str] = &[
    "assistant_confidence_threshold",
    "assistant_lookbehind",
    "cache_config",
    "cache_implementation",
    "compile_config",
    "continuous_batching_config",
    "disable_compile",
    "low_memory",
    "max_cache_len",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "prefill_chunk_size",
    "return_dict_in_generate",
    "synced_gpus",
    "target_lookbehind",
    "transformers_version",
    "use_cache",
];

/// Parameters that change the output and are not implemented, with the searches that use them. They
/// are refused unless they are off.
pub(super) const NOT_SUPPORTED: &[(&str, Scope)] = &[
    ("assistant_early_exit", Scope::Single),
    ("assistant_ensemble_weight", Scope::Always),
    ("assistant_model", Scope::Always),
    ("dola_layers", Scope::Single),
    ("guidance_scale", Scope::Always),
    ("is_assistant", Scope::Always),
    ("penalty_alpha", Scope::Contrastive),
    ("prefix_allowed_tokens_fn", Scope::Always),
    ("speculation_type", Scope::Always),
    ("token_healing", Scope::Always),
    ("use_mtp", Scope::Single),
    ("watermarking_config", Scope::Always),
];

/// Names of [`NOT_SUPPORTED`].
pub(super) const REFUSED: &[&str] = &{
    let mut names = [""; NOT_SUPPORTED.len()];
    let mut place = 0;
    while place < names.len() {
        names[place] = NOT_SUPPORTED[place].0;
        place += 1;
    }
    names
};

/// Whether a parameter that is not implemented is switched off by this value.
pub(super) fn is_off(name: &str, value: &Value) -> bool {
    match name {
        _ if value.is_null() || *value == Value::Bool(false) => true,
        "guidance_scale" => value.as_f64() == Some(1.0),
        "penalty_alpha" => value.as_f64() == Some(0.0),
        _ => false,
    }
}

/// The known name that is most similar to `name`, if one is similar enough.
pub(super) fn nearest(name: &str, names: &[&'static str]) -> Option<&'static str> {
    /// Minimum similarity. A less similar suggestion confuses more than it helps.
    const MIN_SIMILARITY: f64 = 0.8;
    let name = name.to_ascii_lowercase().replace('-', "_");
    let name: String = name.chars().take(MAX_SHOWN).collect();
    names
        .iter()
        .map(|known| (strsim::jaro_winkler(&name, known), *known))
        .filter(|(alike, _)| *alike >= MIN_SIMILARITY)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, known)| known)
}
