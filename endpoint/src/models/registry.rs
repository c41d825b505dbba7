//! Multi-model endpoints: models that are loaded and unloaded through `/models`.

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

/// Memory in bytes per byte of a model's files: the weights, and their copy in the packed layout.
const MEMORY_PER_BYTE: u64 = 2;

/// All models.
pub(crate) struct Registry {
    loader: Arc<Loader>,
    folders: ModelFolders,
    /// Memory limit of all models together, in bytes.
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

    /// Starts to load the model at a URL. Unloads the least recently used models if memory is
    /// needed. Blocks while the folder is read.
    pub(crate) fn load(&self, name: &str, url: &str) -> Result<Arc<Model>, ApiError> {
        if name.trim().is_empty() {
            return Err(ApiError::BadRequest("`model_name` is empty".into()));
        }
        self.admit(name, &self.folders.of_url(url)?)
    }

    /// A loaded model, or one in the folder that SageMaker would load by itself. Blocks while the
    /// folder is read.
    pub(crate) fn find_or_load(&self, name: &str) -> Result<Arc<Model>, ApiError> {
        if let Ok(model) = self.find(name) {
            return Ok(model);
        }
        let (name, folder) =
            self.folders.of_name(name).ok_or_else(|| ApiError::NoSuchModel(name.into()))?;
        match self.admit(&name, &folder) {
            // The model is loaded already, or another request loaded it first.
            Err(ApiError::ModelExists(_)) => self.find(&name),
            result => result,
        }
    }

    /// Waits until a model can be used. Removes a model that cannot be loaded.
    pub(crate) async fn settled(&self, model: Arc<Model>) -> Result<Arc<Model>, ApiError> {
        let Health::Failed(reason) = model.settled().await else {
            return Ok(model);
        };
        let mut models = self.models();
        // The name may belong to another model by now.
        let entry = models.get(model.name());
        if entry.is_some_and(|entry| Arc::ptr_eq(&entry.model, &model)) {
            models.remove(model.name());
        }
        drop(models);
        model.close();
        Err(ApiError::ModelFailed(reason))
    }

    /// Starts to load a model if it fits into memory.
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
            // Unloads nothing if the new model would not fit anyway.
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

    /// Unloads a model. Requests that it has accepted are still answered.
    pub(crate) fn unload(&self, name: &str) -> Result<(), ApiError> {
        let entry = self.models().remove(name);
        entry.map(|entry| entry.model.close()).ok_or_else(|| ApiError::NoSuchModel(name.into()))
    }

    /// All models, sorted by name.
    pub(crate) fn all(&self) -> Vec<Arc<Model>> {
        self.models().values().map(|entry| entry.model.clone()).collect()
    }

    fn models(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Whether the model can be unloaded: it is loaded, and no request waits for it.
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
