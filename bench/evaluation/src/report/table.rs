//! The table of a sweep for the terminal.

use std::fmt::Write;

use crate::results::{Point, Results};

/// A line for each setting. `*` marks the Pareto front of latency and quality, `>` the setting
/// picked for the budget.
pub fn table(results: &Results) -> String {
    let mut out = String::from(
        "   beams  early_stopping  length_penalty |  p50 ms   p90 ms |  steps  tokens  tokens/s",
    );
    let quality = results.points.iter().any(|point| point.rouge.is_some());
    if quality {
        out.push_str(" | ROUGE-1      2      L");
    }
    let rule = "-".repeat(out.len());
    let _ = writeln!(out, "\n{rule}");
    for point in &results.points {
        let mark = match (point.picked, point.pareto) {
            (true, _) => '>',
            (false, true) => '*',
            (false, false) => ' ',
        };
        let (stopping, penalty) = beam_cells(point);
        let _ = write!(
            out,
            "{mark} {:>6}  {stopping:>14}  {penalty:>14} | {:>7.1}  {:>7.1} | \
             {:>6.1}  {:>6.1}  {:>8.0}",
            point.setting.num_beams,
            point.latency_ms.p50,
            point.latency_ms.p90,
            point.steps.mean,
            point.tokens.mean,
            point.tokens_per_second,
        );
        if let Some(rouge) = point.rouge {
            let [one, two, l] = [rouge.rouge1, rouge.rouge2, rouge.rouge_l].map(|x| 100.0 * x);
            let _ = write!(out, " | {one:>7.2} {two:>6.2} {l:>6.2}");
        }
        out.push('\n');
    }
    if quality {
        out.push_str("* no other setting is both faster (p90) and better (ROUGE-L)");
        out.push_str(if results.picked().is_some() { "; > picked for the budget\n" } else { "\n" });
    }
    for sentence in sentences(results) {
        let _ = writeln!(out, "{sentence}");
    }
    out
}

/// The main results, one sentence each.
pub(super) fn sentences(results: &Results) -> Vec<String> {
    let holdout = results.holdout.map(|holdout| holdout.sentence());
    results.verdict().into_iter().chain(holdout).chain(results.warning()).collect()
}

/// `early_stopping` and `length_penalty`; dashes for greedy search.
pub(super) fn beam_cells(point: &Point) -> (String, String) {
    match point.setting.beam {
        None => ("-".into(), "-".into()),
        Some(beam) => (beam.early_stopping.to_string(), beam.length_penalty.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::results::tests::results;

    #[test]
    fn columns_stay_in_line_and_marks_are_told() {
        let text = super::table(&results(true).within(25.0));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].starts_with("*      1               -               - |    12.0"));
        assert!(lines[3].starts_with(">      2           false               1 |"));
        assert_eq!(lines[2].find('|'), lines[0].find('|'));
        assert!(text.contains("ROUGE-L 20.0)\n"), "{text}");
        assert!(text.contains("\nOnly 2 of the documents have a reference summary"), "{text}");
        let without = super::table(&results(false));
        assert!(!without.contains("ROUGE") && !without.contains('*'), "{without}");
    }
}
