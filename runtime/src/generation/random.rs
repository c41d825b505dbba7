//! Random numbers that depend only on their purpose.
//!
//! There is no generator with a state. Each number is a hash of the seed, the document's tokens,
//! the sequence, the step and the candidate. So a document draws the same numbers on every machine,
//! whatever other documents it is decoded with.

/// The finalizer of SplitMix64: every bit of the input changes every bit of the output.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A key to independent random numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key(u64);

impl Key {
    /// The key of a document under a seed.
    pub(crate) fn new(seed: u64, source: &[u32]) -> Self {
        let key = Self(mix(seed ^ 0x9E37_79B9_7F4A_7C15)).at(source.len() as u64);
        source.iter().fold(key, |key, token| key.at(u64::from(*token)))
    }

    /// The key at this index under this key.
    #[must_use]
    pub(crate) fn at(self, index: u64) -> Self {
        Self(mix(self.0.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(3)
            ^ mix(index ^ 0xD1B5_4A32_D192_ED03)))
    }

    /// A uniform number from the open interval from 0 to 1, in steps of 2^-52.
    pub(crate) fn uniform(self) -> f64 {
        ((mix(self.0) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Upper bound of [`Self::gumbel`]: 53 ln 2, rounded up.
    pub(crate) const MAX_GUMBEL: f32 = 37.0;

    /// A number from the standard Gumbel distribution. Adding one to each log-weight and taking the
    /// greatest sums draws by weight, without replacement.
    pub(crate) fn gumbel(self) -> f64 {
        -(-self.uniform().ln()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_uniform_and_independent_of_neighbours() {
        let key = Key::new(7, &[1, 2, 3]);
        let draws = 100_000;
        let mut bins = [0_u32; 20];
        let mut product = 0.0;
        for index in 0..draws {
            let value = key.at(index).uniform();
            assert!(value > 0.0 && value < 1.0);
            bins[(value * 20.0) as usize] += 1;
            product += (value - 0.5) * (key.at(index + 1).uniform() - 0.5);
        }
        let expected = draws as f64 / 20.0;
        let chi: f64 = bins.iter().map(|bin| (f64::from(*bin) - expected).powi(2) / expected).sum();
        assert!(chi < 43.8, "chi-square {chi} with 19 degrees of freedom, p < 0.001");
        assert!((product / draws as f64).abs() < 0.002);
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let base = Key::new(7, &[1, 2, 3]).at(0).uniform();
        assert_ne!(base, Key::new(8, &[1, 2, 3]).at(0).uniform());
        assert_ne!(base, Key::new(7, &[1, 2, 4]).at(0).uniform());
        assert_ne!(base, Key::new(7, &[1, 2, 3]).at(1).uniform());
        assert_ne!(
            Key::new(7, &[1]).at(0).at(1).uniform(),
            Key::new(7, &[1]).at(1).at(0).uniform()
        );
    }

    #[test]
    fn numbers_stay_the_same_from_release_to_release() {
        assert_eq!(Key::new(0, &[]).at(0).uniform(), 0.7350981197145404);
        assert_eq!(Key::new(42, &[7, 1]).at(3).at(5).uniform(), 0.6124884997893439);
    }
}
