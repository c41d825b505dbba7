//! `epitome export`

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use epitome_evaluation::data::Dataset;
use epitome_export::{Calibration, ExportOptions};
use epitome_runtime::bundle::{self, Precision};
use epitome_runtime::generation::GlobalAttentionMask;
use epitome_runtime::{GenerationParameters, SessionOptions, scratch};

use super::compare;
use crate::calibrating;
use crate::exporting::export;
use crate::failure::Usage;
use crate::locations::Location;

/// Write a fine-tuned checkpoint as an ONNX bundle
#[derive(Args)]
pub(crate) struct Arguments {
    /// A model.tar.gz as SageMaker leaves it or a checkpoint folder, on this machine or at
    /// s3://BUCKET/KEY; or hf://OWNER/NAME[@REVISION], a model of the Hugging Face hub
    #[cfg_attr(
        feature = "aws",
        arg(required_unless_present = "training_job", conflicts_with = "training_job")
    )]
    #[cfg_attr(not(feature = "aws"), arg(required = true))]
    source: Option<PathBuf>,
    #[cfg(feature = "aws")]
    #[command(flatten)]
    job: JobFlags,
    /// Folder to write, or s3://BUCKET/FOLDER/ for a model.tar.gz there; replaces an earlier export
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Base model of an adapter, if the source does not contain it: a folder, an archive,
    /// s3://BUCKET/KEY, or a name of the Hugging Face hub
    #[arg(long, value_name = "BASE")]
    base: Option<PathBuf>,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = Layout::Bundle)]
    layout: Layout,
    /// Precision of the weights: fp16 takes half the space of fp32 and loses next to nothing; int8
    /// takes a quarter and int4 less, and both are faster (docs/precisions.md)
    #[arg(long, value_name = "PRECISION", default_value_t, value_parser = precisions())]
    precision: Precision,
    /// Documents like those that the model will read, to round int4 weights with (GPTQ). They need
    /// no summaries, and are read as `epitome summarize` reads them
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Calibrate with the first N of these documents
    #[arg(
        long,
        value_name = "N",
        default_value_t = NonZeroUsize::new(calibrating::LIMIT).expect("not zero"),
        requires = "calibrate"
    )]
    calibrate_limit: NonZeroUsize,
    /// Column of the texts, if --calibrate names a table
    #[arg(long, value_name = "NAME", requires = "calibrate")]
    calibrate_text_column: Option<String>,
    /// Source tokens with global attention, for LED: first, none, or a 1 or 0 for each token. The
    /// parameter of a request overrides it [default: first]
    #[arg(long, value_name = "MASK")]
    global_attention_mask: Option<GlobalAttentionMask>,
    /// Skip the check that loads the written bundle and proves it sound
    #[arg(long)]
    no_verify: bool,
    /// CSV file with columns `text` and `summary` to measure what the precision loses against fp32
    #[arg(long, value_name = "FILE", conflicts_with = "no_verify")]
    verify_data: Option<PathBuf>,
    /// Measure at most this many documents of --verify-data
    #[arg(long, value_name = "N", requires = "verify_data")]
    verify_limit: Option<NonZeroUsize>,
}

/// Flags of a training job that is the source.
#[cfg(feature = "aws")]
#[derive(Args)]
struct JobFlags {
    /// Take the artifact of this SageMaker training job
    #[arg(long, value_name = "NAME")]
    training_job: Option<String>,
    /// Wait until the job is over
    #[arg(long, requires = "training_job")]
    wait: bool,
    /// Time between two checks of the job's state
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = super::seconds::Seconds::new(10),
        requires = "wait"
    )]
    interval: super::seconds::Seconds,
}

impl Arguments {
    /// The source that is named, or the artifact of the training job.
    fn source(&self) -> Result<PathBuf> {
        #[cfg(feature = "aws")]
        if let Some(name) = &self.job.training_job {
            let wait = self.job.wait.then_some(self.job.interval.0);
            return Ok(crate::training_artifact::artifact(name, wait)?.into());
        }
        Ok(self.source.clone().expect("clap requires a source"))
    }
}

/// The precisions by name, so that help texts and error messages list them.
pub(super) fn precisions() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(Precision::ALL.map(Precision::name))
        .map(|name| name.parse().expect("a name that is offered"))
}

/// The format of the output.
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
    let data = verify_data(arguments)?;
    let calibration = calibration(arguments)?;
    let start = Instant::now();
    let options = ExportOptions {
        layout: arguments.layout.into(),
        precision: arguments.precision,
        verify: !arguments.no_verify,
        calibration: calibration.as_ref(),
        global_attention_mask: arguments.global_attention_mask.as_ref(),
        ..ExportOptions::default()
    };
    let source = arguments.source()?;
    let base = arguments.base.as_deref();
    let manifest = export(&source, base, &arguments.output, options)?;
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
    if let Some(calibration) = &manifest.calibration {
        eprintln!("Calibrated {}", calibrating::shown(calibration));
    }
    if manifest.shape.global_attention && arguments.global_attention_mask.is_none() {
        eprintln!(
            "The first token has global attention. If the model was trained without, as by \
             run_summarization.py, export it with --global-attention-mask none"
        );
    }
    if !manifest.source.left_out.is_empty() {
        eprintln!(
            "Left out tensors that {} has no use for: {}",
            manifest.architecture,
            manifest.source.left_out.join(", ")
        );
    }
    match data {
        Some(data) => measure_loss(arguments, &source, &data),
        None => Ok(()),
    }
}

/// Reads the documents to calibrate with. Runs first, so that a mistake costs no export.
fn calibration(arguments: &Arguments) -> Result<Option<Calibration>> {
    let Some(path) = &arguments.calibrate else {
        return Ok(None);
    };
    if matches!(arguments.layout, Layout::Optimum) {
        bail!(Usage(
            "--calibrate serves int4 weights, and --layout optimum holds fp32 weights only: leave \
             one of them out"
                .into()
        ));
    }
    if arguments.precision != Precision::Int4 {
        bail!(Usage(format!(
            "--calibrate serves int4 weights only, not {}: give --precision int4, or leave it out",
            arguments.precision
        )));
    }
    let text_column = arguments.calibrate_text_column.as_deref();
    calibrating::read(path, text_column, arguments.calibrate_limit.get()).map(Some)
}

/// Reads the documents to measure on. Runs first, so that a mistake costs no export.
fn verify_data(arguments: &Arguments) -> Result<Option<Dataset>> {
    let Some(path) = &arguments.verify_data else {
        return Ok(None);
    };
    if matches!(arguments.layout, Layout::Optimum) {
        bail!(Usage(
            "--verify-data summarizes with the bundle, and --layout optimum writes none".into()
        ));
    }
    if arguments.precision == Precision::Fp32 {
        bail!(Usage(
            "--verify-data measures what a precision loses against fp32: choose one with \
             --precision"
                .into()
        ));
    }
    if !matches!(Location::parse(&arguments.output)?, Location::Path(_)) {
        bail!(Usage(
            "--verify-data summarizes with the bundle: write it to a folder on the disk".into()
        ));
    }
    let limit = arguments.verify_limit.map(NonZeroUsize::get);
    Ok(Some(Dataset::read(path, limit)?))
}

/// Compares the bundle at `output` with a temporary fp32 export of the same source.
fn measure_loss(arguments: &Arguments, source: &Path, data: &Dataset) -> Result<()> {
    let output = &*arguments.output;
    // The fp32 bundle is written beside the other one: that disk had room for a bundle.
    let beside = output.parent().filter(|parent| *parent != Path::new(""));
    let beside = beside.unwrap_or(Path::new("."));
    let folder = scratch::Folder::new_in(beside, ".epitome-fp32-")
        .with_context(|| format!("cannot make a folder in '{}'", beside.display()))?;
    let reference = folder.path().join("bundle");
    let unverified = ExportOptions {
        verify: false,
        global_attention_mask: arguments.global_attention_mask.as_ref(),
        ..ExportOptions::default()
    };
    export(source, arguments.base.as_deref(), &reference, unverified)?;
    let (parameters, options) = (GenerationParameters::default(), SessionOptions::default());
    let mut record = compare::measure([&reference, output], data, [&parameters; 2], &options)?;
    record.bundles[0].path = source.display().to_string();
    compare::show(&record)
}
