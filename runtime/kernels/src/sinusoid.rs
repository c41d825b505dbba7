//! Sinusoidal positions, computed instead of read from a table, so without a greatest position.

/// The frequencies of the sinusoidal positions of a model.
#[derive(Clone, Debug)]
pub struct Sinusoids {
    frequencies: Vec<f32>,
}

impl Sinusoids {
    /// The positions of fairseq, `size` values each.
    ///
    /// They agree with `M2M100SinusoidalPositionalEmbedding` in
    /// `transformers/models/m2m_100/modeling_m2m_100.py`. Both compute in float32: at great
    /// positions, rounding the angle changes the result more than rounding its sine.
    pub fn new(size: usize) -> Self {
        let half = size / 2;
        let step = (10_000f64.ln() / half.saturating_sub(1).max(1) as f64) as f32;
        Self { frequencies: (0..half).map(|column| (column as f32 * -step).exp()).collect() }
    }

    /// Positions with these frequencies, two values for each frequency.
    pub fn of(frequencies: &[f32]) -> Self {
        Self { frequencies: frequencies.to_vec() }
    }

    /// Writes `position` to `row`: the sines of all frequencies, then the cosines, then a zero if
    /// the length of the row is odd.
    pub fn write(&self, position: usize, row: &mut [f32]) {
        let (sines, rest) = row.split_at_mut(self.frequencies.len());
        let (cosines, odd) = rest.split_at_mut(self.frequencies.len());
        odd.fill(0.0);
        let values = sines.iter_mut().zip(cosines);
        for ((sine, cosine), frequency) in values.zip(&self.frequencies) {
            (*sine, *cosine) = (position as f32 * frequency).sin_cos();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sinusoids;

    #[test]
    fn a_row_holds_sines_then_cosines_and_an_odd_size_ends_in_zero() {
        let mut row = [f32::NAN; 5];
        Sinusoids::new(5).write(0, &mut row);
        assert_eq!(row, [0.0, 0.0, 1.0, 1.0, 0.0]);
        Sinusoids::new(5).write(2, &mut row);
        let (fast, slow) = (2f32, 2f32 * (-(10_000f64.ln()) as f32).exp());
        assert_eq!(row, [fast.sin(), slow.sin(), fast.cos(), slow.cos(), 0.0]);
    }
}
