//! Differences between the logits of two bundles that read the same document and the same summary.

use epitome_runtime::session::SourceMemory;
use epitome_runtime::{GenerationParameters, Summarizer};

use crate::error::Result;

/// Absolute differences of logits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// Largest difference.
    pub max: f64,
    /// Sum of the differences.
    pub sum: f64,
    /// Number of differences.
    pub count: usize,
}

impl Difference {
    fn between(a: &[f32], b: &[f32]) -> Self {
        let mut difference = Self::default();
        for (a, b) in a.iter().zip(b) {
            // Two infinities are equal, though their difference is NaN.
            let apart = if a == b { 0.0 } else { f64::from((a - b).abs()) };
            difference.max = difference.max.max(apart);
            difference.sum += apart;
        }
        difference.count = a.len();
        difference
    }

    /// The differences of both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            max: self.max.max(other.max),
            sum: self.sum + other.sum,
            count: self.count + other.count,
        }
    }

    /// Mean difference; 0 if there are none.
    pub fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}

/// Differences between two bundles' logits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogitError {
    /// The difference of the first step's logits.
    pub first_step: Difference,
    /// The difference over all steps, the first included.
    pub all_steps: Difference,
    /// Number of steps.
    pub steps: usize,
    /// Steps in which both have the same most likely token.
    pub same_choice: usize,
}

impl LogitError {
    /// The differences of both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            first_step: self.first_step.and(other.first_step),
            all_steps: self.all_steps.and(other.all_steps),
            steps: self.steps + other.steps,
            same_choice: self.same_choice + other.same_choice,
        }
    }
}

/// Compares the logits of both decoders along the tokens of one summary. `None` if the summary has
/// no token except the decoder start.
pub(super) fn along(
    bundles: [&mut Summarizer; 2],
    text: &str,
    parameters: [&GenerationParameters; 2],
    summary: &[u32],
) -> Result<Option<LogitError>> {
    // The logits after the last token score a token that does not exist.
    let Some((_, read)) = summary.split_last().filter(|(_, read)| !read.is_empty()) else {
        return Ok(None);
    };
    let [a, b] = bundles;
    let [memory_a, memory_b] = [encode(a, text, parameters[0])?, encode(b, text, parameters[1])?];
    let ((_, decoder_a), (_, decoder_b)) = (a.sessions(), b.sessions());
    let mut a = decoder_a.start_with(vec![memory_a], 1)?;
    let mut b = decoder_b.start_with(vec![memory_b], 1)?;
    let mut error = LogitError::default();
    for &token in read {
        let (a, b) = (a.step_all(&[token], &[0])?, b.step_all(&[token], &[0])?);
        let difference = Difference::between(a, b);
        if error.steps == 0 {
            error.first_step = difference;
        }
        error.all_steps = error.all_steps.and(difference);
        error.steps += 1;
        error.same_choice += usize::from(likeliest(a) == likeliest(b));
    }
    Ok(Some(error))
}

/// Runs a bundle's encoder on the text.
fn encode(
    bundle: &mut Summarizer,
    text: &str,
    parameters: &GenerationParameters,
) -> Result<SourceMemory> {
    let source = bundle.tokenizer().encode(text)?;
    let config = bundle.configure(parameters)?;
    let (encoder, _) = bundle.sessions();
    Ok(encoder.encode_with(&source.ids, config.global_attention_mask())?)
}

fn likeliest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|&i, &j| logits[i].total_cmp(&logits[j]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_add_up() {
        let one = Difference::between(&[1.0, f32::NEG_INFINITY], &[0.5, f32::NEG_INFINITY]);
        assert_eq!((one.max, one.sum, one.count), (0.5, 0.5, 2));
        let both = one.and(Difference::between(&[0.0, 1.0], &[2.0, 1.5]));
        assert_eq!((both.max, both.mean()), (2.0, 0.75));
        assert_eq!(Difference::default().mean(), 0.0);
    }
}
