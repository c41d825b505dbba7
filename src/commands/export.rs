//! `epitome export`

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use epitome_export::ExportOptions;
use epitome_runtime::bundle::{self, Manifest, Precision};

use crate::interrupt;
use crate::progress::StageBar;

/// Write a fine-tuned checkpoint as an ONNX bundle
#[derive(Args)]
pub(crate) struct Arguments {
    /// A model.tar.gz as SageMaker leaves it, or a checkpoint folder
    source: PathBuf,
    /// Folder to write; an earlier export there is replaced
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t = Layout::Bundle)]
    layout: Layout,
    /// How precisely weights are kept: int8 takes a quarter of the room and is several times as fast
    #[arg(long, value_name = "PRECISION", default_value_t, value_parser = precisions())]
    precision: Precision,
    /// Leave out loading what was written and proving it sound
    #[arg(long)]
    no_verify: bool,
}

/// The precisions by name, so that help and mistakes list them.
fn precisions() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(Precision::ALL.map(Precision::name))
        .map(|name| name.parse().expect("a name that is offered"))
}

/// What an export is written for.
#[derive(Clone, Copy, ValueEnum)]
enum Layout {
    /// A bundle for `epitome summarize` and `epitome serve`
    Bundle,
    /// Standard ONNX as optimum writes it, for ORTModelForSeq2SeqLM and transformers.js
    Optimum,
}

impl From<Layout> for bundle::Layout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Bundle => Self::Bundle,
            Layout::Optimum => Self::Optimum,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let options = ExportOptions {
        layout: arguments.layout.into(),
        precision: arguments.precision,
        verify: !arguments.no_verify,
        ..ExportOptions::default()
    };
    let manifest = export(&arguments.source, &arguments.output, options)?;
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    eprintln!(
        "Exported {} ({}, {}, {:.1} MB) to {} in {:.1} s",
        manifest.source.name,
        manifest.architecture,
        manifest.precision,
        bytes as f64 / 1e6,
        arguments.output.display(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Exports with a progress bar; Ctrl-C leaves nothing behind.
pub(super) fn export(source: &Path, output: &Path, options: ExportOptions<'_>) -> Result<Manifest> {
    interrupt::watch();
    let progress = StageBar::new();
    let options = ExportOptions {
        progress: &progress,
        ..options
    };
    let result = epitome_export::export(source, output, &options);
    progress.clear();
    interrupt::release();
    Ok(result?)
}
