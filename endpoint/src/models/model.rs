//! A model that is loaded in the background, with its own queue and workers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use epitome_runtime::batching::Demand;
use epitome_runtime::bundle::{Bundle, Manifest};
use epitome_runtime::concurrency::Concurrency;
use epitome_runtime::tokenizer::Tokenizer;
use epitome_runtime::{GenerationParameters, ModelSettings};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use super::check::{check, check_slowly};
use super::files::Files;
use super::prepare::{BoxError, Loader, PreparedModel};
use crate::error::ApiError;
use crate::scheduler::{Event, Health, OpenEngine, Request, Scheduler, panic_message};
use crate::settings::Check;

/// Time between two checks of the files of a model that failed to load.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A model that is loading, loaded, or bad.
pub(crate) struct Model {
    name: String,
    folder: PathBuf,
    status: Mutex<Status>,
    /// Notified of each change of the health.
    changed: Arc<Notify>,
    stop: AtomicBool,
    last_used: Mutex<Instant>,
}

#[derive(Clone)]
enum Status {
    Loading,
    Failed(String),
    Loaded(Arc<Loaded>),
}

/// State of a loaded model.
pub(crate) struct Loaded {
    pub(crate) settings: ModelSettings,
    pub(crate) manifest: Manifest,
    /// Set by the first worker, and shared with all.
    tokenizer: Arc<OnceLock<Tokenizer>>,
    scheduler: Scheduler,
}

impl Model {
    /// Starts to load the model in a folder. If it cannot be loaded, tries again when its files
    /// change.
    pub(crate) fn load(name: &str, folder: &Path, loader: Arc<Loader>) -> Arc<Self> {
        let model = Arc::new(Self {
            name: name.into(),
            folder: folder.into(),
            status: Mutex::new(Status::Loading),
            changed: Arc::default(),
            stop: AtomicBool::new(false),
            last_used: Mutex::new(Instant::now()),
        });
        let loading = model.clone();
        // The process ends without waiting for this thread, which holds only memory and a scratch
        // folder.
        let thread = std::thread::Builder::new().name("loader".into());
        if let Err(error) = thread.spawn(move || loading.keep_loaded(&loader)) {
            model.fail(format!("the system starts no thread to load the model: {error}"));
        }
        model
    }

    /// Name of the model.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Folder that the model is loaded from.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the model can be used.
    pub(crate) fn health(&self) -> Health {
        match &*self.status() {
            Status::Loading => Health::Starting,
            Status::Failed(reason) => Health::Failed(reason.clone()),
            Status::Loaded(loaded) => loaded.scheduler.health(),
        }
    }

    /// Waits until the model is loaded, or has failed to load.
    pub(crate) async fn settled(&self) -> Health {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on every change is noticed.
            changed.as_mut().enable();
            match self.health() {
                Health::Starting => changed.await,
                settled => return settled,
            }
        }
    }

    /// The model, as soon as it is loaded.
    pub(crate) async fn loaded(&self) -> Result<Arc<Loaded>, ApiError> {
        match self.settled().await {
            Health::Failed(reason) => Err(ApiError::NotReady(reason)),
            Health::Ready | Health::Starting => self.describe().ok_or_else(being_loaded),
        }
    }

    /// Adds a request to the queue.
    pub(crate) fn submit(&self, request: Request) -> Result<UnboundedReceiver<Event>, ApiError> {
        *self.last_used() = Instant::now();
        match &*self.status() {
            Status::Loading => Err(being_loaded()),
            Status::Failed(reason) => Err(ApiError::NotReady(reason.clone())),
            Status::Loaded(loaded) => loaded.scheduler.submit(request),
        }
    }

    /// The loaded model, if loading has succeeded.
    pub(crate) fn describe(&self) -> Option<Arc<Loaded>> {
        match &*self.status() {
            Status::Loaded(loaded) => Some(loaded.clone()),
            Status::Loading | Status::Failed(_) => None,
        }
    }

    /// Time of the last request.
    pub(crate) fn idle_since(&self) -> Instant {
        *self.last_used()
    }

    /// Number of waiting requests.
    pub(crate) fn waiting(&self) -> usize {
        self.describe().map_or(0, |loaded| loaded.scheduler.waiting())
    }

    /// Refuses new requests. Accepted requests are still answered.
    pub(crate) fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(loaded) = self.describe() {
            loaded.scheduler.close();
        }
    }

    /// Waits for the workers to end after [`close`](Self::close). Blocks.
    pub(crate) fn join(&self) {
        if let Some(loaded) = self.describe() {
            loaded.scheduler.join();
        }
    }

    /// Loads the model. If that fails, loads it again when its files change. Returns once the model
    /// is loaded or closed.
    fn keep_loaded(&self, loader: &Loader) {
        loop {
            let files = Files::of(&self.folder);
            let attempt = catch_unwind(AssertUnwindSafe(|| self.attempt(loader)));
            let reason = match attempt {
                Ok(Ok(())) => return,
                Ok(Err(reason)) => reason,
                Err(panic) => format!("loading the model failed: {}", panic_message(&*panic)),
            };
            if self.is_stopped() {
                return self.fail("the model was unloaded".into());
            }
            tracing::error!(model = self.name, reason, "the model cannot be used");
            self.fail(reason);
            while Files::of(&self.folder) == files {
                if self.is_stopped() {
                    return;
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            tracing::info!(model = self.name, "its files have changed: loading it again");
            self.set(Status::Loading);
        }
    }

    /// Loads the model once, and checks its files.
    fn attempt(&self, loader: &Loader) -> Result<(), String> {
        let started = Instant::now();
        let prepared = loader.prepare.prepare(&self.folder, &self.stop);
        let prepared = prepared.map_err(|error| chain(&*error))?;
        let bundle = Bundle::open(&prepared.bundle).map_err(|error| chain(&error))?;
        let was_made_here = prepared.scratch.is_some();
        if loader.check == Check::First && !was_made_here {
            check(&bundle)?;
        }
        let loaded =
            self.start(prepared, &bundle, loader, started).map_err(|error| chain(&*error))?;
        self.set(Status::Loaded(Arc::new(loaded)));
        if self.is_stopped() {
            self.close();
        } else if loader.check == Check::Background && !was_made_here {
            check_slowly(&bundle, &self.stop)?;
        }
        Ok(())
    }

    fn start(
        &self,
        prepared: PreparedModel,
        bundle: &Bundle,
        loader: &Loader,
        started: Instant,
    ) -> Result<Loaded, BoxError> {
        let (open_bundle, scheduling) = (loader.open, loader.scheduling.clone());
        let Concurrency { workers, threads } = scheduling.concurrency(bundle.manifest());
        let name = self.name.clone();
        let tokenizer = Arc::new(OnceLock::new());
        let brought = tokenizer.clone();
        let open: Arc<OpenEngine> = Arc::new(move || {
            // Borrows the whole value, so that the scratch folder stays as long as the model may be
            // opened again.
            let prepared: &PreparedModel = &prepared;
            let engine = open_bundle(&prepared.bundle, &scheduling, threads)?;
            if let Some(tokenizer) = engine.tokenizer() {
                brought.get_or_init(|| tokenizer.clone());
            }
            let seconds = started.elapsed().as_secs_f64();
            let threads = threads.get();
            tracing::info!(model = name, seconds, threads, "a worker is ready");
            Ok(engine)
        });
        let metrics = loader.metrics.clone();
        Ok(Loaded {
            settings: ModelSettings::of(bundle)?,
            manifest: bundle.manifest().clone(),
            tokenizer,
            scheduler: Scheduler::start(
                &loader.scheduling,
                workers,
                metrics,
                self.changed.clone(),
                open,
            )?,
        })
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn fail(&self, reason: String) {
        self.set(Status::Failed(reason));
    }

    fn set(&self, status: Status) {
        // The replaced scheduler closes its queue when the last request releases it.
        let replaced = std::mem::replace(&mut *self.status(), status);
        if let Status::Loaded(loaded) = replaced {
            loaded.scheduler.close();
        }
        self.changed.notify_waiters();
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_used(&self) -> MutexGuard<'_, Instant> {
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded {
    /// The tokenizer, once a worker has opened the model.
    pub(crate) fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.get()
    }

    /// The first token of a text within a summary.
    pub(crate) fn first_token(&self, text: &str) -> Result<Option<u32>, ApiError> {
        let Some(tokenizer) = self.tokenizer() else {
            return Err(being_loaded());
        };
        Ok(tokenizer.first_target_token(text)?)
    }

    /// The demand of a document with these parameters, without its tokens.
    ///
    /// # Errors
    /// Refuses parameters that the model cannot follow.
    pub(crate) fn demand(&self, parameters: &GenerationParameters) -> Result<Demand, ApiError> {
        let config = self.settings.configure(parameters)?;
        Ok(Demand::new(&config, 0))
    }
}

fn being_loaded() -> ApiError {
    ApiError::NotReady("the model is being loaded".into())
}

/// An error and its causes, in one line.
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
