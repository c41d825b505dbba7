//! Generation defaults, merged from the places where transformers keeps them.

use std::collections::BTreeMap;

use epitome_runtime::GenerationParameters;
use epitome_runtime::generation::GlobalAttentionMask;
use serde_json::{Map, Value};

use crate::arch::Family;
use crate::checkpoint::Checkpoint;
use crate::version::Version;

/// The file of generation settings since transformers 4.26.
const GENERATION_CONFIG: &str = "generation_config.json";
/// The file of generation settings before.
const CONFIG: &str = "config.json";
/// Origin of settings of transformers' configuration class.
const CLASS: &str = "transformers' configuration class";
/// Origin of settings that the export was given, or sets itself.
const EXPORT: &str = "epitome export";
/// Overrides for one task, inside config.json.
const TASK: (&str, &str) = ("task_specific_params", "summarization");

const FORCED_BOS: &str = "forced_bos_token_id";
const OLD_FORCED_BOS: &str = "force_bos_token_to_be_generated";

/// Token ids that generation needs, beside its parameters.
const TOKEN_IDS: [&str; 4] =
    ["decoder_start_token_id", "eos_token_id", "pad_token_id", "bos_token_id"];

/// Defaults of transformers 4's configuration class of an architecture.
struct Class {
    defaults: Map<String, Value>,
    /// [`Family::forces_bos_by_old_name`].
    forces_bos_by_old_name: bool,
}

/// The merged defaults of a model.
#[derive(Debug, PartialEq)]
pub(crate) struct GenerationDefaults {
    /// transformers' names and values: `generation_config.json` of the bundle.
    pub(crate) values: Map<String, Value>,
    /// The origin of each value.
    pub(crate) origins: BTreeMap<String, String>,
}

impl GenerationDefaults {
    /// Merges the settings of the checkpoint, as transformers does in the version that wrote it.
    ///
    /// If there is a `generation_config.json`, only it counts. Otherwise the generation keys of
    /// config.json count, and those of its `decoder`. Before version 5, the defaults of
    /// transformers' configuration class have the lowest precedence, and
    /// `task_specific_params.summarization`, which the summarization pipeline uses, the highest.
    ///
    /// transformers refuses to generate without a start token. Then token ids of config.json and of
    /// the class are used here.
    pub(crate) fn of(checkpoint: &Checkpoint, family: &Family) -> Self {
        let class = family
            .generation_defaults
            .iter()
            .map(|(key, id)| ((*key).to_owned(), Value::from(*id)))
            .collect();
        let class =
            Class { defaults: class, forces_bos_by_old_name: family.forces_bos_by_old_name };
        Self::merge(checkpoint.config(), checkpoint.generation_config(), &class)
    }

    fn merge(
        config: &Map<String, Value>,
        generation_config: Option<&Map<String, Value>>,
        class: &Class,
    ) -> Self {
        let mut merged = Self { values: Map::new(), origins: BTreeMap::new() };
        // A null in config.json disables the class's default.
        let silent = |key: &str| !config.contains_key(key);
        match (generation_config, Version::of(config)) {
            (Some(fields), _) => merged.take(GENERATION_CONFIG, fields, is_generation_key),
            (None, Version::V5) => {
                merged.take(CONFIG, config, is_generation_key);
                merged.take_decoder(config);
                merged.force_bos(config);
            }
            (None, Version::V4) => {
                merged.take(CONFIG, config, is_generation_key);
                merged.take_decoder(config);
                let set: Vec<_> = merged.values.keys().cloned().collect();
                let absent = |key: &str| silent(key) && !set.iter().any(|k| k == key);
                let defaults = &class.defaults;
                merged.take(CLASS, defaults, |key| is_generation_key(key) && absent(key));
                if class.forces_bos_by_old_name && !merged.values.contains_key(FORCED_BOS) {
                    merged.force_bos(config);
                }
                let (tasks, task) = TASK;
                let params = config.get(tasks).and_then(|tasks| tasks.get(task));
                if let Some(Value::Object(fields)) = params {
                    let origin = format!("{CONFIG} {tasks}.{task}");
                    merged.take(&origin, fields, is_generation_key);
                }
            }
        }
        let starts = ["decoder_start_token_id", "bos_token_id"];
        if !starts.iter().any(|key| merged.values.contains_key(*key)) {
            let absent: Vec<_> =
                TOKEN_IDS.into_iter().filter(|key| !merged.values.contains_key(*key)).collect();
            let defaults = &class.defaults;
            merged.take(CLASS, defaults, |key| absent.contains(&key) && silent(key));
            merged.take(CONFIG, config, |key| absent.contains(&key));
        }
        merged
    }

    /// Sets the default mask of global attention. It is in no file of a checkpoint: transformers
    /// takes it with each call of `generate`.
    pub(crate) fn set_global_attention_mask(&mut self, mask: &GlobalAttentionMask) {
        let name = GlobalAttentionMask::NAME;
        self.values.insert(name.into(), mask.to_json());
        self.origins.insert(name.into(), EXPORT.into());
    }

    /// Takes settings of the decoder's configuration that are missing elsewhere.
    fn take_decoder(&mut self, config: &Map<String, Value>) {
        if let Some(Value::Object(decoder)) = config.get("decoder") {
            let set: Vec<_> = self.values.keys().cloned().collect();
            let origin = format!("{CONFIG} decoder");
            self.take(&origin, decoder, |key| {
                is_generation_key(key) && !set.iter().any(|k| k == key)
            });
        }
    }

    /// Reads `force_bos_token_to_be_generated`, BART's setting before `forced_bos_token_id`.
    fn force_bos(&mut self, config: &Map<String, Value>) {
        let forced = config.get(OLD_FORCED_BOS).and_then(Value::as_bool);
        let bos = self.values.get("bos_token_id").cloned();
        if let (Some(true), Some(bos)) = (forced, bos) {
            self.values.insert(FORCED_BOS.into(), bos);
            let origin = format!("{CONFIG} {OLD_FORCED_BOS}");
            self.origins.insert(FORCED_BOS.into(), origin);
        }
    }

    fn take(&mut self, origin: &str, fields: &Map<String, Value>, wanted: impl Fn(&str) -> bool) {
        for (key, value) in fields.iter().filter(|(key, value)| wanted(key) && !value.is_null()) {
            self.values.insert(key.clone(), value.clone());
            self.origins.insert(key.clone(), origin.into());
        }
    }
}

fn is_generation_key(key: &str) -> bool {
    let is_parameter =
        GenerationParameters::names().contains(&key) && key != GlobalAttentionMask::NAME;
    TOKEN_IDS.contains(&key) || is_parameter
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Class, GenerationDefaults};

    fn merge(config: Value, generation: Option<Value>) -> GenerationDefaults {
        let generation = generation.as_ref().and_then(Value::as_object);
        let defaults = json!({"forced_eos_token_id": 1, "pad_token_id": 0, "bos_token_id": 7});
        let class =
            Class { defaults: defaults.as_object().unwrap().clone(), forces_bos_by_old_name: true };
        GenerationDefaults::merge(config.as_object().unwrap(), generation, &class)
    }

    /// The merged values.
    fn values(config: Value, generation: Option<Value>) -> Value {
        Value::Object(merge(config, generation).values)
    }

    #[test]
    fn before_5_config_json_lies_over_the_class_where_there_is_no_generation_config() {
        let config = json!({"d_model": 16, "num_beams": 8, "length_penalty": 0.8,
                            "max_length": null, "eos_token_id": 1});
        let merged = merge(config, None);
        assert_eq!(
            Value::Object(merged.values),
            json!({"forced_eos_token_id": 1, "pad_token_id": 0, "bos_token_id": 7, "num_beams": 8,
                   "length_penalty": 0.8, "eos_token_id": 1})
        );
        assert_eq!(merged.origins["num_beams"], "config.json");
    }

    #[test]
    fn a_decoder_within_config_json_says_what_nothing_else_does() {
        let config = json!({"num_beams": 4, "decoder": {"num_beams": 1, "eos_token_id": 102,
                            "pad_token_id": 5, "bos_token_id": null, "hidden_size": 16}});
        let merged = merge(config, None);
        assert_eq!(
            Value::Object(merged.values),
            json!({"forced_eos_token_id": 1, "pad_token_id": 5, "bos_token_id": 7, "num_beams": 4,
                   "eos_token_id": 102})
        );
        assert_eq!(merged.origins["eos_token_id"], "config.json decoder");
    }

    #[test]
    fn a_null_in_config_json_turns_the_class_default_off() {
        assert_eq!(
            values(json!({"forced_eos_token_id": null}), None),
            json!({"pad_token_id": 0, "bos_token_id": 7})
        );
    }

    #[test]
    fn from_5_on_class_and_task_are_not_taken() {
        let config = json!({"transformers_version": "5.1.0", "num_beams": 2, "bos_token_id": 3,
                            "task_specific_params": {"summarization": {"num_beams": 4}}});
        assert_eq!(values(config, None), json!({"num_beams": 2, "bos_token_id": 3}));
    }

    #[test]
    fn without_a_token_to_start_with_token_ids_come_from_config_json_and_the_class() {
        let config = json!({"num_beams": 8, "decoder_start_token_id": 0, "eos_token_id": 1});
        let generation = json!({"max_length": 64, "eos_token_id": [1, 2]});
        let merged = merge(config, Some(generation));
        assert_eq!(
            Value::Object(merged.values),
            json!({"max_length": 64, "eos_token_id": [1, 2], "decoder_start_token_id": 0,
                   "pad_token_id": 0, "bos_token_id": 7})
        );
        assert_eq!(merged.origins["decoder_start_token_id"], "config.json");
        assert_eq!(merged.origins["eos_token_id"], "generation_config.json");
        let config = json!({"transformers_version": "5.1.0"});
        assert_eq!(values(config, None), json!({"pad_token_id": 0, "bos_token_id": 7}));
    }

    #[test]
    fn generation_config_json_with_a_token_to_start_with_is_taken_alone() {
        let config = json!({"num_beams": 8, "eos_token_id": 1, "decoder_start_token_id": 5,
                            "task_specific_params": {"summarization": {"num_beams": 4}}});
        let generation = json!({"max_length": 64, "bos_token_id": 2});
        assert_eq!(values(config, Some(generation.clone())), generation);
    }

    #[test]
    fn before_5_task_specific_params_come_last_and_bring_only_generation_parameters() {
        let config = json!({"num_beams": 1, "task_specific_params": {
            "summarization": {"num_beams": 4, "prefix": "summarize: "},
            "translation": {"num_beams": 2}}});
        let merged = merge(config, None);
        assert_eq!(
            Value::Object(merged.values),
            json!({"forced_eos_token_id": 1, "pad_token_id": 0, "bos_token_id": 7, "num_beams": 4})
        );
        assert_eq!(merged.origins["num_beams"], "config.json task_specific_params.summarization");
    }

    #[test]
    fn the_old_name_of_forced_bos_forces_bos_unless_another_is_forced() {
        for (version, config, expected) in [
            ("4.6.1", json!({}), 7),
            ("4.6.1", json!({"bos_token_id": 3}), 3),
            ("4.6.1", json!({"forced_bos_token_id": 9}), 9),
            ("5.0.0", json!({"bos_token_id": 3, "forced_bos_token_id": 9}), 3),
        ] {
            let mut config = config;
            config["transformers_version"] = version.into();
            config["force_bos_token_to_be_generated"] = true.into();
            let found = values(config.clone(), None);
            assert_eq!(found["forced_bos_token_id"], expected, "{config}");
        }
    }
}
