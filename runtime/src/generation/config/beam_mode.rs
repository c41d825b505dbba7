//! The kind of beam search that the parameters select, and parameters that contradict it.
//!
//! Implements, for beams, `GenerationConfig.get_generation_mode` and the checks of
//! `GenerationConfig.validate` of transformers 4.46.3, which still has groups and constraints.

use super::super::error::ParameterError;
use super::super::parameters::{Constraint, GenerationParameters};

/// The kinds of beam search.
#[derive(Debug)]
pub(super) enum BeamMode {
    /// Beam search, or search without beams.
    Plain,
    /// Diverse beam search with this number of groups, above 1.
    Groups(usize),
    /// Constrained beam search.
    Constraints(Vec<Constraint>),
}

impl BeamMode {
    /// `merged` is `params` merged with the model's defaults.
    ///
    /// # Errors
    /// [`ParameterError::Contradiction`] if parameters select different searches. A caller with a
    /// single beam overrides a model's defaults for groups.
    pub(super) fn resolve(
        merged: &GenerationParameters,
        params: &GenerationParameters,
    ) -> Result<Self, ParameterError> {
        let num_beams = merged.num_beams.unwrap_or(1);
        let samples = merged.do_sample.unwrap_or(false);
        let asked = if num_beams == 1 { params } else { merged };
        let groups = asked.num_beam_groups.unwrap_or(1);
        let penalty = asked.diversity_penalty.unwrap_or(0.0);

        if let Some((name, constraints)) = constraints(merged) {
            let wrong = |reason: &str| ParameterError::Contradiction {
                name,
                value: format!("{} constraints", constraints.len()),
                reason: reason.to_owned(),
            };
            return if num_beams == 1 {
                Err(wrong("constrained search needs `num_beams` above 1"))
            } else if samples {
                Err(wrong("constrained search does not sample; leave out `do_sample`"))
            } else if groups > 1 || penalty > 0.0 {
                Err(wrong(
                    "constrained search has no groups; leave out `num_beam_groups` and \
                     `diversity_penalty`",
                ))
            } else {
                Ok(Self::Constraints(constraints))
            };
        }

        let wrong = |name, value: String, reason: String| {
            Err(ParameterError::Contradiction { name, value, reason })
        };
        if groups == 1 {
            return if penalty > 0.0 {
                let reason = "it needs groups that can differ; set `num_beam_groups` above 1";
                wrong("diversity_penalty", penalty.to_string(), reason.to_owned())
            } else {
                Ok(Self::Plain)
            };
        }
        let reason = if !num_beams.is_multiple_of(groups) {
            format!("it must divide `num_beams`, which is {num_beams}")
        } else if samples {
            "groups of beams do not sample; leave out `do_sample`".to_owned()
        } else if penalty == 0.0 {
            "without a `diversity_penalty` above 0 all groups would be the same".to_owned()
        } else {
            return Ok(Self::Groups(groups));
        };
        wrong("num_beam_groups", groups.to_string(), reason)
    }
}

/// The constraints on the output, and the name of their parameter.
fn constraints(merged: &GenerationParameters) -> Option<(&'static str, Vec<Constraint>)> {
    let name = match (&merged.constraints, &merged.force_words_ids) {
        (None, None) => return None,
        (Some(_), _) => "constraints",
        (None, Some(_)) => "force_words_ids",
    };
    let all = merged.constraints.iter().chain(&merged.force_words_ids);
    Some((name, all.flatten().cloned().collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> GenerationParameters {
        GenerationParameters::from_json(value.as_object().expect("a map")).expect("valid")
    }

    fn resolve(value: &Value) -> Result<BeamMode, String> {
        let params = read(value);
        BeamMode::resolve(&params, &params).map_err(|error| error.to_string())
    }

    #[test]
    fn the_mode_follows_from_the_parameters() {
        let groups = json!({"num_beams": 6, "num_beam_groups": 3, "diversity_penalty": 1.0});
        assert!(matches!(resolve(&groups), Ok(BeamMode::Groups(3))));
        let constraints = json!({
            "num_beams": 2, "force_words_ids": [[5]], "constraints": [{"PhrasalConstraint": [6]}],
        });
        let Ok(BeamMode::Constraints(found)) = resolve(&constraints) else {
            panic!("constraints");
        };
        assert_eq!(found, [Constraint::Phrasal(vec![6]), Constraint::Phrasal(vec![5])]);
        let plain = json!({"num_beams": 6, "num_beam_groups": 1, "diversity_penalty": 0.0});
        assert!(matches!(resolve(&plain), Ok(BeamMode::Plain)));
    }

    #[test]
    fn contradictions_are_named() {
        for (parameters, said) in [
            (json!({"num_beams": 4, "num_beam_groups": 3}), "`num_beams`, which is 4"),
            (json!({"num_beam_groups": 2, "diversity_penalty": 1.0}), "`num_beams`, which is 1"),
            (json!({"num_beams": 4, "num_beam_groups": 2}), "`diversity_penalty` above 0"),
            (json!({"num_beams": 4, "diversity_penalty": 1.0}), "`num_beam_groups` above 1"),
            (
                json!({
                    "num_beams": 4,
                    "num_beam_groups": 2,
                    "diversity_penalty": 1.0,
                    "do_sample": true,
                }),
                "`do_sample`",
            ),
            (json!({"force_words_ids": [[5]]}), "`num_beams` above 1"),
            (json!({"num_beams": 2, "do_sample": true, "force_words_ids": [[5]]}), "`do_sample`"),
            (
                json!({"num_beams": 2, "num_beam_groups": 2, "constraints": [[5]]}),
                "`num_beam_groups`",
            ),
        ] {
            let error = resolve(&parameters).expect_err("a contradiction");
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_models_groups_yield_to_a_single_beam() {
        let model = json!({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0});
        let params = read(&json!({"num_beams": 1}));
        let merged = params.overlaid_on(&read(&model));
        let mode = BeamMode::resolve(&merged, &params);
        assert!(matches!(mode, Ok(BeamMode::Plain)));
    }
}
