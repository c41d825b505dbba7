//! Which folder of a source is the model's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::{CONFIG, Weights};

/// The telling files of each folder, by the folder's path with `/` between its parts.
pub(crate) type Folders = BTreeMap<String, BTreeSet<String>>;

/// The training step of a folder that the trainer saved on the way (`checkpoint-500`), or of one
/// inside such a folder.
pub(super) fn training_step(folder: &str) -> Option<u64> {
    folder.split('/').find_map(|part| {
        part.strip_prefix("checkpoint-")
            .and_then(|step| step.parse().ok())
    })
}

/// Whether a folder holds the training script, which may bring any files along.
pub(super) fn is_code(folder: &str) -> bool {
    folder.split('/').any(|part| part == "code")
}

/// The folder with the model; none if no folder has a configuration or weights.
///
/// One with both comes before one with a configuration only. Among equals a folder that is not of
/// a training step comes first, the shallowest of them; then the latest step.
pub(super) fn best(folders: &Folders) -> Option<&str> {
    folders
        .iter()
        .filter(|(folder, _)| !is_code(folder))
        .filter_map(|(folder, names)| {
            let config = names.contains(CONFIG);
            let weights = Weights::find(names).is_some();
            let step = training_step(folder);
            let depth = folder.split('/').filter(|part| !part.is_empty()).count();
            let rank = (
                config && weights,
                config,
                step.is_none(),
                step,
                Reverse(depth),
            );
            (config || weights).then_some((rank, Reverse(folder.as_str())))
        })
        .max()
        .map(|(_, Reverse(folder))| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best_of(folders: &[(&str, &[&str])]) -> Option<String> {
        let folders = folders
            .iter()
            .map(|(folder, names)| {
                (
                    (*folder).to_owned(),
                    names.iter().map(|&name| name.to_owned()).collect(),
                )
            })
            .collect();
        best(&folders).map(str::to_owned)
    }

    const MODEL: &[&str] = &["config.json", "pytorch_model.bin"];

    #[test]
    fn the_shallowest_model_wins_and_training_steps_come_last() {
        let found = best_of(&[("", MODEL), ("a", MODEL), ("checkpoint-900", MODEL)]);
        assert_eq!(found.as_deref(), Some(""));
        let found = best_of(&[
            ("out/b", MODEL),
            ("out/a", MODEL),
            ("checkpoint-900", MODEL),
        ]);
        assert_eq!(found.as_deref(), Some("out/a"));
    }

    #[test]
    fn the_latest_step_is_taken_when_there_is_nothing_else() {
        let found = best_of(&[("checkpoint-500", MODEL), ("deep/checkpoint-1000", MODEL)]);
        assert_eq!(found.as_deref(), Some("deep/checkpoint-1000"));
        let found = best_of(&[("", &["config.json"]), ("checkpoint-20", MODEL)]);
        assert_eq!(found.as_deref(), Some("checkpoint-20"));
    }

    #[test]
    fn code_and_empty_folders_are_never_the_model() {
        assert_eq!(
            best_of(&[("code", MODEL), ("a", &["tokenizer.json"])]),
            None
        );
        assert_eq!(
            best_of(&[("a", &["pytorch_model.bin"])]).as_deref(),
            Some("a")
        );
    }
}
