//! Studies the quality on other documents of the setting that `epitome bench --budget-ms` picks.
//! Reads the `samples.csv` of a sweep. For each budget, picks on one half of the documents and
//! evaluates on the other, 200 times. With `--by-steps` the time of a summary is its number of
//! decoder steps times the median time of a step with the same beams. This removes the influence of
//! other programs on the machine.
//!
//! ```text
//! epitome bench --model models/demo --data fixtures/summaries/validation-1000.csv --limit 300
//! cargo run -p epitome-evaluation --example budget_study -- epitome-bench/samples.csv 30 40 60 80
//! ```

use std::collections::BTreeMap;
use std::env;
use std::error::Error;

use epitome_evaluation::holdout::holdout;
use epitome_evaluation::results::{DataRecord, ModelRecord, Results};
use epitome_evaluation::rouge::Rouge;
use epitome_evaluation::settings::{Setting, Stopping};
use epitome_evaluation::sweep::{Milliseconds, Sample, Samples};

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, arguments): (Vec<String>, Vec<String>) =
        env::args().skip(1).partition(|argument| argument == "--by-steps");
    let mut arguments = arguments.into_iter();
    let path = arguments.next().ok_or("name a samples.csv, and budgets in milliseconds")?;
    let budgets: Vec<f64> = arguments.map(|budget| budget.parse()).collect::<Result<_, _>>()?;
    let (settings, mut samples) = read(&path)?;
    if !flags.is_empty() {
        by_steps(&settings, &mut samples);
    }
    println!("| budget | picked | kept | exceeded by | within 0.5 ROUGE-L of the best | lost |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for budget in budgets {
        let record = DataRecord::default();
        let results = Results::new(ModelRecord::default(), record, &settings, &samples);
        let results = results.within(budget);
        let picked = results.picked().map_or("none".into(), |point| point.setting.to_string());
        match holdout(&samples, settings.len(), budget) {
            None => println!("| {budget} ms | {picked} | | | | |"),
            Some(found) => println!(
                "| {budget} ms | {picked} | {:.0}% | {:.1}% | {:.0}% | {:.2} |",
                100.0 * found.kept,
                100.0 * found.overrun,
                100.0 * found.best,
                100.0 * found.lost
            ),
        }
    }
    Ok(())
}

/// Replaces each time by the number of steps times the median time of a step.
fn by_steps(settings: &[Setting], samples: &mut Samples) {
    let mut a_step: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for sample in &samples.list {
        let times = a_step.entry(settings[sample.setting].num_beams).or_default();
        times.push(sample.milliseconds.total() / sample.steps.max(1) as f64);
    }
    for times in a_step.values_mut() {
        times.sort_by(f64::total_cmp);
    }
    for sample in &mut samples.list {
        let times = &a_step[&settings[sample.setting].num_beams];
        let decode = sample.steps as f64 * times[times.len() / 2];
        sample.milliseconds = Milliseconds { decode, ..Default::default() };
    }
}

/// The settings and samples of a file.
fn read(path: &str) -> Result<(Vec<Setting>, Samples), Box<dyn Error>> {
    let mut reader = csv::Reader::from_path(path)?;
    let header = reader.headers()?.clone();
    let mut settings: Vec<Setting> = Vec::new();
    let mut samples = Samples::default();
    for record in reader.records() {
        let record = record?;
        let cell = |name: &str| -> Result<&str, Box<dyn Error>> {
            let column = header.iter().position(|column| column == name);
            Ok(column.and_then(|column| record.get(column)).ok_or(format!("no column {name}"))?)
        };
        let number = |name: &str| -> Result<f64, Box<dyn Error>> { Ok(cell(name)?.parse()?) };
        let setting = match cell("early_stopping")? {
            "-" => Setting::new(1, 1.0, Stopping::False),
            rule => Setting::new(
                number("num_beams")? as usize,
                number("length_penalty")?,
                rule.parse()?,
            ),
        };
        let place = settings.iter().position(|known| *known == setting);
        let place = place.unwrap_or_else(|| {
            settings.push(setting);
            settings.len() - 1
        });
        let milliseconds = Milliseconds {
            tokenize: number("tokenize_ms")?,
            encode: number("encode_ms")?,
            decode: number("decode_ms")?,
        };
        let rouge = || -> Result<Rouge, Box<dyn Error>> {
            let [rouge1, rouge2] = [number("rouge1")?, number("rouge2")?];
            Ok(Rouge { rouge1, rouge2, rouge_l: number("rougeL")? })
        };
        samples.list.push(Sample {
            row: number("row")? as usize,
            setting: place,
            milliseconds,
            input_tokens: number("input_tokens")? as usize,
            truncated: cell("truncated")? == "true",
            steps: number("steps")? as usize,
            tokens: number("tokens")? as usize,
            summary: String::new(),
            rouge: if cell("rougeL")?.is_empty() { None } else { Some(rouge()?) },
        });
    }
    Ok((settings, samples))
}
