//! Compares counts with those of a baseline.

use anyhow::Result;

use super::counting::Counts;
use super::probe::Probe;

/// Relative increase above which a probe is slower. Counts vary much less: only hash tables, which
/// are seeded at random, change them.
pub const TOLERANCE: f64 = 0.01;

/// The change of one probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Name of the probe.
    pub probe: Probe,
    /// Relative increase in instructions; negative for a decrease.
    pub increase: f64,
}

impl Change {
    /// Whether the probe got slower.
    pub fn is_slower(&self) -> bool {
        self.increase > TOLERANCE
    }
}

/// Compares each probe of the baseline. If a probe seems slower, counts again and takes the smaller
/// count.
///
/// # Errors
///
/// The errors of `count`.
pub fn check(
    before: &Counts,
    count: &mut dyn FnMut(&[Probe]) -> Result<Counts>,
) -> Result<Vec<Change>> {
    let change = |(&probe, &now): (&Probe, &u64)| Change {
        probe,
        increase: now as f64 / before[&probe] as f64 - 1.0,
    };
    let probes: Vec<Probe> = before.keys().copied().collect();
    let mut counts = count(&probes)?;
    let changes = counts.iter().map(change);
    let suspects: Vec<Probe> =
        changes.filter(Change::is_slower).map(|change| change.probe).collect();
    if !suspects.is_empty() {
        for (probe, again) in count(&suspects)? {
            counts.entry(probe).and_modify(|first| *first = again.min(*first));
        }
    }
    Ok(counts.iter().map(change).collect())
}

/// The changes as a table.
pub fn table(changes: &[Change]) -> String {
    let row = |change: &Change| {
        let slower = if change.is_slower() { "  SLOWER" } else { "" };
        format!("{:<13} {:>+8.2}%{slower}\n", change.probe, 100.0 * change.increase)
    };
    let rows: String = changes.iter().map(row).collect();
    format!("{:<13} {:>9}\n{rows}", "probe", "change")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The changes from a sequence of counts.
    fn changes(counts: &[Counts]) -> Vec<Change> {
        let before = [(Probe::SearchLoop, 1000), (Probe::Encoder, 1000)].into();
        let mut next = counts.iter();
        check(&before, &mut |probes| {
            let mut counts = next.next().expect("no further count").clone();
            counts.retain(|probe, _| probes.contains(probe));
            Ok(counts)
        })
        .expect("counting does not fail")
    }

    fn counts(search: u64, encoder: u64) -> Counts {
        [(Probe::SearchLoop, search), (Probe::Encoder, encoder)].into()
    }

    #[test]
    fn one_percent_more_is_slower() {
        let unchanged = changes(&[counts(1009, 900)]);
        assert!(!unchanged.iter().any(Change::is_slower));
        let slower = changes(&[counts(1011, 1000), counts(1011, 1000)]);
        let text = table(&slower);
        assert!(text.contains("search-loop      +1.10%  SLOWER\n"), "{text}");
        assert_eq!(text.matches("SLOWER").count(), 1);
    }

    #[test]
    fn the_smaller_of_two_counts_is_taken() {
        assert!(!changes(&[counts(1100, 1000), counts(1005, 9000)]).iter().any(Change::is_slower));
    }
}
