//! The Pareto front of settings, and the best one within a latency budget.

/// Latency and quality of a setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice {
    /// Lower is better.
    pub(crate) latency: f64,
    /// Higher is better.
    pub(crate) quality: f64,
}

/// Positions of the choices that no other choice beats, the fastest first. A choice beats another
/// if it is at least as fast and at least as good, and better in one of the two.
pub(crate) fn front(choices: &[Choice]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..choices.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (choices[a], choices[b]);
        a.latency.total_cmp(&b.latency).then(b.quality.total_cmp(&a.quality))
    });
    let mut best = f64::NEG_INFINITY;
    order.retain(|&index| {
        let better = choices[index].quality > best;
        best = best.max(choices[index].quality);
        better
    });
    order
}

/// Position of the best choice within a budget, the fastest among equals.
pub(crate) fn within_budget(choices: &[Choice], budget: f64) -> Option<usize> {
    front(choices).into_iter().rfind(|&index| choices[index].latency <= budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(pairs: &[(f64, f64)]) -> Vec<Choice> {
        pairs.iter().map(|&(latency, quality)| Choice { latency, quality }).collect()
    }

    #[test]
    fn beaten_choices_are_not_on_the_front() {
        let all = choices(&[
            (10.0, 0.3),
            (20.0, 0.2),
            (15.0, 0.5),
            (15.0, 0.4),
            (30.0, 0.6),
            (40.0, 0.6),
        ]);
        assert_eq!(front(&all), [0, 2, 4]);
        assert!(front(&[]).is_empty());
        assert_eq!(front(&choices(&[(1.0, f64::NAN), (2.0, 0.1)])), [1]);
    }

    #[test]
    fn every_choice_is_on_the_front_or_beaten_by_one_that_is() {
        let mut random = fastrand::Rng::with_seed(3);
        let pairs: Vec<_> = (0..200)
            .map(|_| ((random.f64() * 20.0).floor(), (random.f64() * 20.0).floor()))
            .collect();
        let all = choices(&pairs);
        let front = front(&all);
        let beats =
            |a: Choice, b: Choice| a.latency <= b.latency && a.quality >= b.quality && a != b;
        for (index, &choice) in all.iter().enumerate() {
            let beaten = all.iter().any(|&other| beats(other, choice));
            if front.contains(&index) {
                assert!(!beaten, "{choice:?}");
            } else {
                assert!(front.iter().any(|&on| beats(all[on], choice) || all[on] == choice));
            }
        }
    }

    #[test]
    fn the_budget_picks_the_best_that_is_quick_enough() {
        let all = choices(&[(10.0, 0.3), (15.0, 0.5), (30.0, 0.6), (12.0, 0.1)]);
        assert_eq!(within_budget(&all, 29.9), Some(1));
        assert_eq!(within_budget(&all, 30.0), Some(2));
        assert_eq!(within_budget(&all, 12.0), Some(0));
        assert_eq!(within_budget(&all, 9.0), None);
    }
}
