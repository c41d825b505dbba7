//! The choice of a model: by a name, a folder, an archive, or the default.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use epitome_export::ExportOptions;
#[cfg(feature = "hub")]
use epitome_export::hub_cache::ModelId;
use epitome_hub::{State, Store, StoredModel};
use epitome_runtime::bundle::{FORMAT, MANIFEST};
use epitome_runtime::scratch::BundleFolder;

use crate::configuration::Configuration;
use crate::exporting::export;
use crate::failure::Usage;
#[cfg(feature = "hub")]
use crate::locations::hub_id;

/// The flag that names a model.
#[derive(Args, Clone, Debug)]
pub(crate) struct ModelFlag {
    /// Name of a model in the store (`epitome models`), or a folder or archive; without it, the
    /// default of the store
    #[arg(short, long, value_name = "MODEL", env = "EPITOME_MODEL")]
    model: Option<PathBuf>,
}

impl ModelFlag {
    /// The bundle of the named model, or else of the default.
    pub(crate) fn choose(&self) -> Result<Choice> {
        match &self.model {
            Some(model) => choose(model),
            None => Ok(Choice { bundle: default_bundle()?, _scratch: None }),
        }
    }
}

/// A bundle to open. Keep it for as long as the bundle is used.
#[derive(Debug)]
pub(crate) struct Choice {
    bundle: PathBuf,
    /// Holds the bundle of a checkpoint that was exported for this run.
    _scratch: Option<BundleFolder>,
}

impl Choice {
    /// The folder of the bundle.
    pub(crate) fn bundle(&self) -> &Path {
        &self.bundle
    }
}

/// The bundle of the model with this name or in this folder. A checkpoint or an archive of one is
/// exported to a temporary folder first.
pub(crate) fn choose(model: &Path) -> Result<Choice> {
    let path = locate(model)?;
    let is_checkpoint =
        path.is_file() || path.join("config.json").is_file() && !path.join(MANIFEST).is_file();
    if !is_checkpoint {
        return Ok(Choice { bundle: path, _scratch: None });
    }
    // If the thread cannot start, the next process removes them.
    let _ = std::thread::Builder::new().spawn(BundleFolder::remove_abandoned);
    let temporary = std::env::temp_dir();
    let scratch = BundleFolder::new()
        .with_context(|| format!("cannot make a folder in '{}'", temporary.display()))?;
    let bundle = scratch.path().join("bundle");
    export(&path, None, &bundle, ExportOptions::default())?;
    eprintln!(
        "epitome: note: {} was exported for this run only: 'epitome export {0} --output FOLDER' \
         keeps what it makes",
        path.display()
    );
    Ok(Choice { bundle, _scratch: Some(scratch) })
}

/// The path of the named model: an existing path, or else a bundle of the store.
pub(crate) fn locate(model: &Path) -> Result<PathBuf> {
    if model.exists() {
        return Ok(model.to_owned());
    }
    // Names in the store are text, and without a store there are no names.
    let Some((name, store)) = model.to_str().zip(Store::from_env().ok()) else {
        bail!(Usage(format!("'{}' does not exist", model.display())));
    };
    if name.starts_with("s3://") {
        bail!(Usage(format!(
            "{name} is on S3: 'epitome export {name} --output FOLDER' makes a model of it here"
        )));
    }
    if is_path(name) {
        bail!(Usage(format!("'{name}' does not exist: give a folder with a model, or a name")));
    }
    match store.get(name) {
        Ok(stored) => usable(stored),
        Err(error) if error.is_usage() => {
            bail!(Usage(format!("there is no folder '{name}', and {error}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// The model of the hub with this name, unless it is a path.
#[cfg(feature = "hub")]
pub(crate) fn id_of_hub(model: &Path) -> Option<ModelId> {
    let text = model.to_str().filter(|text| !model.exists() && !is_path(text))?;
    hub_id(text).ok().filter(|id| id.name().contains('/'))
}

/// The bundle of the default model.
pub(crate) fn default_bundle() -> Result<PathBuf> {
    let store = Store::from_env()?;
    if let Some(stored) = store.default_model()? {
        return usable(stored);
    }
    let models = store.models()?;
    if models.is_empty() {
        bail!(Usage(
            "there is no model yet: 'epitome pull facebook/bart-large-cnn' fetches one, 'epitome \
             export model.tar.gz --output FOLDER' converts yours (name the folder with --model), \
             and 'epitome demo' makes a small one to try"
                .into()
        ));
    }
    let names: Vec<_> = models.into_iter().map(|model| model.name).collect();
    bail!(Usage(format!(
        "--model is missing, and none of the {} models is the default ({}): choose one with \
         'epitome models default NAME'",
        names.len(),
        names.join(", ")
    )))
}

/// The name of the default model: from the configuration file, or else from the store.
pub(crate) fn default_name(store: &Store) -> Result<Option<String>> {
    let configured = Configuration::read().unwrap_or_default();
    if let Some(name) = configured.value("model") {
        return Ok(Some(store.find(name)?.map_or_else(|| name.to_owned(), |model| model.name)));
    }
    Ok(store.default_model()?.map(|model| model.name))
}

/// The bundle of a stored model; an error if it has to be exported again first.
fn usable(stored: StoredModel) -> Result<PathBuf> {
    let name = &stored.name;
    match stored.state {
        State::Ready(_) => Ok(stored.bundle),
        State::OtherFormat(found) => bail!(
            "the model '{name}' was exported by another epitome (format {found}, this one reads \
             {FORMAT}): 'epitome models update {name}' exports it again"
        ),
        State::Broken(problem) => bail!(
            "the model '{name}' is damaged ({problem}): 'epitome models update {name}' exports it \
             again"
        ),
    }
}

/// Whether a text looks like a path rather than a name.
fn is_path(text: &str) -> bool {
    let path = Path::new(text);
    path.is_absolute() || text.starts_with('.') || text.ends_with('/') || text.contains('\\')
}
