//! Random numbers for weights and logits. They are the same on every machine.

use fastrand::Rng;

/// A number with almost a normal distribution, of mean 0 and variance 1. It is the sum of four
/// uniform numbers of 16 bits each, which is faster than an exact one and sufficient for weights
/// and logits.
pub(crate) fn normal(random: &mut Rng) -> f32 {
    let bits = random.u64(..);
    let sum: u64 = (0..4).map(|part| (bits >> (16 * part)) & 0xffff).sum();
    // Four uniform numbers from 0 to 1 have mean 2 and variance 1/3.
    (sum as f32 / 65_536.0 - 2.0) * 1.732_050_8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_variance_are_those_of_the_normal_distribution() {
        let mut random = Rng::with_seed(1);
        let numbers: Vec<f32> = (0..20_000).map(|_| normal(&mut random)).collect();
        let mean = |value: &dyn Fn(f32) -> f32| {
            numbers.iter().map(|&number| value(number)).sum::<f32>() / numbers.len() as f32
        };
        let (center, variance) = (mean(&|x| x), mean(&|x| x * x));
        assert!(center.abs() < 0.03 && (variance - 1.0).abs() < 0.05);
    }
}
