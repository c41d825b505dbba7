//! The split into training and validation.

/// Selects one row at a random place of each stretch of rows. At any point the share is right to
/// within a row, the rows need not be counted before, and no part of the data is skipped.
pub(super) struct Split {
    share: f64,
    random: fastrand::Rng,
    /// Number of rows so far.
    row: u64,
    /// The validation row of the current stretch.
    taken: u64,
    /// Number of the current stretch.
    stretch: u64,
}

impl Split {
    /// A split that selects the fraction `share`, in (0, 1).
    pub(super) fn new(share: f64, seed: u64) -> Self {
        let mut split =
            Self { share, random: fastrand::Rng::with_seed(seed), row: 0, taken: 0, stretch: 0 };
        split.choose();
        split
    }

    /// Whether the next row is for validation.
    pub(super) fn next_is_validation(&mut self) -> bool {
        let row = self.row;
        self.row += 1;
        let is_taken = row == self.taken;
        if self.row >= self.start(self.stretch + 1) {
            self.stretch += 1;
            self.choose();
        }
        is_taken
    }

    /// First row of a stretch.
    fn start(&self, stretch: u64) -> u64 {
        (stretch as f64 / self.share).round() as u64
    }

    fn choose(&mut self) {
        let rows = self.start(self.stretch)..self.start(self.stretch + 1);
        self.taken = self.random.u64(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::Split;

    fn taken(share: f64, seed: u64, rows: u64) -> Vec<u64> {
        let mut split = Split::new(share, seed);
        (0..rows).filter(|_| split.next_is_validation()).collect()
    }

    #[test]
    fn shares_are_right_at_every_point() {
        for share in [0.001, 0.15, 0.2, 0.5, 0.51, 0.9, 0.999] {
            let mut split = Split::new(share, 7);
            let mut count = 0.0;
            for row in 1..=10_000 {
                count += f64::from(u8::from(split.next_is_validation()));
                let wanted = share * f64::from(row);
                assert!((count - wanted).abs() <= 1.5, "{share}: {count} of {row}");
            }
        }
    }

    #[test]
    fn seeds_choose() {
        assert_eq!(taken(0.15, 1, 200), taken(0.15, 1, 200));
        assert_ne!(taken(0.15, 1, 200), taken(0.15, 2, 200));
        // Earlier versions split in the same way.
        assert_eq!(taken(0.15, 42, 40), [5, 9, 18, 20, 30, 36]);
    }
}
