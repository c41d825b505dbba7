//! `report.html`: one file without scripts or links to other files, for phones and printing.

use std::fmt::Write;

use super::elements::{panels, sentence, shell, sides};
use super::figures::{MEASURES, by_beams, tradeoff};
use super::regression;
use super::table::{beam_cells, sentences};
use crate::plot::{escape, render};
use crate::regression::Regression;
use crate::results::{Example, Point, Results};

/// The page of a sweep, and of its comparison with an old model.
pub(super) fn page(results: &Results, regression: Option<&Regression>) -> String {
    let title = match regression {
        None => format!("{}: latency against length_penalty", results.model.name),
        Some(regression) => {
            format!("{} against {}", results.model.name, regression.old.model.name)
        }
    };
    shell(&title, |out| {
        if let Some(regression) = regression {
            regression::part(out, regression, results);
        }
        for text in sentences(results) {
            let class = match results.warning().as_ref() == Some(&text) {
                true => "warn",
                false => "verdict",
            };
            // A comparison has its own warnings.
            if class == "verdict" || regression.is_none() {
                sentence(out, class, &text);
            }
        }
        origin(out, results);
        for measure in &MEASURES {
            if let Some(figure) = by_beams(results, measure) {
                let _ = writeln!(
                    out,
                    "<h2>{}</h2>\n<p class=\"note\">{}</p>\n{}",
                    measure.title,
                    caption(measure.title),
                    panels(figure)
                );
            }
        }
        if let Some(figure) = tradeoff(results) {
            let _ = writeln!(
                out,
                "<h2>Quality against latency</h2>\n<p class=\"note\">No other setting is both \
                 faster and better than one on the Pareto front. Numbers are rows of the table \
                 below.</p>\n<div class=\"wide\">{}</div>",
                render(&figure)
            );
        }
        settings(out, results);
        if regression.is_none() {
            examples(out, &results.examples);
        }
    })
}

fn caption(title: &str) -> &'static str {
    match title {
        "Latency" => "The median, and the band that holds eight of ten summaries.",
        "ROUGE-L" => "The mean over documents with a reference summary.",
        _ => "The mean, and the band that holds eight of ten summaries.",
    }
}

fn origin(out: &mut String, results: &Results) {
    let (model, data) = (&results.model, &results.data);
    let mut sentences = vec![
        format!(
            "{} ({}, {} + {} layers of {}, vocabulary {}, {}) on {} of {}, \
             {} of them with a reference summary.",
            model.name,
            model.architecture,
            model.layers[0],
            model.layers[1],
            model.hidden_size,
            model.vocab_size,
            model.precision,
            count(data.documents, "document"),
            data.name,
            data.references
        ),
        format!(
            "{} of {} ({}, {}); epitome {}, ONNX Runtime {}.",
            count(model.threads, "thread"),
            results.machine.cpu,
            results.machine.os,
            results.machine.arch,
            results.versions.epitome,
            results.versions.onnxruntime.as_deref().unwrap_or("unknown")
        ),
    ];
    sentences.extend(results.load_ms.map(|load| format!("Loaded in {load:.0} ms.")));
    sentences.extend(
        results.memory_bytes.map(|bytes| format!("Peak memory {:.0} MB.", bytes as f64 / 1e6)),
    );
    if data.truncated > 0 {
        sentences.push(format!(
            "{} longer than the model reads, and cut.",
            count(data.truncated, "document")
        ));
    }
    if data.empty_rows > 0 {
        sentences.push(format!("{} without a text, skipped.", count(data.empty_rows, "row")));
    }
    if results.interrupted {
        sentences.push("The sweep was ended early: these are the results until then.".into());
    }
    let _ = writeln!(out, "<p class=\"note\">{}</p>", escape(&sentences.join(" ")));
    let origin = &results.origin;
    if !origin.command.is_empty() {
        let commit = origin.commit.as_deref().map(|commit| format!(", commit {commit}"));
        let _ = writeln!(
            out,
            "<p class=\"note\">{}{}:<br><code>{}</code></p>",
            escape(&origin.date),
            escape(&commit.unwrap_or_default()),
            escape(&origin.command)
        );
    }
}

/// A number with a noun.
pub(super) fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn settings(out: &mut String, results: &Results) {
    let quality = results.points.iter().any(|point| point.rouge.is_some());
    out.push_str(
        "<h2>Every setting</h2>\n<div class=\"wide\"><table><thead><tr><th></th><th>row</th>\
         <th>num_beams</th><th>early_stopping</th><th>length_penalty</th>\
         <th>p10 ms</th><th>p50 ms</th><th>p90 ms</th>\
         <th>steps</th><th>tokens</th><th>tokens/s</th>",
    );
    if quality {
        out.push_str("<th>ROUGE-1</th><th>ROUGE-2</th><th>ROUGE-L</th><th>95% interval</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for (index, point) in results.points.iter().enumerate() {
        row(out, index + 1, point);
    }
    out.push_str("</tbody></table></div>\n");
    if quality {
        out.push_str(
            "<p class=\"note\">\u{2605} on the Pareto front; \u{25b6} picked for the budget. The \
             interval is of ROUGE-L, by a bootstrap over the documents.</p>\n",
        );
    }
}

fn row(out: &mut String, number: usize, point: &Point) {
    let (stopping, penalty) = beam_cells(point);
    let mark = match (point.picked, point.pareto) {
        (true, _) => "\u{25b6}",
        (false, true) => "\u{2605}",
        (false, false) => "",
    };
    let class = if point.picked { " class=\"picked\"" } else { "" };
    let _ = write!(
        out,
        "<tr{class}><td class=\"mark\">{mark}</td><td>{number}</td><td>{}</td>\
         <td>{stopping}</td><td>{penalty}</td>\
         <td>{:.1}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td><td>{:.0}</td>",
        point.setting.num_beams,
        point.latency_ms.p10,
        point.latency_ms.p50,
        point.latency_ms.p90,
        point.steps.mean,
        point.tokens.mean,
        point.tokens_per_second,
    );
    if let Some(rouge) = point.rouge {
        for value in [rouge.rouge1, rouge.rouge2, rouge.rouge_l] {
            let _ = write!(out, "<td>{:.2}</td>", 100.0 * value);
        }
    }
    if let Some([low, high]) = point.rouge_l_interval {
        let _ = write!(out, "<td>{:.1} to {:.1}</td>", 100.0 * low, 100.0 * high);
    }
    out.push_str("</tr>\n");
}

fn examples(out: &mut String, examples: &[Example]) {
    let Some(first) = examples.first() else { return };
    let _ = writeln!(
        out,
        "<h2>Some summaries</h2>\n<p class=\"note\">At {}.</p>",
        escape(&first.setting.to_string())
    );
    for example in examples {
        sides(out, example, &[("summary", &example.summary)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn the_page_needs_no_other_file() {
        let mut results = results(true).within(25.0);
        results.model.name = "<model & co>".into();
        results.interrupted = true;
        results.origin.command = "epitome bench --model '<new>'".into();
        results.examples = vec![Example {
            row: 7,
            setting: results.points[0].setting,
            text: "a long <text>".into(),
            reference: Some("a reference".into()),
            summary: "a summary".into(),
        }];
        let page = page(&results, None);
        for foreign in ["<script", "<link", "src=", "url(", "@import"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.contains("&lt;model &amp; co&gt;") && !page.contains("<model"));
        assert!(page.contains("ended early") && page.contains("For 25 ms: num_beams 2"));
        assert!(page.contains("<code>epitome bench --model '&lt;new&gt;'</code>"));
        assert!(page.contains("class=\"warn\">Only 2 of the documents"));
        assert!(page.contains("Row 7: a long &lt;text&gt;") && page.contains("a summary"));
        // Latency, steps, length and ROUGE at two numbers of beams, and quality against latency.
        assert_eq!(page.matches("<svg").count(), 9);
        assert_eq!(page.matches("<tr").count(), 4);
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn without_references_there_is_no_quality() {
        let page = page(&results(false), None);
        assert_eq!(page.matches("<svg").count(), 6);
        assert!(!page.contains("ROUGE-1"));
    }
}
