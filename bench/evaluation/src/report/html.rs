//! `report.html`: one file without scripts or links to other files, which can be printed.

use std::fmt::Write;

use super::figures::{MEASURES, by_beams, tradeoff};
use super::table::beam_cells;
use crate::plot::{escape, render};
use crate::results::{Point, Results};

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;max-width:1040px;\
margin:2em auto;padding:0 1em;color:#1f2328;background:#fff}\
h1{font-size:1.6em;margin-bottom:.2em}h2{font-size:1.2em;margin-top:2em}\
.note{color:#59636e}.verdict{border-left:4px solid #0072b2;padding:.4em .8em;margin:1em 0}\
.wide{overflow-x:auto}svg{max-width:100%;height:auto}\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\
th,td{padding:.15em .55em;text-align:right;border-bottom:1px solid #d1d9e0}\
th{text-align:right;vertical-align:bottom}\
tr.picked{font-weight:600}td.mark{text-align:center}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}\
.note{color:#9198a1}th,td{border-color:#3d444d}}\
@media print{body{color:#000;background:#fff;max-width:none;margin:0}\
h2,svg,figure{break-inside:avoid}.wide{overflow:visible}table{font-size:10px}}";

/// The page.
pub(super) fn page(results: &Results) -> String {
    let title = format!("{}: latency against length_penalty", results.model.name);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{0}</title><style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        escape(&title)
    );
    origin(&mut out, results);
    if let Some(verdict) = results.verdict() {
        let _ = writeln!(out, "<p class=\"verdict\">{}.</p>", escape(&verdict));
    }
    for measure in &MEASURES {
        if let Some(figure) = by_beams(results, measure) {
            let _ = writeln!(
                out,
                "<h2>{}</h2>\n<p class=\"note\">{}</p>\n<div class=\"wide\">{}</div>",
                measure.title,
                caption(measure.title),
                render(&figure)
            );
        }
    }
    if let Some(figure) = tradeoff(results) {
        let _ = writeln!(
            out,
            "<h2>Quality against latency</h2>\n<p class=\"note\">No other setting is both \
             faster and better than one on the Pareto front.</p>\n<div class=\"wide\">{}</div>",
            render(&figure)
        );
    }
    settings(&mut out, results);
    out.push_str("</body></html>\n");
    out
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
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn settings(out: &mut String, results: &Results) {
    let quality = results.points.iter().any(|point| point.rouge.is_some());
    out.push_str(
        "<h2>Every setting</h2>\n<div class=\"wide\"><table><thead><tr><th></th><th>num_beams</th>\
         <th>early_stopping</th><th>length_penalty</th>\
         <th>p10 ms</th><th>p50 ms</th><th>p90 ms</th>\
         <th>steps</th><th>tokens</th><th>tokens/s</th>",
    );
    if quality {
        out.push_str("<th>ROUGE-1</th><th>ROUGE-2</th><th>ROUGE-L</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    results.points.iter().for_each(|point| row(out, point));
    out.push_str("</tbody></table></div>\n");
    if quality {
        out.push_str(
            "<p class=\"note\">\u{2605} on the Pareto front; \u{25b6} picked for the budget.</p>\n",
        );
    }
}

fn row(out: &mut String, point: &Point) {
    let (stopping, penalty) = beam_cells(point);
    let mark = match (point.picked, point.pareto) {
        (true, _) => "\u{25b6}",
        (false, true) => "\u{2605}",
        (false, false) => "",
    };
    let class = if point.picked { " class=\"picked\"" } else { "" };
    let _ = write!(
        out,
        "<tr{class}><td class=\"mark\">{mark}</td><td>{}</td><td>{stopping}</td><td>{penalty}</td>\
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
    out.push_str("</tr>\n");
}

#[cfg(test)]
mod tests {
    use crate::results::tests::results;

    #[test]
    fn the_page_needs_no_other_file() {
        let mut results = results(true).within(25.0);
        results.model.name = "<model & co>".into();
        results.interrupted = true;
        let page = super::page(&results);
        for foreign in ["<script", "<link", "src=", "url(", "@import"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.contains("&lt;model &amp; co&gt;") && !page.contains("<model"));
        assert!(page.contains("ended early") && page.contains("For 25 ms: num_beams 2"));
        // Latency, steps, length, ROUGE, and quality against latency.
        assert_eq!(page.matches("<svg").count(), 5);
        assert_eq!(page.matches("<tr").count(), 4);
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn without_references_there_is_no_quality() {
        let page = super::page(&results(false));
        assert_eq!(page.matches("<svg").count(), 3);
        assert!(!page.contains("ROUGE-1"));
    }
}
