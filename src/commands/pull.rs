//! `epitome pull`

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use epitome_export::ExportOptions;
use epitome_export::hub_cache::ModelId;
use epitome_export::source::{Origin, Source};
use epitome_hub::download::{Fetched, Hub, HubModel};
use epitome_hub::{Record, Store};
use epitome_runtime::Progress;
use epitome_runtime::bundle::{Manifest, Precision};

use super::export::precisions;
use crate::exporting::base_origin;
use crate::locations::hub_id;
use crate::progress::with_bar;

/// Fetch a model from the Hugging Face hub, and export it to the store under its name
///
/// The checkpoint goes to the cache of the hub, where Python finds it too; only the files that an
/// export reads are fetched. HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE are
/// heeded.
#[derive(Args)]
pub(crate) struct Arguments {
    /// OWNER/NAME of the model, such as facebook/bart-large-cnn; @REVISION is a branch, tag or
    /// commit
    #[arg(value_name = "ID[@REVISION]")]
    id: String,
    /// Precision of the weights: int8 is a quarter of the size of fp32, is faster, and loses hardly
    /// anything (docs/precisions.md)
    #[arg(
        long,
        value_name = "PRECISION",
        default_value_t = Precision::Int8,
        value_parser = precisions()
    )]
    precision: Precision,
    /// Name in the store, in place of the model's own
    #[arg(long)]
    name: Option<String>,
    /// Base model of an adapter, in place of the one that it names: a folder, an archive, or a name
    /// of the hub
    #[arg(long, value_name = "BASE")]
    base: Option<PathBuf>,
    /// Skip the check that loads the written bundle and proves it sound
    #[arg(long)]
    no_verify: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let id = hub_id(&arguments.id)?;
    let store = Store::from_env()?;
    let name = arguments.name.as_deref().unwrap_or(id.name());
    // Finds a wrong name before the work.
    store.bundle(name)?;
    let base = arguments.base.as_ref().map(|base| base.to_string_lossy().into_owned());
    let wanted = Wanted { precision: arguments.precision, base, verify: !arguments.no_verify };
    pull_with_bar(&store, name, &id, &wanted, None)
}

/// Exports a model of the store again, from the same commit.
pub(super) fn again(store: &Store, name: &str, id: &ModelId, record: &Record) -> Result<()> {
    let wanted = Wanted { precision: record.precision, base: record.base.clone(), verify: true };
    pull_with_bar(store, name, id, &wanted, Some(record))
}

/// Options of the export.
pub(crate) struct Wanted {
    pub(crate) precision: Precision,
    pub(crate) base: Option<String>,
    pub(crate) verify: bool,
}

/// Pulls a model and shows progress in a terminal. `earlier` is the record of the same model, if
/// there is one.
fn pull_with_bar(
    store: &Store,
    name: &str,
    id: &ModelId,
    wanted: &Wanted,
    earlier: Option<&Record>,
) -> Result<()> {
    let start = Instant::now();
    let manifest = with_bar(|progress| pull(store, name, id, wanted, earlier, progress))?;
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    eprintln!(
        "{name} is in the store ({}, {}, {:.0} MB, {:.1} s)",
        manifest.architecture,
        manifest.precision,
        bytes as f64 / 1e6,
        start.elapsed().as_secs_f64()
    );
    if wanted.precision == Precision::Int8 && earlier.is_none() {
        eprintln!(
            "int8 takes a quarter of the room of fp32 and is faster; --precision fp32 keeps every \
             bit"
        );
    }
    let is_default = store.default_model()?.is_some_and(|model| model.name == name);
    let flag = if is_default { String::new() } else { format!(" --model {name}") };
    eprintln!("Now: epitome summarize{flag} FILE");
    Ok(())
}

/// Fetches and exports a model. `earlier` is the record of the same model, if there is one.
pub(crate) fn pull(
    store: &Store,
    name: &str,
    id: &ModelId,
    wanted: &Wanted,
    earlier: Option<&Record>,
    progress: &dyn Progress,
) -> Result<Manifest> {
    let bundle = store.bundle(name)?;
    let hub = Hub::from_env()?;
    let model = HubModel { hub: hub.clone(), id: id.clone(), with_base: wanted.base.is_none() };
    let fetched = hub.fetch(id, progress)?;
    let earlier_license = || {
        let known = earlier.cloned().or_else(|| store.find(name).ok()??.record);
        known.filter(|record| record.id == id.name())?.license
    };
    let license = fetched.license.clone().or_else(earlier_license);
    progress.note(&match &license {
        Some(license) => format!("Licence of {}: {license}", id.name()),
        None => {
            format!("The hub names no licence for {}: see its page before you use it", id.name())
        }
    });
    let base = wanted.base.as_ref().map(Path::new).map(base_origin).transpose()?;
    let options = ExportOptions {
        precision: wanted.precision,
        verify: wanted.verify,
        base: base.as_deref(),
        progress,
        ..ExportOptions::default()
    };
    let opened = Opened { model: &model, fetched: &fetched };
    let manifest = epitome_export::export(&opened, &bundle, &options)?;
    let record = Record {
        id: id.name().to_owned(),
        revision: earlier
            .map_or_else(|| id.revision().to_owned(), |earlier| earlier.revision.clone()),
        commit: fetched.commit.clone(),
        precision: wanted.precision,
        base: wanted.base.clone(),
        license,
    };
    store.keep(name, &record, fetched.license_text().as_deref())?;
    Ok(manifest)
}

/// A fetched model as the source of an export.
struct Opened<'a> {
    model: &'a HubModel,
    fetched: &'a Fetched,
}

impl Origin for Opened<'_> {
    fn open(
        &self,
        scratch: Option<&Path>,
        progress: &dyn Progress,
    ) -> epitome_export::Result<Source> {
        self.model.open_fetched(self.fetched, scratch, progress)
    }
}
