//! The files of a report. Each is written to a temporary file and renamed, so it is never
//! incomplete.

use std::fs;
use std::path::{Path, PathBuf};

use epitome_runtime::atomic_file;
use serde::Serialize;

use super::html::page;
use super::table::beam_cells;
use crate::error::{Error, Result};
use crate::regression::Regression;
use crate::results::Results;
use crate::settings::Setting;
use crate::sweep::{Sample, Samples};

/// Writes `report.html`, `results.json`, `settings.csv` (a line for each setting), `samples.csv` (a
/// line for each summary) and, if there is a comparison with an old model, `regression.json` into a
/// folder, which is made if it is missing. Returns their paths.
///
/// # Errors
///
/// [`Error::Io`], naming the file.
pub fn write(
    folder: &Path,
    results: &Results,
    settings: &[Setting],
    samples: &Samples,
    regression: Option<&Regression>,
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut files = vec![
        ("report.html", page(results, regression).into_bytes()),
        ("results.json", json(results)),
        ("settings.csv", settings_csv(results)),
        ("samples.csv", samples_csv(settings, samples)),
    ];
    files.extend(regression.map(|regression| ("regression.json", json(regression))));
    let put = |(name, bytes): (&str, Vec<u8>)| {
        let path = folder.join(name);
        replace(&path, &bytes)?;
        Ok(path)
    };
    files.into_iter().map(put).collect()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(value).expect("plain values become JSON");
    json.push(b'\n');
    json
}

/// Writes a file through a temporary file that is renamed.
///
/// # Errors
///
/// [`Error::Io`], naming the file.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic_file::replace(path, bytes).map_err(Error::io(path))
}

fn settings_csv(results: &Results) -> Vec<u8> {
    let header = "setting,num_beams,early_stopping,length_penalty,samples,\
                  p10_ms,p50_ms,p90_ms,mean_ms,encode_ms,decode_ms,\
                  steps,tokens,characters,tokens_per_second,\
                  rouge1,rouge2,rougeL,rougeL_low,rougeL_high,pareto,picked";
    let rows = results.points.iter().enumerate().map(|(index, point)| {
        let (stopping, penalty) = beam_cells(point);
        let latency = &point.latency_ms;
        let numbers = [
            latency.p10,
            latency.p50,
            latency.p90,
            latency.mean,
            point.encode_ms,
            point.decode_ms,
            point.steps.mean,
            point.tokens.mean,
            point.characters,
            point.tokens_per_second,
        ];
        let mut row = vec![
            (index + 1).to_string(),
            point.setting.num_beams.to_string(),
            stopping,
            penalty,
            point.samples.to_string(),
        ];
        row.extend(numbers.map(|number| format!("{number:.4}")));
        row.extend(rouge_cells(point.rouge));
        let interval = point.rouge_l_interval.map(|ends| ends.map(|end| format!("{end:.6}")));
        row.extend(interval.unwrap_or_default());
        row.extend([point.pareto.to_string(), point.picked.to_string()]);
        row
    });
    csv(header, rows)
}

fn samples_csv(settings: &[Setting], samples: &Samples) -> Vec<u8> {
    let header = "row,num_beams,early_stopping,length_penalty,\
                  tokenize_ms,encode_ms,decode_ms,total_ms,input_tokens,truncated,\
                  steps,tokens,characters,rouge1,rouge2,rougeL,summary";
    let rows = samples.list.iter().map(|sample: &Sample| {
        let setting = settings[sample.setting];
        let (stopping, penalty) = setting.beam.map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |beam| (beam.early_stopping.to_string(), beam.length_penalty.to_string()),
        );
        let time = &sample.milliseconds;
        let mut row =
            vec![sample.row.to_string(), setting.num_beams.to_string(), stopping, penalty];
        row.extend(
            [time.tokenize, time.encode, time.decode, time.total()].map(|ms| format!("{ms:.4}")),
        );
        row.push(sample.input_tokens.to_string());
        row.push(sample.truncated.to_string());
        let characters = sample.summary.chars().count();
        row.extend([sample.steps, sample.tokens, characters].map(|count| count.to_string()));
        row.extend(rouge_cells(sample.rouge));
        row.push(sample.summary.clone());
        row
    });
    csv(header, rows)
}

fn rouge_cells(rouge: Option<crate::rouge::Rouge>) -> [String; 3] {
    match rouge {
        None => Default::default(),
        Some(rouge) => {
            [rouge.rouge1, rouge.rouge2, rouge.rouge_l].map(|score| format!("{score:.6}"))
        }
    }
}

fn csv(header: &str, rows: impl Iterator<Item = Vec<String>>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = header.split(',').map(str::to_owned).collect();
    for row in std::iter::once(header).chain(rows) {
        writer.write_record(row).expect("as many cells as columns");
    }
    writer.into_inner().expect("memory takes all")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;
    use crate::settings::Stopping;
    use crate::sweep::Milliseconds;

    fn samples() -> Samples {
        let sample = Sample {
            row: 3,
            setting: 1,
            milliseconds: Milliseconds { tokenize: 0.5, encode: 1.0, decode: 2.0 },
            input_tokens: 9,
            truncated: false,
            steps: 8,
            tokens: 7,
            summary: "a \"summary\", quoted".into(),
            rouge: None,
        };
        Samples { list: vec![sample], interrupted: false }
    }

    #[test]
    fn a_second_report_replaces_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("deep/report");
        let settings = [1, 4].map(|beams| Setting::new(beams, 0.5, Stopping::Never));
        for references in [false, true] {
            let paths =
                write(&output, &results(references), &settings, &samples(), None).expect("written");
            assert_eq!(paths.len(), 4);
        }
        let read = |name: &str| fs::read_to_string(output.join(name)).expect(name);
        let json: Results = serde_json::from_str(&read("results.json")).expect("results");
        assert_eq!(json, results(true));
        assert_eq!(read("settings.csv").lines().count(), 4);
        let samples = read("samples.csv");
        assert!(
            samples.contains(
                "\n3,4,never,0.5,0.5000,1.0000,2.0000,3.5000,9,false,8,7,19,,,,\
                 \"a \"\"summary\"\", quoted\"\n"
            ),
            "{samples}"
        );
        for line in samples.lines().chain(read("settings.csv").lines()) {
            assert!(line.split(',').count() >= 16, "{line}");
        }
        // No temporary file remains.
        assert_eq!(fs::read_dir(&output).expect("listed").count(), 4);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let error =
            write(&file, &results(true), &[], &Samples::default(), None).expect_err("refused");
        assert!(error.to_string().contains("file'"), "{error}");
    }
}
