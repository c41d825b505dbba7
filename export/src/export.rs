//! From a source to a bundle.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use epitome_runtime::bundle::{
    Bundle, DECODER, ENCODER, FORMAT, FileRecord, GENERATION_CONFIG, MANIFEST, Manifest, Precision,
    SourceRecord, TOKENIZER, Tool, WEIGHTS, digest,
};
use serde::Serialize;
use serde_json::Value;

use crate::arch::{self, ModelConfig, ModelWeights};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::generation_defaults::GenerationDefaults;
use crate::onnx::graph::Graph;
use crate::onnx::weights::WeightFile;
use crate::progress::Progress;
use crate::source::Source;
use crate::staging::Staging;
use crate::{tokenizer, verify};

/// How to export.
#[derive(Clone, Copy)]
pub struct ExportOptions<'a> {
    /// Whether to load the bundle and prove it sound before it is put in place.
    pub verify: bool,
    /// How precisely weights are kept.
    pub precision: Precision,
    /// Told how far the work is; can stop it.
    pub progress: &'a dyn Progress,
}

/// Exports the checkpoint at `source`, a folder or a `model.tar.gz`, as a bundle at `output`.
///
/// The bundle is written beside `output` and renamed when it is whole; an earlier bundle there is
/// replaced, anything else is left alone.
///
/// # Errors
///
/// [`Error`] says what is wrong with the source, or what could not be written; nothing is left
/// behind.
pub fn export(source: &Path, output: &Path, options: &ExportOptions<'_>) -> Result<Manifest> {
    let progress = options.progress;
    let staging = Staging::create(output, MANIFEST)?;
    let source = Source::open(source, output.parent(), progress)?;
    let checkpoint = Checkpoint::open(source.root())?;
    let mut manifest = write(&source, &checkpoint, staging.folder(), options)?;
    write_json(&staging.folder().join(MANIFEST), &manifest)?;
    if options.verify {
        let bundle = Bundle::open(staging.folder())?;
        progress.start("Verifying", 0);
        manifest.onnxruntime = Some(verify::verify(&bundle, progress)?);
        write_json(&staging.folder().join(MANIFEST), &manifest)?;
    }
    if progress.cancelled() {
        return Err(Error::Interrupted);
    }
    staging.finish()?;
    Ok(manifest)
}

/// Writes every file of the bundle but the manifest, which is returned.
fn write(
    source: &Source,
    checkpoint: &Checkpoint,
    folder: &Path,
    options: &ExportOptions<'_>,
) -> Result<Manifest> {
    let ExportOptions {
        precision,
        progress,
        ..
    } = *options;
    let config = ModelConfig::new(checkpoint.config().clone());
    let architecture = arch::find(&config)?;
    let file = WeightFile::create(folder, WEIGHTS)?;
    let mut weights = ModelWeights::new(checkpoint, file, precision, progress);
    progress.start("Writing weights", weights.total_bytes());
    let graphs = architecture.build(&config, &mut weights)?;
    let (bytes, sha256) = weights.finish()?;
    let mut files = BTreeMap::from([(WEIGHTS.to_owned(), FileRecord { bytes, sha256 })]);

    let model_type = architecture.model_type();
    write_graph(graphs.encoder, &folder.join(ENCODER), model_type)?;
    write_graph(graphs.decoder, &folder.join(DECODER), model_type)?;
    let tokenizer_notes = tokenizer::convert(
        source.root(),
        checkpoint.config(),
        graphs
            .shape
            .source_vocab_size
            .unwrap_or(graphs.shape.vocab_size),
        &folder.join(TOKENIZER),
    )?;
    let defaults = GenerationDefaults::of(checkpoint, architecture);
    write_json(&folder.join(GENERATION_CONFIG), &defaults.values)?;
    for name in [ENCODER, DECODER, TOKENIZER, GENERATION_CONFIG] {
        files.insert(name.into(), record(&folder.join(name))?);
    }

    let positions = graphs.shape.max_source_positions;
    let transformers_version = config.get("transformers_version").and_then(Value::as_str);
    Ok(Manifest {
        format: FORMAT,
        architecture: model_type.into(),
        precision,
        tool: Tool {
            name: "epitome".into(),
            version: env!("CARGO_PKG_VERSION").into(),
        },
        onnxruntime: None,
        source: SourceRecord {
            name: source.describe().name.clone(),
            digest: source.digest().into(),
            weights: checkpoint.weights_format().into(),
            transformers_version: transformers_version.map(str::to_owned),
        },
        max_source_tokens: tokenizer::max_source_tokens(source.root(), positions)?,
        shape: graphs.shape,
        source_prefix: tokenizer::source_prefix(checkpoint.config())?,
        surplus_tokens: tokenizer_notes.surplus,
        target_language_token: tokenizer_notes.target_language,
        generation_defaults: defaults.origins,
        files,
    })
}

fn write_graph(graph: Graph, path: &Path, model_type: &str) -> Result<()> {
    graph.write(path, &[("architecture", model_type), ("weights", WEIGHTS)])
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).expect("plain values become JSON");
    text.push('\n');
    fs::write(path, text).map_err(|source| Error::io(path, source))
}

fn record(path: &Path) -> Result<FileRecord> {
    let io = |source| Error::io(path, source);
    let bytes = fs::metadata(path).map_err(io)?.len();
    Ok(FileRecord {
        bytes,
        sha256: digest::file(path).map_err(io)?,
    })
}
