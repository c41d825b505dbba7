//! Selects the folders of a source that a conversion reads: of the model, an adapter, the
//! tokenizer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::within::within;
use crate::checkpoint::{
    CONFIG, NO_WEIGHTS, Weights, instead_of_weights, is_adapter, is_tokenizer, is_used,
};
use crate::{Error, Result};

/// Names of the files of each folder that matter for the selection. `/` separates the parts of the
/// folder's path.
pub(crate) type Folders = BTreeMap<String, BTreeSet<String>>;

/// The selected folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Folder of configuration and weights; `None` if there is only an adapter.
    pub(crate) model: Option<String>,
    /// Folder of an adapter, of this model or of a base elsewhere.
    pub(crate) adapter: Option<String>,
    /// Folder of the tokenizer; `None` if no folder has one.
    pub(crate) tokenizer: Option<String>,
    /// Folder of a second tokenizer, for summaries.
    pub(crate) target_tokenizer: Option<String>,
    /// Folder of an adapter that training saved before the whole model. It is not merged: the model
    /// includes it, or was not meant to.
    pub(crate) passed_over: Option<String>,
}

impl Selection {
    /// The main folder of the source: the model's, or else the adapter's.
    pub(crate) fn main(&self) -> &str {
        let main = self.model.as_deref().or(self.adapter.as_deref());
        main.unwrap_or_default()
    }

    /// All folders without duplicates.
    pub(crate) fn folders(&self) -> BTreeSet<&str> {
        [&self.model, &self.adapter, &self.tokenizer, &self.target_tokenizer]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect()
    }

    /// The files that are read, with their folders, in order.
    pub(crate) fn files<'a>(&'a self, folders: &'a Folders) -> BTreeSet<(&'a str, &'a str)> {
        let of = |folder: &'a Option<String>, used: &dyn Fn(&str) -> bool| {
            let (folder, names) = match folder {
                Some(folder) => (folder.as_str(), folders.get(folder)),
                None => ("", None),
            };
            let names = names.into_iter().flatten();
            let used = names.filter(|name| used(name)).map(|name| (folder, name.as_str()));
            used.collect::<Vec<_>>()
        };
        let weights = self.model.as_ref().and_then(|folder| Weights::find(folders.get(folder)?));
        [
            of(&self.model, &|name| is_used(name, weights)),
            of(&self.adapter, &is_adapter),
            of(&self.tokenizer, &is_tokenizer),
            of(&self.target_tokenizer, &is_tokenizer),
        ]
        .concat()
        .into_iter()
        .collect()
    }
}

/// The training step of a folder that the trainer saved (`checkpoint-500`), or of a folder inside
/// of it.
pub(super) fn training_step(folder: &str) -> Option<u64> {
    folder
        .split('/')
        .find_map(|part| part.strip_prefix("checkpoint-").and_then(|step| step.parse().ok()))
}

/// Whether a folder holds the training script, which may come with any files.
pub(super) fn is_code(folder: &str) -> bool {
    folder.split('/').any(|part| part == "code")
}

/// Folders of the source tokenizer of an encoder-decoder with two tokenizers.
const SOURCE_TOKENIZERS: [&str; 2] = ["encoder_tokenizer", "tokenizer_encoder"];
const TARGET_TOKENIZERS: [&str; 2] = ["decoder_tokenizer", "tokenizer_decoder"];

/// Selects the folders of the source `path`.
///
/// Folders with configuration and weights come before those with only a configuration. Among these,
/// folders that are not of a training step come first, the shallowest of them; then the latest
/// step.
pub(crate) fn select(path: &Path, folders: &Folders) -> Result<Selection> {
    let complete =
        |names: &BTreeSet<String>| names.contains(CONFIG) && Weights::find(names).is_some();
    let whole = best(folders, complete);
    let adapter = adapter(path, folders, whole)?;
    let saved_later = whole.is_some_and(|model| training_step(model).is_none());
    let (adapter, passed_over) = match adapter {
        Some(found) if saved_later && training_step(found).is_some() => (None, adapter),
        found => (found, None),
    };
    if whole.is_none() && adapter.is_none() {
        return Err(missing(path, folders));
    }
    let around = || [adapter, whole].into_iter().flatten().flat_map(upwards);
    let has_tokenizer = |folder: &&str| {
        let names = folders.get(*folder);
        names.is_some_and(|names| names.iter().any(|name| is_tokenizer(name)))
    };
    let inside = |names: [&'static str; 2]| {
        let below = |folder: &str| names.map(|name| within(folder, name));
        let found = around().flat_map(below);
        found
            .filter_map(|folder| Some(folders.get_key_value(&folder)?.0.as_str()))
            .find(has_tokenizer)
    };
    let tokenizer = around().find(has_tokenizer).or_else(|| inside(SOURCE_TOKENIZERS));
    let target_tokenizer = inside(TARGET_TOKENIZERS);
    let owned = |folder: Option<&str>| folder.map(str::to_owned);
    Ok(Selection {
        model: owned(whole),
        adapter: owned(adapter),
        tokenizer: owned(tokenizer),
        target_tokenizer: owned(target_tokenizer),
        passed_over: owned(passed_over),
    })
}

/// The best folder whose files satisfy `will_do`.
fn best(folders: &Folders, will_do: impl Fn(&BTreeSet<String>) -> bool) -> Option<&str> {
    folders
        .iter()
        .filter(|(folder, names)| !is_code(folder) && will_do(names))
        .map(|(folder, _)| {
            let step = training_step(folder);
            let rank = (step.is_none(), step, Reverse(depth(folder)));
            (rank, Reverse(folder.as_str()))
        })
        .max()
        .map(|(_, Reverse(folder))| folder)
}

fn depth(folder: &str) -> usize {
    folder.split('/').filter(|part| !part.is_empty()).count()
}

/// The folder and its parents.
fn upwards(folder: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(folder), |folder| match folder.rsplit_once('/') {
        Some((above, _)) => Some(above),
        None if folder.is_empty() => None,
        None => Some(""),
    })
}

/// The adapter of the model in the folder `model`, or the only adapter if there is no model.
fn adapter<'a>(
    path: &Path,
    folders: &'a Folders,
    model: Option<&'a str>,
) -> Result<Option<&'a str>> {
    let has_adapter = |names: &BTreeSet<String>| names.iter().any(|name| is_adapter(name));
    if let Some(model) = model
        && has_adapter(&folders[model])
    {
        return Ok(Some(model));
    }
    let Some(best) = best(folders, has_adapter) else {
        return Ok(None);
    };
    let equals: Vec<String> = folders
        .iter()
        .filter(|(folder, names)| {
            !is_code(folder)
                && has_adapter(names)
                && training_step(folder) == training_step(best)
                && (model.is_some() || depth(folder) == depth(best))
        })
        .map(|(folder, _)| folder.clone())
        .collect();
    if equals.len() > 1 {
        return Err(Error::SeveralAdapters { path: path.to_owned(), found: equals });
    }
    Ok(Some(best))
}

/// The error for a source without a model and without an adapter.
fn missing(path: &Path, folders: &Folders) -> Error {
    let path = path.to_owned();
    let with_config = best(folders, |names| names.contains(CONFIG));
    let Some(folder) = with_config else {
        // Foreign models need not have a config.json.
        let mut names = folders.values();
        return match names.find_map(instead_of_weights) {
            Some(found) => Error::MissingWeights { path, found },
            None => Error::MissingConfig { path },
        };
    };
    let around = folders
        .iter()
        .filter(|(other, _)| other.starts_with(folder))
        .find_map(|(_, names)| instead_of_weights(names));
    Error::MissingWeights { path, found: around.unwrap_or_else(|| NO_WEIGHTS.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select_of(given: &[(&str, &[&str])]) -> Result<Selection, String> {
        let folders = given
            .iter()
            .map(|(folder, names)| {
                let names = names.iter().map(|&name| name.to_owned()).collect();
                ((*folder).to_owned(), names)
            })
            .collect();
        select(Path::new("SOURCE"), &folders).map_err(|error| error.to_string())
    }

    fn model_of(given: &[(&str, &[&str])]) -> Option<String> {
        select_of(given).unwrap().model
    }

    const MODEL: &[&str] = &["config.json", "pytorch_model.bin"];
    const ADAPTER: &[&str] = &["adapter_config.json", "adapter_model.safetensors"];

    #[test]
    fn the_shallowest_model_wins_and_training_steps_come_last() {
        let found = model_of(&[("", MODEL), ("a", MODEL), ("checkpoint-900", MODEL)]);
        assert_eq!(found.as_deref(), Some(""));
        let found = model_of(&[("out/b", MODEL), ("out/a", MODEL), ("checkpoint-900", MODEL)]);
        assert_eq!(found.as_deref(), Some("out/a"));
    }

    #[test]
    fn the_latest_step_is_taken_when_there_is_nothing_else() {
        let found = model_of(&[("checkpoint-500", MODEL), ("deep/checkpoint-1000", MODEL)]);
        assert_eq!(found.as_deref(), Some("deep/checkpoint-1000"));
        let found = model_of(&[("", &["config.json"]), ("checkpoint-20", MODEL)]);
        assert_eq!(found.as_deref(), Some("checkpoint-20"));
    }

    #[test]
    fn a_second_tokenizer_lies_in_a_folder_of_its_own() {
        const TOKENIZER: &[&str] = &["tokenizer.json"];
        let tokenizers = |given: &[(&str, &[&str])]| {
            let found = select_of(given).unwrap();
            (found.tokenizer, found.target_tokenizer)
        };
        let some = |name: &str| Some(name.to_owned());
        let both =
            [("m", MODEL), ("m/tokenizer_encoder", TOKENIZER), ("m/tokenizer_decoder", TOKENIZER)];
        assert_eq!(tokenizers(&both), (some("m/tokenizer_encoder"), some("m/tokenizer_decoder")));
        let beside = [
            ("", &["config.json", "model.safetensors", "tokenizer.json"][..]),
            ("decoder_tokenizer", TOKENIZER),
        ];
        assert_eq!(tokenizers(&beside), (some(""), some("decoder_tokenizer")));
        assert_eq!(tokenizers(&[("m", MODEL), ("", TOKENIZER)]), (some(""), None));
    }

    #[test]
    fn code_and_empty_folders_are_never_the_model() {
        let message = select_of(&[("code", MODEL), ("a", &["tokenizer.json"])]).unwrap_err();
        assert_eq!(
            message,
            "SOURCE holds no config.json: give a folder or archive that save_pretrained wrote"
        );
        let message = select_of(&[("a", &["config.json"])]).unwrap_err();
        assert!(message.contains("SOURCE holds no weights"), "{message}");
    }

    #[test]
    fn a_tokenizer_is_looked_for_above_the_model() {
        let tokenizer: &[&str] = &["tokenizer.json"];
        let found = select_of(&[("a", tokenizer), ("a/checkpoint-20", MODEL), ("b", tokenizer)]);
        let found = found.unwrap();
        assert_eq!(found.model.as_deref(), Some("a/checkpoint-20"));
        assert_eq!(found.tokenizer.as_deref(), Some("a"));
        let own = [MODEL, tokenizer].concat();
        let found = select_of(&[("", tokenizer), ("checkpoint-20", &own)]).unwrap();
        assert_eq!(found.tokenizer.as_deref(), Some("checkpoint-20"));
        assert_eq!(select_of(&[("m", MODEL)]).unwrap().tokenizer, None);
    }

    #[test]
    fn an_adapter_is_never_passed_over() {
        let both = [MODEL, ADAPTER].concat();
        let adapter = |given: &[(&str, &[&str])]| select_of(given).map(|found| found.adapter);
        assert_eq!(adapter(&[("", &both)]), Ok(Some("".to_owned())));
        assert_eq!(adapter(&[("base", MODEL), ("a", ADAPTER)]), Ok(Some("a".to_owned())));
        assert_eq!(adapter(&[("", ADAPTER), ("checkpoint-9", ADAPTER)]), Ok(Some("".to_owned())));
        let steps = [("checkpoint-9", ADAPTER), ("checkpoint-10", ADAPTER)];
        assert_eq!(adapter(&steps), Ok(Some("checkpoint-10".to_owned())));
        assert_eq!(adapter(&[("", MODEL), ("code", ADAPTER)]), Ok(None));
        // An incomplete adapter counts too, and is refused later.
        assert_eq!(
            adapter(&[("", &["config.json", "pytorch_model.bin", "adapter_model.bin"])]),
            Ok(Some("".to_owned()))
        );
        let message = adapter(&[("", MODEL), ("a", ADAPTER), ("b", ADAPTER)]).unwrap_err();
        assert!(message.contains("several adapters (a, b)"), "{message}");
        let found = select_of(&[("", MODEL), ("checkpoint-9", ADAPTER)]).unwrap();
        assert_eq!(found.adapter, None);
        assert_eq!(found.passed_over.as_deref(), Some("checkpoint-9"));
    }

    #[test]
    fn an_adapter_brings_its_tokenizer() {
        let files = [ADAPTER, &["tokenizer.json"]].concat();
        let base = [MODEL, &["tokenizer.json"]].concat();
        let found = select_of(&[("base", &base), ("adapter", &files)]).unwrap();
        assert_eq!(found.tokenizer.as_deref(), Some("adapter"));
        let found = select_of(&[("base", &base), ("adapter", ADAPTER)]).unwrap();
        assert_eq!(found.tokenizer.as_deref(), Some("base"));
    }
}
