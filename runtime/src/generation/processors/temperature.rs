//! `temperature`.

use super::processor::{Context, Effect, LogitsProcessor, Made, Settings, made};

/// Creates the processor if `temperature` is set.
pub(super) fn make(settings: &Settings<'_>) -> Made {
    let temperature = settings.parameters.temperature;
    made(temperature.filter(|temperature| *temperature != 1.0).map(TemperatureLogitsWarper::new))
}

/// Divides every score. A temperature above 1 flattens the distribution, below 1 sharpens it.
pub(super) struct TemperatureLogitsWarper {
    temperature: f32,
}

impl TemperatureLogitsWarper {
    pub(super) fn new(temperature: f64) -> Self {
        Self { temperature: temperature as f32 }
    }
}

impl LogitsProcessor for TemperatureLogitsWarper {
    fn effect(&self, _: &Context<'_>) -> Effect {
        Effect::Rewrites
    }

    fn process(&mut self, _: &Context<'_>, scores: &mut [f32]) {
        for score in scores {
            *score /= self.temperature;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::testing::processed;
    use super::*;

    #[test]
    fn scores_are_divided() {
        let context = Context::new(&[0], &[]);
        let before = [2.0, -3.0, f32::NEG_INFINITY];
        let after = processed(&mut TemperatureLogitsWarper::new(0.5), &context, &before);
        assert_eq!(after, [4.0, -6.0, f32::NEG_INFINITY]);
    }
}
