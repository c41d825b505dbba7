//! `epitome demo`

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use epitome_runtime::bundle::Bundle;
use epitome_runtime::{GenerationParameters, Summarizer};

use crate::exporting::export;
use crate::failure::Usage;
use crate::output::{self, Column};
use epitome_export::ExportOptions;

/// The trained model of the repository, as a training job left it.
const ARCHIVE: &str = "pegasus-debian.tar.gz";
/// Articles to show summaries of.
const SHOWN: usize = 4;
/// Length penalties to compare on the last of them.
const PENALTIES: [f64; 3] = [0.6, 1.0, 1.5];

/// Export the repository's trained model and summarize a few of its articles
#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder of the bundle; made on the first run
    #[arg(long, value_name = "DIR", default_value = "models/demo")]
    output: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let fixtures = fixtures()?;
    if Bundle::open(&arguments.output).is_err() {
        export(&fixtures.join(ARCHIVE), None, &arguments.output, ExportOptions::default())?;
    }
    let mut summarizer = Summarizer::open(&arguments.output)?;
    let articles = articles(&fixtures.join("articles"))?;
    let texts: Vec<&str> = articles.iter().map(|(_, text)| text.as_str()).collect();
    let summaries = summarizer.summarize(&texts, &GenerationParameters::default())?;
    let out = &mut stdout().lock();
    for ((path, text), summary) in articles.iter().zip(&summaries) {
        let start: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let options = textwrap::Options::new(textwrap::termwidth().min(100));
        let lines = textwrap::wrap(&start, options);
        writeln!(out, "{}", path.display())?;
        for line in lines.iter().take(2) {
            writeln!(out, "  {line}")?;
        }
        if lines.len() > 2 {
            writeln!(out, "  ... ({} words)", text.split_whitespace().count())?;
        }
        let time = output::milliseconds(summary.timing.total());
        writeln!(out, "=> {}  ({time})\n", summary.text())?;
    }
    if let Some((path, text)) = articles.last() {
        writeln!(out, "{} at three length penalties:\n", path.display())?;
        let columns = PENALTIES
            .iter()
            .map(|&penalty| {
                let length_penalty = Some(penalty);
                let parameters = GenerationParameters { length_penalty, ..Default::default() };
                let summary = summarizer.summarize(&[text], &parameters)?.remove(0);
                Ok(Column::of(length_penalty, &summary))
            })
            .collect::<Result<Vec<_>>>()?;
        output::side_by_side(out, &columns)?;
        let model = arguments.output.display();
        writeln!(out, "\nNow your own: epitome summarize --model {model} FILE")?;
    }
    Ok(out.flush()?)
}

/// The repository's fixtures: below the current folder, or where this program was built.
fn fixtures() -> Result<PathBuf> {
    let places =
        [PathBuf::from("fixtures"), Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")];
    match places.into_iter().find(|folder| folder.join(ARCHIVE).is_file()) {
        Some(folder) => Ok(folder),
        None => bail!(Usage(format!(
            "found no fixtures/{ARCHIVE}: run the demo in a clone of the repository"
        ))),
    }
}

/// The first few articles, by name.
fn articles(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {folder:?}"))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    paths.truncate(SHOWN);
    paths
        .into_iter()
        .map(|path| {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {path:?}"))?;
            Ok((path, text))
        })
        .collect()
}
