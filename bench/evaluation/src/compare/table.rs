//! The table of a comparison for the terminal.

use std::fmt::Write;

use super::{ComparisonRecord, Interval};

/// A table with both bundles side by side, and the difference of B from A.
pub fn table(record: &ComparisonRecord) -> String {
    let mut out = String::new();
    let [a, b] = &record.bundles;
    for (name, bundle) in [("A", a), ("B", b)] {
        let _ = writeln!(
            out,
            "{name}: {} ({} of {}, {})",
            bundle.path, bundle.architecture, bundle.source, bundle.precision
        );
    }
    let mut row = |name: &str, a: &str, b: &str, difference: &str| {
        let line = format!("{name:<14} {a:>10} {b:>10}   {difference}");
        let _ = writeln!(out, "{}", line.trim_end());
    };
    row("", "A", "B", "B against A");
    row(
        "size",
        &megabytes(a.bytes),
        &megabytes(b.bytes),
        &format!("{:.1}%", 100.0 * b.bytes as f64 / a.bytes.max(1) as f64),
    );
    if let Some(rouge) = &record.rouge {
        let [a, b] = &rouge.means;
        let difference = &rouge.difference;
        let measures = [
            ("ROUGE-1", a.rouge1, b.rouge1, difference.rouge1),
            ("ROUGE-2", a.rouge2, b.rouge2, difference.rouge2),
            ("ROUGE-L", a.rouge_l, b.rouge_l, difference.rouge_l),
        ];
        for (name, a, b, difference) in measures {
            row(name, &points(a), &points(b), &interval(difference));
        }
    }
    let [tokens_a, tokens_b] = record.tokens.map(|tokens| format!("{tokens:.1}"));
    row("tokens", &tokens_a, &tokens_b, "");
    let [latency_a, latency_b] = record.latency_ms;
    for (name, a, b) in
        [("median", latency_a.p50, latency_b.p50), ("9 in 10 within", latency_a.p90, latency_b.p90)]
    {
        row(name, &milliseconds(a), &milliseconds(b), &format!("{:.2} times as long", b / a));
    }
    if let Some(agreement) = record.agreement {
        let _ = writeln!(
            out,
            "Equal summaries: {:.1}%; tokens before the first that differs: {:.1}",
            100.0 * agreement.equal,
            agreement.common_prefix
        );
    } else {
        out.push_str(
            "The bundles have no common vocabulary: token ids and logits are not compared\n",
        );
    }
    if let Some(logits) = record.logits {
        let _ = writeln!(
            out,
            "Logits apart by: {:.4} on average, {:.4} at most (first step {:.4}, {:.4}); \
             same likeliest token in {:.1}% of {} steps",
            logits.mean,
            logits.max,
            logits.first_step_mean,
            logits.first_step_max,
            100.0 * logits.same_choice,
            logits.steps
        );
    }
    let documents = record.documents;
    let _ = match record.references {
        0 => writeln!(out, "{documents} documents, none with a reference summary"),
        references => writeln!(
            out,
            "{documents} documents, {references} with a reference summary; \
             95% intervals of a paired bootstrap"
        ),
    };
    out
}

/// ROUGE in points from 0 to 100.
fn points(score: f64) -> String {
    format!("{:.2}", 100.0 * score)
}

fn interval(difference: Interval) -> String {
    let Interval { mean, low, high } = difference;
    let [mean, low, high] = [mean, low, high].map(|score| {
        // Adding 0 turns -0 into 0.
        let points = (1e4 * score).round() / 100.0 + 0.0;
        format!("{points:+.2}")
    });
    format!("{mean} ({low} to {high})")
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn milliseconds(value: f64) -> String {
    format!("{value:.1} ms")
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;

    #[test]
    fn columns_stay_in_line() {
        let text = super::table(&record(true, true));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "A: models/fp32 (pegasus of model.tar.gz, fp32)");
        assert_eq!(lines[3], "size               4.0 MB     1.0 MB   25.0%");
        assert_eq!(lines[6], "ROUGE-L             50.00      45.00   -5.00 (-10.00 to +0.00)");
        assert!(text.contains("median            10.0 ms     5.0 ms   0.50 times as long\n"));
        assert!(text.contains("Equal summaries: 50.0%; tokens before the first that differs: 2.0"));
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let text = super::table(&record(false, false));
        assert!(!text.contains("ROUGE") && !text.contains("Logits"), "{text}");
        assert!(text.contains("no common vocabulary"), "{text}");
        assert!(text.ends_with("2 documents, none with a reference summary\n"));
    }
}
