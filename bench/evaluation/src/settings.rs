//! Settings to compare: beams, `length_penalty` and `early_stopping`.

use std::fmt;

use epitome_runtime::GenerationParameters;
use epitome_runtime::generation::EarlyStopping;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The default length penalties.
pub const LENGTH_PENALTIES: [f64; 8] = [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5];
/// The default numbers of beams.
pub const NUM_BEAMS: [usize; 4] = [1, 2, 4, 8];

/// transformers' three-valued `early_stopping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stopping {
    /// As soon as `num_beams` summaries are complete.
    True,
    /// When a heuristic says that no running beam can beat the worst complete summary.
    False,
    /// When no running beam can beat it at any length.
    Never,
}

impl Stopping {
    /// All stopping rules.
    pub const ALL: [Self; 3] = [Self::True, Self::False, Self::Never];
}

impl fmt::Display for Stopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::True => "true",
            Self::False => "false",
            Self::Never => "never",
        })
    }
}

impl std::str::FromStr for Stopping {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|value| value.to_string() == text);
        known.ok_or_else(|| {
            Error::Settings(format!("early_stopping is '{text}', and must be true, false or never"))
        })
    }
}

impl From<Stopping> for EarlyStopping {
    fn from(value: Stopping) -> Self {
        match value {
            Stopping::True => Self::True,
            Stopping::False => Self::False,
            Stopping::Never => Self::Never,
        }
    }
}

/// Settings of beam search only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeamSettings {
    /// Exponent of the length, by which a summary's log-probability is divided.
    pub length_penalty: f64,
    /// When the search may stop.
    pub early_stopping: Stopping,
}

/// One setting of the search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Number of beams; 1 is greedy search.
    pub num_beams: usize,
    /// `None` for greedy search.
    #[serde(flatten)]
    pub beam: Option<BeamSettings>,
}

impl Setting {
    /// Beam search, or greedy search with one beam.
    pub fn new(num_beams: usize, length_penalty: f64, early_stopping: Stopping) -> Self {
        Self {
            num_beams,
            beam: (num_beams > 1).then_some(BeamSettings { length_penalty, early_stopping }),
        }
    }

    /// The search of a model's generation defaults, under transformers' names.
    pub fn of_defaults(defaults: &Map<String, Value>) -> Self {
        let number = |name: &str| defaults.get(name).and_then(Value::as_f64);
        let stopping = match defaults.get("early_stopping") {
            Some(Value::Bool(true)) => Stopping::True,
            Some(Value::String(text)) if text == "never" => Stopping::Never,
            _ => Stopping::False,
        };
        let beams = number("num_beams").map_or(1, |beams| beams as usize);
        Self::new(beams.max(1), number("length_penalty").unwrap_or(1.0), stopping)
    }

    /// The parameters of the search as JSON, under transformers' names.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("num_beams".into(), self.num_beams.into());
        if let Some(beam) = self.beam {
            fields.insert("length_penalty".into(), beam.length_penalty.into());
            let stopping = match beam.early_stopping {
                Stopping::True => true.into(),
                Stopping::False => false.into(),
                Stopping::Never => "never".into(),
            };
            fields.insert("early_stopping".into(), stopping);
        }
        fields
    }

    /// The parameters of the search. All others keep the model's defaults.
    pub fn parameters(&self) -> GenerationParameters {
        GenerationParameters {
            num_beams: Some(self.num_beams),
            length_penalty: self.beam.map(|beam| beam.length_penalty),
            early_stopping: self.beam.map(|beam| beam.early_stopping.into()),
            ..Default::default()
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.beam {
            None => f.write_str("num_beams 1 (greedy)"),
            Some(beam) => write!(
                f,
                "num_beams {}, length_penalty {}, early_stopping {}",
                self.num_beams, beam.length_penalty, beam.early_stopping
            ),
        }
    }
}

/// The settings of a sweep are all combinations of these.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Numbers of beams.
    pub num_beams: Vec<usize>,
    /// Length penalties.
    pub length_penalties: Vec<f64>,
    /// Stopping rules.
    pub early_stopping: Vec<Stopping>,
}

impl Default for Grid {
    /// The default settings.
    fn default() -> Self {
        Self {
            num_beams: NUM_BEAMS.to_vec(),
            length_penalties: LENGTH_PENALTIES.to_vec(),
            early_stopping: Stopping::ALL.to_vec(),
        }
    }
}

impl Grid {
    /// Each setting once, the fewest beams first. Greedy search occurs once.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for &num_beams in &self.num_beams {
            for &early_stopping in &self.early_stopping {
                for &length_penalty in &self.length_penalties {
                    let setting = Setting::new(num_beams, length_penalty, early_stopping);
                    if !settings.contains(&setting) {
                        settings.push(setting);
                    }
                }
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_search_is_tried_once() {
        let settings = Grid::default().settings();
        assert_eq!(settings.len(), 1 + 3 * 3 * 8);
        assert_eq!(settings.iter().filter(|s| s.beam.is_none()).count(), 1);
        let repeated = Grid {
            num_beams: vec![2, 2],
            length_penalties: vec![1.0, 1.0],
            early_stopping: vec![Stopping::True],
        };
        assert_eq!(repeated.settings().len(), 1);
    }

    #[test]
    fn fields_are_the_parameters_and_defaults_name_a_setting() {
        for setting in Grid::default().settings() {
            let fields = setting.fields();
            let parsed = GenerationParameters::from_json(&fields).expect("parameters");
            assert_eq!(parsed, setting.parameters());
            assert_eq!(Setting::of_defaults(&fields), setting);
        }
        assert_eq!(Setting::of_defaults(&Map::new()), Setting::new(1, 1.0, Stopping::False));
    }

    #[test]
    fn a_setting_survives_json() {
        for setting in
            [Setting::new(1, 0.5, Stopping::True), Setting::new(4, -1.0, Stopping::Never)]
        {
            let text = serde_json::to_string(&setting).expect("JSON");
            assert_eq!(
                serde_json::from_str::<Setting>(&text).expect("a setting"),
                setting,
                "{text}"
            );
        }
    }
}
