//! Exports a source to a bundle.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use epitome_runtime::SessionOptions;
use epitome_runtime::bundle::{
    Bundle, FORMAT, FileRecord, GENERATION_CONFIG, Layout, MANIFEST, Manifest, Precision,
    SourceRecord, TARGET_TOKENIZER, TOKENIZER, Tool, WEIGHTS, digest,
};
use epitome_runtime::generation::GlobalAttentionMask;
use epitome_runtime::progress::{Progress, Total};
use serde::Serialize;
use serde_json::Value;

use crate::arch::{self, ModelConfig, ModelWeights};
use crate::calibration::{Calibration, Hessians, Readers, Stage};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::generation_defaults::GenerationDefaults;
use crate::onnx::weights::WeightFile;
use crate::source::{Origin, Source};
use crate::staging::Staging;
use crate::tokenizer::Tokenizers;
use crate::{optimum, tokenizer, verify};

/// Options of [`export()`].
#[derive(Clone, Copy)]
pub struct ExportOptions<'a> {
    /// Layout to write: a bundle, or the portable layout.
    pub layout: Layout,
    /// Whether to load the export and verify it before it is moved to its place.
    pub verify: bool,
    /// Precision of the weights.
    pub precision: Precision,
    /// Calibration documents for int4 weights.
    pub calibration: Option<&'a Calibration>,
    /// Base of an adapter, if the source does not hold it.
    pub base: Option<&'a dyn Origin>,
    /// Default mask of global attention, in place of the first token (LED).
    pub global_attention_mask: Option<&'a GlobalAttentionMask>,
    /// Receives the progress, and can stop the work.
    pub progress: &'a dyn Progress,
}

impl Default for ExportOptions<'_> {
    /// A verified bundle, without progress.
    fn default() -> Self {
        Self {
            layout: Layout::Bundle,
            precision: Precision::Fp32,
            verify: true,
            calibration: None,
            base: None,
            global_attention_mask: None,
            progress: &(),
        }
    }
}

/// Exports the checkpoint at `source`, a path of a folder or a `model.tar.gz` or another
/// [`Origin`], to the folder `output`.
///
/// The export is written in a folder beside `output`, which is renamed once it is complete. An
/// earlier export there is replaced; anything else is kept.
///
/// # Errors
///
/// [`Error`] says what is wrong with the source, or what could not be written. Nothing is left
/// behind.
pub fn export(
    source: &(impl Origin + ?Sized),
    output: &Path,
    options: &ExportOptions<'_>,
) -> Result<Manifest> {
    let progress = options.progress;
    if options.layout == Layout::Optimum && options.precision != Precision::Fp32 {
        return Err(Error::PortablePrecision { precision: options.precision });
    }
    if let Some(calibration) = options.calibration {
        check_calibration(calibration, options.precision)?;
    }
    let staging = Staging::create(output, MANIFEST)?;
    let scratch = output.parent();
    let source = source.open(scratch, progress)?;
    let source = source.with_base(options.base, scratch, progress)?;
    let checkpoint = source.checkpoint()?;
    let hessians = match options.calibration {
        Some(calibration) => {
            // Threads of the session must not spin while the sums are added.
            let session = SessionOptions { prepack: false, spin: false, ..Default::default() };
            let folder = staging.folder();
            Some(calibrate(&source, &checkpoint, folder, options, calibration, session)?)
        }
        None => None,
    };
    let stage = hessians.as_ref().map_or(Stage::None, Stage::Known);
    let mut manifest = write(&source, &checkpoint, staging.folder(), options, stage)?;
    drop(hessians);
    write_json(&staging.folder().join(MANIFEST), &manifest)?;
    if options.verify {
        progress.start("Verifying", Total::Unknown);
        let version = match options.layout {
            Layout::Bundle => verify::verify(&Bundle::open(staging.folder())?, progress)?,
            Layout::Optimum => optimum::verify(staging.folder(), &manifest.shape, progress)?,
        };
        manifest.onnxruntime = Some(version);
        write_json(&staging.folder().join(MANIFEST), &manifest)?;
    }
    if progress.cancelled() {
        return Err(Error::Interrupted);
    }
    staging.finish()?;
    Ok(manifest)
}

/// Checks that the documents can be used for calibration.
fn check_calibration(calibration: &Calibration, precision: Precision) -> Result<()> {
    if precision != Precision::Int4 {
        return Err(Error::CalibratedPrecision { precision });
    }
    match calibration.texts().next() {
        Some(_) => Ok(()),
        None => Err(Error::NoCalibrationText { name: calibration.name.clone() }),
    }
}

/// Writes the model in float32 to a temporary folder of `staging`, and observes its summaries.
fn calibrate(
    source: &Source,
    checkpoint: &Checkpoint,
    staging: &Path,
    options: &ExportOptions<'_>,
    calibration: &Calibration,
    session: SessionOptions,
) -> Result<Hessians> {
    let io = |source| Error::io(staging, source);
    let folder = tempfile::tempdir_in(staging).map_err(io)?;
    let full = ExportOptions { precision: Precision::Fp32, calibration: None, ..*options };
    let mut readers = Readers::default();
    let stage = Stage::Observing(&mut readers);
    let manifest = write(source, checkpoint, folder.path(), &full, stage)?;
    readers.check_memory()?;
    write_json(&folder.path().join(MANIFEST), &manifest)?;
    verify::check_defaults(&Bundle::open(folder.path())?)?;
    let hessians = Hessians::of(folder.path(), readers, calibration, session, options.progress)?;
    // A folder that cannot be removed would become a part of the bundle.
    folder.close().map_err(io)?;
    Ok(hessians)
}

/// Writes all files but the manifest, which is returned.
fn write(
    source: &Source,
    checkpoint: &Checkpoint,
    folder: &Path,
    options: &ExportOptions<'_>,
    stage: Stage<'_>,
) -> Result<Manifest> {
    let ExportOptions { precision, progress, .. } = *options;
    let config = ModelConfig::new(checkpoint.config().clone(), checkpoint.names().count());
    let family = arch::of(&config)?;
    let mut model = family.model(config)?;
    if let Some(mask) = options.global_attention_mask {
        model.set_global_attention_mask(mask, family.model_type)?;
    }
    let weights_name = match options.layout {
        Layout::Bundle => WEIGHTS,
        Layout::Optimum => optimum::names::WEIGHTS,
    };
    let file = WeightFile::create(folder, weights_name)?;
    let mut weights = ModelWeights::new(checkpoint, family.base_prefix, file, precision, progress);
    let what = match stage {
        Stage::None => "Writing weights",
        Stage::Observing(_) => "Preparing to calibrate",
        Stage::Known(_) => "Rounding weights",
    };
    weights.set_stage(stage);
    progress.start(what, Total::Bytes(weights.total_bytes()));
    let graphs = model.graphs(options.layout, &mut weights)?;
    let left_out = weights.left_out()?;
    weights.check_calibration()?;
    let (bytes, sha256) = weights.finish()?;
    let mut files = BTreeMap::from([(weights_name.to_owned(), FileRecord { bytes, sha256 })]);
    let mut written = vec![TOKENIZER, GENERATION_CONFIG];
    for (name, graph) in graphs.files {
        written.push(name);
        let properties = [("architecture", family.model_type), ("weights", weights_name)];
        graph.write(&folder.join(name), &properties)?;
    }
    let tokenizers = Tokenizers {
        source: source.tokenizer(),
        source_size: graphs.shape.source_vocab_size.unwrap_or(graphs.shape.vocab_size),
        target: source.target_tokenizer(),
        target_size: graphs.shape.vocab_size,
    };
    let tokenizer_notes = tokenizer::convert(&tokenizers, checkpoint.config(), folder)?;
    if tokenizer_notes.target {
        written.push(TARGET_TOKENIZER);
    }
    let mut defaults = GenerationDefaults::of(checkpoint, family);
    // In the portable layout the graph holds the default mask.
    if options.layout == Layout::Bundle
        && let Some(mask) = &model.global_attention_mask
    {
        defaults.set_global_attention_mask(mask);
    }
    write_json(&folder.join(GENERATION_CONFIG), &defaults.values)?;
    if options.layout == Layout::Optimum {
        if !tokenizer_notes.portable {
            // The stock library cannot read this tokenizer, or it has token ids beyond the model's.
            let is_tokenizer = |name: &&mut _| [TOKENIZER, TARGET_TOKENIZER].contains(name);
            for name in written.extract_if(.., |name| is_tokenizer(&name)) {
                remove(&folder.join(name))?;
            }
        }
        // The portable layout takes the checkpoint's own files, for transformers to read.
        written.extend(optimum::copy(source.root(), source.tokenizer(), folder)?);
    }
    for name in written {
        files.insert(name.into(), record(&folder.join(name))?);
    }

    let positions = graphs.shape.max_source_positions;
    let transformers_version = checkpoint.config().get("transformers_version");
    let transformers_version = transformers_version.and_then(Value::as_str);
    let manifest = Manifest {
        format: FORMAT,
        layout: options.layout,
        architecture: family.model_type.into(),
        precision,
        tool: Tool { name: "epitome".into(), version: env!("CARGO_PKG_VERSION").into() },
        onnxruntime: None,
        calibration: options.calibration.map(Calibration::record),
        source: SourceRecord {
            name: source.describe().name.clone(),
            digest: source.digest().into(),
            weights: checkpoint.weights_format().into(),
            transformers_version: transformers_version.map(str::to_owned),
            left_out,
        },
        max_source_tokens: tokenizer::max_source_tokens(source.tokenizer(), positions)?,
        shape: graphs.shape,
        source_prefix: tokenizer::source_prefix(checkpoint.config())?,
        surplus_tokens: tokenizer_notes.surplus,
        target_language_token: tokenizer_notes.target_language,
        generation_defaults: defaults.origins,
        files,
    };
    Ok(manifest)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).expect("plain values become JSON");
    text.push('\n');
    fs::write(path, text).map_err(|source| Error::io(path, source))
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|source| Error::io(path, source))
}

fn record(path: &Path) -> Result<FileRecord> {
    let io = |source| Error::io(path, source);
    let bytes = fs::metadata(path).map_err(io)?.len();
    Ok(FileRecord { bytes, sha256: digest::file(path).map_err(io)? })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn calibrating_learns_the_same_with_any_number_of_threads() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
        let source = fixtures.join("pegasus-debian.tar.gz");
        let source = source.as_path().open(None, &()).unwrap();
        let checkpoint = source.checkpoint().unwrap();
        let text = "The river rose by two metres, and the roads to the north were closed. ";
        let calibration = Calibration { name: "one".into(), texts: vec![text.repeat(8)] };
        let options = ExportOptions { precision: Precision::Int4, ..ExportOptions::default() };
        let [one, three] = [1, 3].map(|threads| {
            let folder = tempfile::tempdir().unwrap();
            let session = SessionOptions {
                threads: NonZeroUsize::new(threads).unwrap(),
                prepack: false,
                spin: false,
                observer: None,
            };
            let (folder, options) = (folder.path(), &options);
            let learnt =
                calibrate(&source, &checkpoint, folder, options, &calibration, session).unwrap();
            assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
            learnt
        });
        // `assert_eq` would print the weights.
        assert!(one == three);
    }
}
