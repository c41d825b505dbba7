//! Figures of chosen commits over time: one small JSON each in `bench/history/`, and a page that
//! plots them.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::gate::baseline::Baseline;
use crate::machine::{Machine, Versions};
use crate::plot::{Figure, Panel, Series, escape, render};
use crate::report::replace;
use crate::results::Results;

/// The figures of a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// A release or a date; entries are ordered by it, so that it begins with a date or a version.
    pub name: String,
    /// The commit.
    pub commit: String,
    /// What changed, in a sentence.
    #[serde(default)]
    pub note: String,
    /// Where it was measured.
    pub machine: Machine,
    /// With what.
    pub versions: Versions,
    /// What was measured.
    pub figures: Vec<Value>,
}

/// One figure; less is better, but for those whose unit says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// What it is of. Stable, so that entries compare.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The number.
    pub value: f64,
}

impl Entry {
    /// The figures of a baseline and of a sweep, without a name yet.
    pub fn new(baseline: &Baseline, results: &Results) -> Self {
        let mut figures = Vec::new();
        let mut add = |name: String, unit: &str, value: f64| {
            figures.push(Value {
                name,
                unit: unit.into(),
                value,
            });
        };
        for (probe, count) in &baseline.instructions {
            add(
                probe.to_string(),
                "million instructions",
                *count as f64 / 1e6,
            );
        }
        for &probe in baseline.time.keys() {
            if let Some(normal) = baseline.normal(probe) {
                let value = normal.centre.exp();
                add(probe.to_string(), "times the calibration load", value);
            }
        }
        for point in &results.points {
            let name = point.setting.to_string();
            add(name.clone(), "ms a summary (median)", point.latency_ms.p50);
            if let Some(rouge) = point.rouge {
                add(name, "ROUGE-L", 100.0 * rouge.rouge_l);
            }
        }
        Self {
            name: String::new(),
            commit: String::new(),
            note: String::new(),
            machine: Machine::this(),
            versions: Versions::current(),
            figures,
        }
    }

    /// Writes it as `<name>.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let mut text = serde_json::to_vec_pretty(self).expect("plain values become JSON");
        text.push(b'\n');
        replace(&folder.join(format!("{}.json", self.name)), &text)
    }
}

/// Every entry of a folder, by name.
///
/// # Errors
///
/// [`Error::Io`], or [`Error::Data`] naming a file that is no entry.
pub fn read(folder: &Path) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for file in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = file.map_err(Error::io(folder))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read(&path).map_err(Error::io(&path))?;
        let entry = serde_json::from_slice(&text)
            .map_err(|error| Error::data(&path, format!("is no entry of a history: {error}")))?;
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(Error::data(
            folder,
            "holds no entry: make one with `record`",
        ));
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Series that share a panel at most; more could not be told apart.
const TOGETHER: usize = 4;

/// The page: every figure over the entries, and what each entry was measured on.
pub fn page(entries: &[Entry]) -> String {
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>epitome: history</title>\
         <style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:1040px;margin:2em auto;padding:0 1em}\
         svg{max-width:100%;height:auto}td,th{text-align:left;padding:.2em .8em;vertical-align:top}\
         table{border-collapse:collapse}td,th{border-bottom:1px solid #8888}</style></head><body>\n<h1>epitome: history</h1>\n",
    );
    let mut units: Vec<&str> = Vec::new();
    for value in entries.iter().flat_map(|entry| &entry.figures) {
        if !units.contains(&value.unit.as_str()) {
            units.push(&value.unit);
        }
    }
    for unit in units {
        let _ = writeln!(out, "<h2>{}</h2>", escape(unit));
        for chunk in names(entries, unit).chunks(TOGETHER) {
            let _ = writeln!(out, "{}", render(&figure(entries, unit, chunk)));
        }
    }
    out.push_str("<h2>Entries</h2>\n<table><tr><th>#</th><th>name</th><th>commit</th><th>machine</th><th>ONNX Runtime</th><th>note</th></tr>\n");
    for (index, entry) in entries.iter().enumerate() {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{} ({} threads)</td><td>{}</td><td>{}</td></tr>",
            index + 1,
            escape(&entry.name),
            escape(entry.commit.get(..10).unwrap_or(&entry.commit)),
            escape(&entry.machine.cpu),
            entry.machine.threads,
            escape(entry.versions.onnxruntime.as_deref().unwrap_or("")),
            escape(&entry.note)
        );
    }
    out.push_str("</table></body></html>\n");
    out
}

fn names<'a>(entries: &'a [Entry], unit: &str) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for value in entries.iter().flat_map(|entry| &entry.figures) {
        if value.unit == unit && !names.contains(&value.name.as_str()) {
            names.push(&value.name);
        }
    }
    names
}

fn figure(entries: &[Entry], unit: &str, names: &[&str]) -> Figure {
    let series = names.iter().enumerate().map(|(style, name)| Series {
        name: (*name).to_owned(),
        style,
        line: true,
        markers: true,
        points: entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| {
                let value = entry
                    .figures
                    .iter()
                    .find(|v| v.unit == unit && v.name == *name)?;
                Some((index as f64 + 1.0, value.value))
            })
            .collect(),
        ..Default::default()
    });
    Figure {
        description: format!("{unit}: {}", names.join("; ")),
        panels: vec![Panel {
            x_label: "entry".into(),
            y_label: unit.into(),
            y_from_zero: unit != "ROUGE-L",
            series: series.collect(),
            ..Default::default()
        }],
        panel_width: 900.0,
        panel_height: 180.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, value: f64) -> Entry {
        let figure = |name: &str, unit: &str| Value {
            name: name.into(),
            unit: unit.into(),
            value,
        };
        Entry {
            name: name.into(),
            commit: "0123456789abcdef".into(),
            note: "a <note>".into(),
            machine: Machine::default(),
            versions: Versions::default(),
            figures: vec![
                figure("search-loop", "ms"),
                figure("encoder", "ms"),
                figure("x", "ROUGE-L"),
            ],
        }
    }

    #[test]
    fn entries_are_read_in_order_and_plotted() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, value) in [("0.2.0", 2.0), ("0.1.0", 1.0)] {
            entry(name, value).write(folder.path()).expect("written");
        }
        fs::write(folder.path().join("README.md"), "x").expect("written");
        let entries = read(folder.path()).expect("read");
        assert_eq!(
            entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(),
            ["0.1.0", "0.2.0"]
        );
        let page = page(&entries);
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(page.contains("a &lt;note&gt;") && page.contains("<td>0123456789</td>"));
        fs::write(folder.path().join("bad.json"), "{}").expect("written");
        assert!(
            read(folder.path())
                .expect_err("refused")
                .to_string()
                .contains("bad.json")
        );
    }
}
