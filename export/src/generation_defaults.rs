//! Generation defaults, gathered from the places where transformers keeps them.

use std::collections::BTreeMap;

use epitome_runtime::GenerationParameters;
use serde_json::{Map, Value};

use crate::arch::Family;
use crate::checkpoint::Checkpoint;

/// Where transformers 4.26 and later keeps generation settings.
const GENERATION_CONFIG: &str = "generation_config.json";
/// Where it kept them before.
const CONFIG: &str = "config.json";
/// What transformers' configuration class of the architecture has.
const CLASS: &str = "transformers' configuration class";
/// Overrides for one task, inside config.json.
const TASK: (&str, &str) = ("task_specific_params", "summarization");

/// Token ids that generation needs beside the parameters proper.
const TOKEN_IDS: [&str; 4] = [
    "decoder_start_token_id",
    "eos_token_id",
    "pad_token_id",
    "bos_token_id",
];

/// The merged defaults of a model.
#[derive(Debug, PartialEq)]
pub(crate) struct GenerationDefaults {
    /// transformers' names and values: `generation_config.json` of the bundle.
    pub(crate) values: Map<String, Value>,
    /// The file each of them came from.
    pub(crate) origins: BTreeMap<String, String>,
}

impl GenerationDefaults {
    /// Merges what the checkpoint says: `generation_config.json`, or where there is none the
    /// generation keys in `config.json` and, below them, those of transformers' configuration
    /// class; over them `task_specific_params.summarization`, as transformers' summarization
    /// pipeline does.
    pub(crate) fn of(checkpoint: &Checkpoint, family: &Family) -> Self {
        let class = family
            .generation_defaults
            .iter()
            .map(|(key, id)| ((*key).to_owned(), Value::from(*id)))
            .collect();
        Self::merge(checkpoint.config(), checkpoint.generation_config(), &class)
    }

    fn merge(
        config: &Map<String, Value>,
        generation_config: Option<&Map<String, Value>>,
        class: &Map<String, Value>,
    ) -> Self {
        let mut merged = Self {
            values: Map::new(),
            origins: BTreeMap::new(),
        };
        // A null in config.json turns what the class has off.
        let silent = |key: &str| !config.contains_key(key);
        match generation_config {
            Some(fields) => {
                merged.take(GENERATION_CONFIG, fields, is_generation_key);
                let absent: Vec<_> = TOKEN_IDS
                    .into_iter()
                    .filter(|key| !merged.values.contains_key(*key))
                    .collect();
                merged.take(CLASS, class, |key| absent.contains(&key) && silent(key));
                merged.take(CONFIG, config, |key| absent.contains(&key));
            }
            None => {
                merged.take(CLASS, class, |key| is_generation_key(key) && silent(key));
                merged.take(CONFIG, config, is_generation_key);
            }
        }
        let (tasks, task) = TASK;
        if let Some(Value::Object(fields)) = config.get(tasks).and_then(|tasks| tasks.get(task)) {
            merged.take(
                &format!("{CONFIG} {tasks}.{task}"),
                fields,
                is_generation_key,
            );
        }
        merged
    }

    fn take(&mut self, origin: &str, fields: &Map<String, Value>, wanted: impl Fn(&str) -> bool) {
        for (key, value) in fields
            .iter()
            .filter(|(key, value)| wanted(key) && !value.is_null())
        {
            self.values.insert(key.clone(), value.clone());
            self.origins.insert(key.clone(), origin.into());
        }
    }
}

fn is_generation_key(key: &str) -> bool {
    TOKEN_IDS.contains(&key) || GenerationParameters::names().contains(&key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::GenerationDefaults;

    fn merge(
        config: serde_json::Value,
        generation: Option<serde_json::Value>,
    ) -> GenerationDefaults {
        let generation = generation.as_ref().and_then(serde_json::Value::as_object);
        let class = json!({"forced_eos_token_id": 1, "pad_token_id": 0});
        GenerationDefaults::merge(
            config.as_object().unwrap(),
            generation,
            class.as_object().unwrap(),
        )
    }

    #[test]
    fn config_json_serves_where_there_is_no_generation_config() {
        let config = json!({"d_model": 16, "num_beams": 8, "length_penalty": 0.8, "max_length": null,
                            "eos_token_id": 1});
        let merged = merge(config, None);
        assert_eq!(
            serde_json::Value::Object(merged.values),
            json!({"forced_eos_token_id": 1, "pad_token_id": 0, "num_beams": 8,
                   "length_penalty": 0.8, "eos_token_id": 1})
        );
        assert_eq!(merged.origins["num_beams"], "config.json");
    }

    #[test]
    fn a_null_in_config_json_turns_the_class_default_off() {
        let merged = merge(json!({"forced_eos_token_id": null}), None);
        assert_eq!(
            serde_json::Value::Object(merged.values),
            json!({"pad_token_id": 0})
        );
    }

    #[test]
    fn generation_config_json_hides_the_parameters_but_not_the_token_ids_of_config_json() {
        let config = json!({"num_beams": 8, "decoder_start_token_id": 0, "eos_token_id": 1});
        let merged = merge(
            config,
            Some(json!({"max_length": 64, "eos_token_id": [1, 2]})),
        );
        assert_eq!(
            serde_json::Value::Object(merged.values),
            json!({"max_length": 64, "eos_token_id": [1, 2], "decoder_start_token_id": 0,
                   "pad_token_id": 0})
        );
        assert_eq!(merged.origins["decoder_start_token_id"], "config.json");
        assert_eq!(merged.origins["eos_token_id"], "generation_config.json");
    }

    #[test]
    fn task_specific_params_come_last_and_bring_only_generation_parameters() {
        let config = json!({"num_beams": 1, "task_specific_params": {
            "summarization": {"num_beams": 4, "prefix": "summarize: "},
            "translation": {"num_beams": 2}}});
        let merged = merge(config, None);
        assert_eq!(
            serde_json::Value::Object(merged.values),
            json!({"forced_eos_token_id": 1, "pad_token_id": 0, "num_beams": 4})
        );
        assert_eq!(
            merged.origins["num_beams"],
            "config.json task_specific_params.summarization"
        );
    }
}
