//! Results over time on one page.

use std::fmt::Write;

use super::elements::{panels, shell};
use super::html::count;
use crate::plot::{Figure, Panel, Series, escape};
use crate::results::{Point, Results};
use crate::settings::Setting;

/// Largest number of settings that are drawn: the number of styles.
const DRAWN: usize = 6;
/// Number of dates on an axis.
const DATES: usize = 5;

/// The page of results, the oldest first.
pub(crate) fn history(all: &[Results]) -> String {
    let title = match all.last() {
        Some(last) => format!("{} over time", last.model.name),
        None => "Results over time".into(),
    };
    shell(&title, |out| {
        let counted = count(all.len(), "run");
        let _ = writeln!(out, "<p class=\"note\">{counted}, oldest first.</p>");
        out.push_str(&panels(figure(all)));
        runs(out, all);
    })
}

fn figure(all: &[Results]) -> Figure {
    let settings = drawn(all);
    let by_setting = |value: fn(&Point) -> Option<f64>| -> Vec<Series> {
        let series = |(style, setting): (usize, &Setting)| {
            let point = |results: &Results| {
                let point = results.points.iter().find(|point| point.setting == *setting)?;
                value(point)
            };
            line(all, setting.to_string(), style, point)
        };
        settings.iter().enumerate().map(series).collect()
    };
    let panels = [
        ("Latency", "milliseconds, median", by_setting(|point| Some(point.latency_ms.p50))),
        ("Slow summaries", "milliseconds, 9 of 10 within", {
            by_setting(|point| Some(point.latency_ms.p90))
        }),
        ("Summary length", "tokens", by_setting(|point| Some(point.tokens.mean))),
        ("ROUGE-L", "ROUGE-L", by_setting(|point| Some(100.0 * point.rouge?.rouge_l))),
        ("Peak memory", "megabytes", {
            let bytes = |results: &Results| Some(results.memory_bytes? as f64 / 1e6);
            vec![line(all, String::new(), 4, bytes)]
        }),
        ("Load time", "milliseconds", {
            vec![line(all, String::new(), 4, |results| results.load_ms)]
        }),
    ];
    let step = all.len().div_ceil(DATES).max(1);
    let dates = all.iter().enumerate().step_by(step);
    let x_ticks: Vec<(f64, String)> =
        dates.map(|(run, results)| ((run + 1) as f64, day(results).to_owned())).collect();
    let panel = |(title, label, series): (&str, &str, Vec<Series>)| Panel {
        title: title.into(),
        y_label: label.into(),
        y_from_zero: title != "ROUGE-L",
        x_ticks: x_ticks.clone(),
        series: series.into_iter().filter(|series| !series.points.is_empty()).collect(),
        ..Default::default()
    };
    let panels = panels.into_iter().map(panel).filter(|panel| !panel.series.is_empty());
    Figure {
        description: "Results over time".into(),
        panels: panels.collect(),
        panel_width: 380.0,
        panel_height: 210.0,
    }
}

fn line(
    all: &[Results],
    name: String,
    style: usize,
    value: impl Fn(&Results) -> Option<f64>,
) -> Series {
    let at = |(run, results): (usize, &Results)| Some(((run + 1) as f64, value(results)?));
    let points = all.iter().enumerate().filter_map(at).collect();
    Series { name, style, line: true, markers: true, points, ..Default::default() }
}

/// The most informative settings of the last run: the picked one, the Pareto front, then the
/// others.
fn drawn(all: &[Results]) -> Vec<Setting> {
    let mut points: Vec<&Point> =
        all.last().map_or(&[][..], |last| &last.points[..]).iter().collect();
    points.sort_by_key(|point| (!point.picked, !point.pareto));
    points.into_iter().take(DRAWN).map(|point| point.setting).collect()
}

fn day(results: &Results) -> &str {
    results.origin.date.split('T').next().unwrap_or_default()
}

fn runs(out: &mut String, all: &[Results]) {
    out.push_str(
        "<h2>Runs</h2>\n<div class=\"wide\"><table><thead><tr><th class=\"text\">date</th>\
         <th class=\"text\">commit</th><th class=\"text\">model</th><th class=\"text\">bundle</th>\
         <th class=\"text\">documents</th><th class=\"text\">machine</th>\
         <th class=\"text\">versions</th></tr></thead><tbody>\n",
    );
    for results in all {
        let short = |digest: &str| -> String {
            digest.trim_start_matches("sha256:").chars().take(8).collect()
        };
        let cells = [
            results.origin.date.clone(),
            short(results.origin.commit.as_deref().unwrap_or("-")),
            results.model.name.clone(),
            format!("{} {}", results.model.precision, short(&results.model.digest)),
            format!("{} of {}", results.data.documents, short(&results.data.digest)),
            format!("{}, {} threads", results.machine.cpu, results.model.threads),
            format!(
                "epitome {}, ONNX Runtime {}",
                results.versions.epitome,
                results.versions.onnxruntime.as_deref().unwrap_or("unknown")
            ),
        ];
        out.push_str("<tr>");
        for cell in cells {
            let _ = write!(out, "<td class=\"text\">{}</td>", escape(&cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str(
        "</tbody></table></div>\n<p class=\"note\">Times of different hours and machines differ \
         for reasons that are not the model's.</p>\n",
    );
}
