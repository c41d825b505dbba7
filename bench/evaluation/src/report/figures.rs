//! The figures of a sweep.

use crate::plot::{Figure, Panel, Series};
use crate::results::{Point, Results};
use crate::settings::Stopping;
use crate::statistics::Spread;

const PENALTY: &str = "length_penalty";
/// Style of greedy search. Stopping rules and beams have the styles before it.
const GREEDY: usize = 4;
/// Style of the setting that was picked for the budget: a ring around its point.
const RING: usize = 5;
/// Largest number of points that are numbered.
const MAX_NUMBERED: usize = 24;

/// A figure of merit to plot against `length_penalty`.
pub(super) struct Measure {
    /// Heading.
    pub(super) title: &'static str,
    /// Label of the vertical axis.
    pub(super) label: &'static str,
    /// The value of a point.
    pub(super) value: fn(&Point) -> Option<f64>,
    /// The 10th and 90th percentile, drawn as a band.
    pub(super) band: fn(&Point) -> Option<(f64, f64)>,
}

/// All measures.
pub(super) const MEASURES: [Measure; 4] = [
    Measure {
        title: "Latency",
        label: "milliseconds a summary",
        value: |point| Some(point.latency_ms.p50),
        band: |point| Some(outer(&point.latency_ms)),
    },
    Measure {
        title: "Decoder steps",
        label: "steps",
        value: |point| Some(point.steps.mean),
        band: |point| Some(outer(&point.steps)),
    },
    Measure {
        title: "Summary length",
        label: "tokens",
        value: |point| Some(point.tokens.mean),
        band: |point| Some(outer(&point.tokens)),
    },
    Measure {
        title: "ROUGE-L",
        label: "ROUGE-L",
        value: |point| Some(100.0 * point.rouge?.rouge_l),
        band: |_| None,
    },
];

fn outer(spread: &Spread) -> (f64, f64) {
    (spread.p10, spread.p90)
}

/// A figure with a panel for each number of beams, and a line for each stopping rule. Greedy search
/// is a level line in each panel. None if no point has the measure.
pub(super) fn by_beams(results: &Results, measure: &Measure) -> Option<Figure> {
    let known = |point: &&Point| (measure.value)(point).is_some();
    let points: Vec<&Point> = results.points.iter().filter(known).collect();
    let mut beams: Vec<usize> = points.iter().map(|point| point.setting.num_beams).collect();
    beams.retain(|&beams| beams > 1);
    beams.dedup();
    let panel = |&num_beams: &usize| Panel {
        title: format!("num_beams {num_beams}"),
        x_label: PENALTY.into(),
        y_label: measure.label.into(),
        y_from_zero: measure.title != "ROUGE-L",
        series: series(&points, num_beams, measure, true),
        ..Default::default()
    };
    let mut panels: Vec<Panel> = beams.iter().map(panel).collect();
    share_range(&mut panels);
    (!panels.is_empty()).then(|| Figure {
        description: format!("{} against {PENALTY}", measure.title),
        panels,
        panel_width: 260.0,
        panel_height: 210.0,
    })
}

/// Latency, length and quality against `length_penalty`, side by side, for one number of beams.
pub fn overview(results: &Results, num_beams: usize) -> Figure {
    let points: Vec<&Point> = results.points.iter().collect();
    let panel = |measure: &Measure| Panel {
        title: format!("{} at num_beams {num_beams}", measure.title),
        x_label: PENALTY.into(),
        y_label: measure.label.into(),
        y_from_zero: measure.title != "ROUGE-L",
        series: series(&points, num_beams, measure, measure.title == "Latency"),
        ..Default::default()
    };
    let panels = MEASURES.iter().filter(|measure| measure.title != "Decoder steps").map(panel);
    Figure {
        description: format!(
            "Latency, summary length and ROUGE-L of {} against {PENALTY} at {num_beams} beams",
            results.model.name
        ),
        panels: panels.filter(|panel| !panel.series.is_empty()).collect(),
        panel_width: 250.0,
        panel_height: 200.0,
    }
}

fn series(points: &[&Point], num_beams: usize, measure: &Measure, bands: bool) -> Vec<Series> {
    let mut all = Vec::new();
    for (style, rule) in Stopping::ALL.into_iter().enumerate() {
        let mut own: Vec<(f64, &Point)> = points
            .iter()
            .filter(|point| point.setting.num_beams == num_beams)
            .filter_map(|&point| {
                let beam = point.setting.beam.filter(|beam| beam.early_stopping == rule)?;
                Some((beam.length_penalty, point))
            })
            .filter(|(_, point)| (measure.value)(point).is_some())
            .collect();
        own.sort_by(|a, b| a.0.total_cmp(&b.0));
        if own.is_empty() {
            continue;
        }
        let band = own.iter().filter_map(|(_, point)| (measure.band)(point));
        all.push(Series {
            name: format!("early_stopping {rule}"),
            style,
            line: true,
            markers: true,
            points: own
                .iter()
                .filter_map(|(penalty, point)| Some((*penalty, (measure.value)(point)?)))
                .collect(),
            band: if bands { band.collect() } else { Vec::new() },
            labels: Vec::new(),
        });
    }
    let greedy = points.iter().find(|point| point.setting.beam.is_none());
    if let Some(value) = greedy.and_then(|point| (measure.value)(point)) {
        let ends = all.iter().flat_map(|series| &series.points).map(|point| point.0);
        let (low, high) = ends
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        if low <= high {
            all.push(Series {
                name: "greedy search".into(),
                style: GREEDY,
                line: true,
                points: vec![(low, value), (high, value)],
                ..Default::default()
            });
        }
    }
    all
}

/// Gives all panels one vertical range that holds all their data.
fn share_range(panels: &mut [Panel]) {
    let Some(from_zero) = panels.first().map(|panel| panel.y_from_zero) else {
        return;
    };
    let values: Vec<f64> = panels
        .iter()
        .flat_map(|panel| &panel.series)
        .flat_map(|series| {
            let points = series.points.iter().map(|point| point.1);
            points.chain(series.band.iter().flat_map(|band| [band.0, band.1]))
        })
        .collect();
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &y| (low.min(y), high.max(y)));
    if low > high {
        return;
    }
    let air = if high > low { 0.06 * (high - low) } else { 1.0 };
    let low = match low {
        0.0.. if from_zero => 0.0,
        // The axis of positive values does not go below zero.
        0.0.. => (low - air).max(0.0),
        _ => low - air,
    };
    for panel in panels {
        panel.y_range = Some((low, high + air));
    }
}

/// Quality against latency: every setting, the Pareto front, the budget and the picked setting.
/// `None` without references.
pub(super) fn tradeoff(results: &Results) -> Option<Figure> {
    let place = |point: &Point| Some((point.latency_ms.p90, 100.0 * point.rouge?.rouge_l));
    let mut series: Vec<Series> = Vec::new();
    // Numbers of many points would overlap.
    let all = results.points.len() <= MAX_NUMBERED;
    for (row, point) in results.points.iter().enumerate() {
        let Some(at) = place(point) else { continue };
        let number = (point.pareto || all).then(|| (row + 1).to_string());
        let name = format!("num_beams {}", point.setting.num_beams);
        if let Some(known) = series.iter_mut().find(|series| series.name == name) {
            known.labels.extend(number.map(|number| (known.points.len(), number)));
            known.points.push(at);
            continue;
        }
        // Only the picked setting has the ring.
        let style = series.len() % RING;
        let labels = number.map(|number| (0, number)).into_iter().collect();
        let points = vec![at];
        series.push(Series { name, style, markers: true, points, labels, ..Default::default() });
    }
    if series.is_empty() {
        return None;
    }
    let mut front: Vec<&Point> = results.points.iter().filter(|point| point.pareto).collect();
    front.sort_by(|a, b| a.latency_ms.p90.total_cmp(&b.latency_ms.p90));
    let points: Vec<(f64, f64)> = front.iter().filter_map(|point| place(point)).collect();
    // The front is drawn as stairs: between two settings, the faster one is the best within its
    // latency.
    let mut stairs: Vec<(f64, f64)> = Vec::new();
    for &(x, y) in &points {
        stairs.extend(stairs.last().map(|last| (x, last.1)));
        stairs.push((x, y));
    }
    series.push(Series {
        name: "Pareto front".into(),
        style: GREEDY,
        line: true,
        points: stairs,
        ..Default::default()
    });
    if let Some(at) = results.picked().and_then(place) {
        series.push(Series {
            name: "picked for the budget".into(),
            style: RING,
            markers: true,
            points: vec![at],
            ..Default::default()
        });
    }
    let panel = Panel {
        title: "Quality against latency".into(),
        x_label: "milliseconds within which 9 of 10 summaries are made".into(),
        y_label: "ROUGE-L".into(),
        limit: results.budget_ms.map(|budget| (budget, format!("budget {budget} ms"))),
        series,
        ..Default::default()
    };
    Some(Figure {
        description: "ROUGE-L of every setting against its latency, with the Pareto front".into(),
        panels: vec![panel],
        panel_width: 560.0,
        panel_height: 300.0,
    })
}

/// The old and the new model at each setting. A setting has the number of its row in the table.
/// Without references there is no quality.
pub(super) fn old_and_new(old: &Results, new: &Results) -> Figure {
    let panel = |title: &str, label: &str, values: &[(&str, usize, Value)]| {
        let series = values.iter().flat_map(|&(name, style, value)| {
            let side = |side: &str, style: usize, place: f64, results: &Results| {
                let at = |(row, point): (usize, &Point)| {
                    let same = results.points.iter().find(|one| one.setting == point.setting)?;
                    Some((row as f64 + 1.0 + place, value(same)?))
                };
                let points = new.points.iter().enumerate().filter_map(at).collect();
                let name = format!("{side}{name}");
                Series { name, style, markers: true, points, ..Default::default() }
            };
            [side("old", style, -0.1, old), side("new", style + 1, 0.1, new)]
        });
        let step = new.points.len().div_ceil(10);
        Panel {
            title: title.into(),
            x_label: "setting: its row in the table".into(),
            y_label: label.into(),
            y_from_zero: title != "ROUGE-L",
            x_ticks: (1..=new.points.len())
                .step_by(step.max(1))
                .map(|row| (row as f64, row.to_string()))
                .collect(),
            series: series.filter(|series| !series.points.is_empty()).collect(),
            ..Default::default()
        }
    };
    let panels = [
        panel(
            "Latency",
            "milliseconds a summary",
            &[
                (", median", 0, |point| Some(point.latency_ms.p50)),
                (", 9 of 10 within", 2, |point| Some(point.latency_ms.p90)),
            ],
        ),
        panel("Summary length", "tokens", &[("", 0, |point| Some(point.tokens.mean))]),
        panel("ROUGE-L", "ROUGE-L", &[("", 0, |point| Some(100.0 * point.rouge?.rouge_l))]),
    ];
    Figure {
        description: "Latency, summary length and ROUGE-L of the old and the new model".into(),
        panels: panels.into_iter().filter(|panel| !panel.series.is_empty()).collect(),
        panel_width: 300.0,
        panel_height: 210.0,
    }
}

type Value = fn(&Point) -> Option<f64>;
