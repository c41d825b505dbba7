//! The part of a report that compares a new model with an old one.

use std::fmt::Write;

use super::elements::{panels, sentence, sides};
use super::figures::old_and_new;
use crate::plot::escape;
use crate::regression::{FigureRecord, Method, Outcome, Regression};
use crate::results::{Example, Results};

/// Writes the verdict, and then its details.
pub(super) fn part(out: &mut String, regression: &Regression, new: &Results) {
    let class = match regression.outcome {
        Outcome::Kept => "verdict",
        Outcome::Worse => "verdict bad",
        Outcome::Unclear => "warn",
    };
    sentence(out, class, &regression.verdict);
    for warning in &regression.warnings {
        // An unclear verdict may quote the warning that caused it.
        if !regression.verdict.contains(warning.as_str()) {
            sentence(out, "warn", warning);
        }
    }
    let _ = writeln!(
        out,
        "<h2>Old and new</h2>\n<p class=\"note\">{}</p>\n{}",
        escape(&method(regression)),
        panels(old_and_new(&regression.old, new))
    );
    figures(out, regression, new);
    examples(out, &regression.old.examples, &new.examples);
}

fn method(regression: &Regression) -> String {
    let different = regression.different.map_or_else(String::new, |share| {
        format!(" {:.0}% of the summaries are another text than before.", 100.0 * share)
    });
    let how = match regression.method {
        Method::Interleaved { rounds, documents, false_alarm_rate } => format!(
            "{rounds} rounds of fresh processes that took turns on {documents} of the documents. A \
             second process of the old model told what chance does. A model that has not changed \
             is called slower in {} of 1,000 runs.",
            1e3 * false_alarm_rate
        ),
        Method::Stored => format!(
            "The old figures are those of {} (epitome {}).",
            regression.old.origin.date, regression.old.versions.epitome
        ),
    };
    how + &different
}

fn figures(out: &mut String, regression: &Regression, new: &Results) {
    out.push_str(
        "<div class=\"wide\"><table><thead><tr><th>row</th><th class=\"text\">figure</th>\
         <th>growth</th><th>told from</th><th class=\"text\">verdict</th></tr></thead><tbody>\n",
    );
    for figure in &regression.figures {
        let row = |setting| new.points.iter().position(|point| point.setting == setting);
        let row =
            figure.setting.and_then(row).map_or_else(String::new, |row| (row + 1).to_string());
        let _ = writeln!(
            out,
            "<tr><td>{row}</td><td class=\"text\">{}</td><td>{:+.1}%</td><td>{}</td>\
             <td class=\"text\">{}</td></tr>",
            escape(&name(figure)),
            // Adding 0 turns -0 into 0.
            (1e3 * figure.growth).round() / 10.0 + 0.0,
            match figure.detectable.is_finite() {
                true => format!("{:.1}%", 100.0 * figure.detectable),
                false => "-".into(),
            },
            match figure.outcome {
                Outcome::Kept => "kept",
                Outcome::Worse => "worse",
                Outcome::Unclear => "cannot be told",
            }
        );
    }
    out.push_str("</tbody></table></div>\n");
    if let Some(quality) = &regression.quality {
        let _ = writeln!(
            out,
            "<p class=\"note\">ROUGE-L over all settings and {} documents: {:.2} before, {:.2} \
             now; 95% interval of the difference {:+.2} to {:+.2}.</p>",
            quality.documents,
            100.0 * quality.old,
            100.0 * quality.new,
            100.0 * quality.interval[0],
            100.0 * quality.interval[1]
        );
    }
}

fn name(figure: &FigureRecord) -> String {
    match figure.setting {
        Some(setting) => format!("{} at {setting}", figure.name),
        None => figure.name.clone(),
    }
}

/// Summaries of the same documents side by side.
fn examples(out: &mut String, old: &[Example], new: &[Example]) {
    let same = |new: &Example| {
        old.iter().find(|old| old.row == new.row && old.setting == new.setting).cloned()
    };
    let pairs: Vec<(Example, &Example)> =
        new.iter().filter_map(|new| Some((same(new)?, new))).collect();
    let Some((first, _)) = pairs.first() else { return };
    let _ = writeln!(
        out,
        "<h2>Some summaries</h2>\n<p class=\"note\">At {}.</p>",
        escape(&first.setting.to_string())
    );
    for (old, new) in &pairs {
        sides(out, new, &[("old", &old.summary), ("new", &new.summary)]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::html::page;
    use super::*;
    use crate::regression::against_results;
    use crate::results::tests::results;

    #[test]
    fn the_verdict_comes_first_and_summaries_side_by_side() {
        let with = |summary: &str, factor: f64| {
            let mut results = results(true);
            for point in &mut results.points {
                point.latency_ms.p50 *= factor;
            }
            let setting = results.points[0].setting;
            let (row, text) = (7, "a text".into());
            let summary = summary.into();
            results.examples = vec![Example { row, setting, text, reference: None, summary }];
            results
        };
        let new = with("new words", 2.0);
        let regression = against_results(with("old words", 1.0), &new, 0.2);
        let page = page(&new, Some(&regression));
        let verdict = page.find("class=\"verdict bad\">Slower: a summary at ").expect("a verdict");
        assert!(verdict < page.find("<h2>").expect("a heading"));
        assert!(page.contains("<b>old</b>old words</div><div><b>new</b>new words"));
        assert!(page.contains("old, median") && page.contains("new, median"));
        assert!(page.contains("<td>1</td><td class=\"text\">time at num_beams 1 (greedy)"));
        assert!(page.contains("<td>+100.0%</td><td>20.0%</td><td class=\"text\">worse"));
        assert_eq!(page.matches("Only 2 of the documents").count(), 1);
        assert!(!page.contains("NaN"));
    }
}
