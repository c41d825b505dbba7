//! A model: loaded in the background, with a queue and workers of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use epitome_runtime::bundle::{Bundle, Manifest};
use epitome_runtime::{GenerationParameters, ModelSettings, SessionOptions, Summarizer};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::scheduler::{Engine, Event, Health, OpenEngine, Scheduler, Work};
use crate::settings::SchedulingSettings;

/// Any error, as foreign code returns it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes a bundle of a model folder: finds the one in it, or exports the checkpoint in it.
///
/// The binary hands one in, so that this crate knows nothing of checkpoints.
pub trait PrepareModel: Send + Sync {
    /// Prepares the model in this folder, which may be read-only. May take minutes; `stop` asks it to give up.
    ///
    /// # Errors
    /// Says why there is no model to be had of the folder.
    fn prepare(&self, folder: &Path, stop: &AtomicBool) -> Result<PreparedModel, BoxError>;
}

/// A bundle that can be opened.
#[derive(Debug)]
pub struct PreparedModel {
    /// Its folder.
    pub bundle: PathBuf,
    /// A folder that is removed once the model is unloaded, where the bundle was made for this server.
    pub scratch: Option<TempDir>,
}

/// What every model is loaded with.
pub(crate) struct Loader {
    pub(crate) prepare: Arc<dyn PrepareModel>,
    pub(crate) scheduling: SchedulingSettings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) open: OpenBundle,
}

/// Opens the bundle in a folder for one worker; [`summarizer`] does.
pub(crate) type OpenBundle = fn(&Path, &SchedulingSettings) -> Result<Box<dyn Engine>, BoxError>;

/// Opens a bundle in ONNX Runtime.
pub(crate) fn summarizer(
    bundle: &Path,
    scheduling: &SchedulingSettings,
) -> Result<Box<dyn Engine>, BoxError> {
    let options = SessionOptions {
        threads: scheduling.threads_each(),
        spin: scheduling.spin,
        ..Default::default()
    };
    let mut summarizer = Summarizer::open_with(bundle, &options)?;
    summarizer.set_rows_together(scheduling.rows);
    Ok(Box::new(summarizer))
}

/// A model that is loading, loaded, or bad.
pub(crate) struct Model {
    name: String,
    folder: PathBuf,
    loaded: OnceLock<Result<Loaded, String>>,
    stop: AtomicBool,
    last_used: Mutex<Instant>,
}

struct Loaded {
    settings: ModelSettings,
    manifest: Manifest,
    scheduler: Scheduler,
}

impl Model {
    /// Starts to load the model in a folder.
    pub(crate) fn load(name: &str, folder: &Path, loader: Arc<Loader>) -> Arc<Self> {
        let model = Arc::new(Self {
            name: name.into(),
            folder: folder.into(),
            loaded: OnceLock::new(),
            stop: AtomicBool::new(false),
            last_used: Mutex::new(Instant::now()),
        });
        let loading = model.clone();
        // The process ends without waiting for it; what it holds is memory and a scratch folder.
        std::thread::spawn(move || {
            let loaded = load(&loading, &loader).map_err(|error| chain(&*error));
            if let Err(reason) = &loaded {
                tracing::error!(model = loading.name, reason, "the model cannot be loaded");
            }
            let _ = loading.loaded.set(loaded);
            if loading.stop.load(Ordering::Relaxed) {
                loading.close();
            }
        });
        model
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The folder it was loaded from.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it can be worked with.
    pub(crate) fn health(&self) -> Health {
        match self.loaded.get() {
            None => Health::Starting,
            Some(Err(reason)) => Health::Failed(reason.clone()),
            Some(Ok(loaded)) => loaded.scheduler.health(),
        }
    }

    /// Waits until it is known whether the model is good.
    pub(crate) async fn settled(&self) -> Health {
        loop {
            match self.health() {
                Health::Starting => tokio::time::sleep(Duration::from_millis(5)).await,
                settled => return settled,
            }
        }
    }

    /// Decoder rows that a text takes with these parameters; refuses those that the model cannot follow.
    pub(crate) fn rows_per_text(
        &self,
        parameters: &GenerationParameters,
    ) -> Result<usize, ApiError> {
        let config = self.ready()?.settings.configure(parameters)?;
        Ok(config.rows_per_document())
    }

    /// Hands in work.
    pub(crate) fn submit(
        &self,
        work: Vec<Work>,
    ) -> Result<Vec<UnboundedReceiver<Event>>, ApiError> {
        *self.last_used() = Instant::now();
        self.ready()?.scheduler.submit(work)
    }

    /// What the model is, once it is loaded.
    pub(crate) fn describe(&self) -> Option<(&Manifest, &ModelSettings)> {
        let loaded = self.loaded.get()?.as_ref().ok()?;
        Some((&loaded.manifest, &loaded.settings))
    }

    /// When it was last asked for something.
    pub(crate) fn idle_since(&self) -> Instant {
        *self.last_used()
    }

    /// Jobs that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.ready().map_or(0, |loaded| loaded.scheduler.waiting())
    }

    /// Takes no more work; what was taken is still done.
    pub(crate) fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Ok(loaded) = self.ready() {
            loaded.scheduler.close();
        }
    }

    /// Waits for the workers to end after [`close`](Self::close). Blocks.
    pub(crate) fn join(&self) {
        if let Ok(loaded) = self.ready() {
            loaded.scheduler.join();
        }
    }

    fn ready(&self) -> Result<&Loaded, ApiError> {
        match self.loaded.get() {
            None => Err(ApiError::NotReady("the model is being loaded".into())),
            Some(Err(reason)) => Err(ApiError::NotReady(reason.clone())),
            Some(Ok(loaded)) => Ok(loaded),
        }
    }

    fn last_used(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(model: &Model, loader: &Loader) -> Result<Loaded, BoxError> {
    let started = Instant::now();
    let prepared = loader.prepare.prepare(&model.folder, &model.stop)?;
    let bundle = Bundle::open(&prepared.bundle)?;
    let (open_bundle, scheduling) = (loader.open, loader.scheduling.clone());
    let name = model.name.clone();
    let open: Arc<OpenEngine> = Arc::new(move || {
        // All of it, so that the scratch folder stays as long as the model may be opened again.
        let prepared: &PreparedModel = &prepared;
        let engine = open_bundle(&prepared.bundle, &scheduling)?;
        let seconds = started.elapsed().as_secs_f64();
        let threads = scheduling.threads_each().get();
        tracing::info!(model = name, seconds, threads, "a worker is ready");
        Ok(engine)
    });
    Ok(Loaded {
        settings: ModelSettings::of(&bundle)?,
        manifest: bundle.manifest().clone(),
        scheduler: Scheduler::start(&loader.scheduling, loader.metrics.clone(), open),
    })
}

/// An error with its causes, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_message = cause.to_string();
        if !message.contains(&cause_message) {
            message = format!("{message}: {cause_message}");
        }
        source = cause.source();
    }
    message
}
