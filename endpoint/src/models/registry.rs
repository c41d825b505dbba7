//! Multi-model endpoints: models that come and go through `/models`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::folders::ModelFolders;
use super::memory;
use super::model::Model;
use super::prepare::Loader;
use crate::error::ApiError;
use crate::scheduler::Health;
use crate::settings::MultiModelSettings;

/// Bytes of memory for each byte of a model's files: the weights, and their copy in the layout that
/// multiplies fastest.
const MEMORY_PER_BYTE: u64 = 2;

/// The models.
pub(crate) struct Registry {
    loader: Arc<Loader>,
    folders: ModelFolders,
    /// Bytes that all models may take together.
    budget: u64,
    models: Mutex<BTreeMap<String, Entry>>,
}

struct Entry {
    model: Arc<Model>,
    bytes: u64,
}

impl Registry {
    pub(crate) fn new(
        settings: &MultiModelSettings,
        folders: ModelFolders,
        loader: Arc<Loader>,
    ) -> Self {
        Self {
            loader,
            folders,
            budget: settings.memory.unwrap_or_else(memory::available),
            models: Mutex::default(),
        }
    }

    /// Starts to load the model at a URL. Models that were not used for longest make room where
    /// needed. Blocks while the folder is read.
    pub(crate) fn load(&self, name: &str, url: &str) -> Result<Arc<Model>, ApiError> {
        if name.trim().is_empty() {
            return Err(ApiError::BadRequest("`model_name` is empty".into()));
        }
        self.admit(name, &self.folders.of_url(url)?)
    }

    /// A loaded model, or one of the folder that SageMaker would load by itself. Blocks while the
    /// folder is read.
    pub(crate) fn find_or_load(&self, name: &str) -> Result<Arc<Model>, ApiError> {
        if let Ok(model) = self.find(name) {
            return Ok(model);
        }
        let (name, folder) =
            self.folders.of_name(name).ok_or_else(|| ApiError::NoSuchModel(name.into()))?;
        match self.admit(&name, &folder) {
            // It is loaded already, or another request was faster.
            Err(ApiError::ModelExists(_)) => self.find(&name),
            result => result,
        }
    }

    /// Waits until a model can be used. One that cannot be loaded leaves.
    pub(crate) async fn settled(&self, model: Arc<Model>) -> Result<Arc<Model>, ApiError> {
        let Health::Failed(reason) = model.settled().await else {
            return Ok(model);
        };
        let mut models = self.models();
        // It may be another of that name by now.
        let entry = models.get(model.name());
        if entry.is_some_and(|entry| Arc::ptr_eq(&entry.model, &model)) {
            models.remove(model.name());
        }
        drop(models);
        model.close();
        Err(ApiError::ModelFailed(reason))
    }

    /// Starts to load a model where it fits into memory.
    fn admit(&self, name: &str, folder: &Path) -> Result<Arc<Model>, ApiError> {
        let size = folder_size(folder).map_err(|error| {
            ApiError::BadRequest(format!("cannot read '{}': {error}", folder.display()))
        })?;
        let needed = size.saturating_mul(MEMORY_PER_BYTE);
        let mut models = self.models();
        if models.contains_key(name) {
            return Err(ApiError::ModelExists(name.into()));
        }
        loop {
            let used: u64 = models.values().map(|entry| entry.bytes).sum();
            let free = self.budget.saturating_sub(used);
            if needed <= free {
                break;
            }
            let idle = models
                .iter()
                .filter(|(_, entry)| entry.is_idle())
                .min_by_key(|(_, entry)| entry.model.idle_since())
                .map(|(name, _)| name.clone());
            // Nothing is unloaded for a model that would not fit anyway.
            let Some(idle) = idle.filter(|_| needed <= self.budget) else {
                return Err(ApiError::OutOfMemory {
                    name: name.into(),
                    needed,
                    free,
                    budget: self.budget,
                });
            };
            if let Some(entry) = models.remove(&idle) {
                tracing::info!(model = idle, "unloaded to make room");
                entry.model.close();
            }
        }
        let model = Model::load(name, folder, self.loader.clone());
        let entry = Entry { model: model.clone(), bytes: needed };
        models.insert(name.to_owned(), entry);
        Ok(model)
    }

    /// A loaded model.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Model>, ApiError> {
        let models = self.models();
        let entry = models.get(name);
        entry.map(|entry| entry.model.clone()).ok_or_else(|| ApiError::NoSuchModel(name.into()))
    }

    /// Unloads a model; requests that it took are still answered.
    pub(crate) fn unload(&self, name: &str) -> Result<(), ApiError> {
        let entry = self.models().remove(name);
        entry.map(|entry| entry.model.close()).ok_or_else(|| ApiError::NoSuchModel(name.into()))
    }

    /// All models, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Model>> {
        self.models().values().map(|entry| entry.model.clone()).collect()
    }

    fn models(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Whether it can be unloaded: loaded, and nobody waits for it.
    fn is_idle(&self) -> bool {
        self.model.health() != Health::Starting && self.model.waiting() == 0
    }
}

fn folder_size(folder: &Path) -> std::io::Result<u64> {
    fs::read_dir(folder)?.try_fold(0, |sum, entry| {
        let metadata = entry?.metadata()?;
        Ok(sum + if metadata.is_file() { metadata.len() } else { 0 })
    })
}
