//! Starts the server, and stops it without losing requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use epitome_documents::isolated::Extractor;
use epitome_runtime::scratch::{self, BundleFolder};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::app::App;
use crate::backend::Backend;
use crate::connections::Connections;
use crate::context::{Context, Shutdown};
use crate::deployed::{Deployed, Endpoints};
use crate::in_flight::Budget;
use crate::listener::{ServeError, listen};
use crate::local_models::{LocalModels, Models};
use crate::metrics::Metrics;
use crate::models::{
    Loader, Model, ModelFolders, OpenBundle, PrepareModel, Registry, memory, summarizer,
};
use crate::objects::{AsyncCalls, Objects};
use crate::settings::{ServerSettings, Settings};
use crate::signals::StopSignal;
use crate::{allocator, blocking_pool, documents, routes};

/// Threads for sockets. More would only take processors from the model.
const SOCKET_THREADS: usize = 2;
/// Time for the answers to refused requests after the grace period.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// Divisor for the request memory: requests may use this fraction of the memory for models. On
/// small machines that is one body of the largest size at a time, since most bodies are read and
/// answered quickly.
const IN_FLIGHT_SHARE: u64 = 256;

/// The source of summaries.
pub enum Source {
    /// The model of the settings, in this process.
    Model(Arc<dyn PrepareModel>),
    /// Other endpoints.
    Endpoints(Arc<dyn Endpoints>),
}

/// A server that is ready to run.
pub struct Server {
    settings: Settings,
    source: Source,
    documents: Option<Extractor>,
    objects: Option<Arc<dyn Objects>>,
    listening: Box<dyn FnOnce(SocketAddr)>,
}

impl Server {
    /// A server with these settings.
    pub fn new(settings: Settings, source: Source) -> Self {
        Self { settings, source, documents: None, objects: None, listening: Box::new(|_| {}) }
    }

    /// Enables the reading of files that the page sends.
    #[must_use]
    pub fn with_documents(mut self, extractor: Extractor) -> Self {
        self.documents = Some(documents::bounded(extractor));
        self
    }

    /// Enables asynchronous calls of local mode, whose inputs and outputs are objects on S3.
    #[must_use]
    pub fn with_objects(mut self, objects: Arc<dyn Objects>) -> Self {
        self.objects = Some(objects);
        self
    }

    /// Calls `listening` with the address as soon as the server listens there.
    #[must_use]
    pub fn when_listening(mut self, listening: impl FnOnce(SocketAddr) + 'static) -> Self {
        self.listening = Box::new(listening);
        self
    }

    /// Serves until the process is asked to stop, then finishes running requests.
    ///
    /// `/ping` answers 503 until the model is loaded. If loading fails, it goes on with 503 and the
    /// reason, until the model's files change.
    ///
    /// # Errors
    /// [`ServeError`] if the server cannot start. Errors of the model or of a request are sent to
    /// clients.
    pub fn run(self) -> Result<(), ServeError> {
        allocator::give_memory_back();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(SOCKET_THREADS)
            .max_blocking_threads(blocking_pool::THREADS)
            .enable_all()
            .build()?;
        let result = runtime.block_on(run(self));
        // Remaining work has had its time.
        runtime.shutdown_background();
        result
    }
}

/// Removes temporary folders of killed processes.
fn remove_abandoned() {
    for (folder, gone) in BundleFolder::remove_abandoned() {
        match gone {
            Ok(()) => {
                tracing::info!(folder = %folder.display(), "removed what a killed process left");
            }
            Err(error) => tracing::warn!(folder = %folder.display(), %error, "cannot be removed"),
        }
    }
}

async fn run(server: Server) -> Result<(), ServeError> {
    let Server { settings, source, documents, objects, listening } = server;
    let mut stop = StopSignal::new()?;
    let listener = TcpListener::from_std(listen(settings.server.listen)?)?;
    let address = listener.local_addr()?;
    say_who_may_ask(&settings.server);
    std::thread::spawn(remove_abandoned);
    let (give_up, shutdown) = Shutdown::new();
    let mut app = app(settings, source, documents, shutdown);
    app.async_calls = objects.map(AsyncCalls::new);
    let app = Arc::new(app);
    tracing::info!(%address, url = format!("http://{address}"), "listening");
    listening(address);

    let connections = Connections::new(routes::router(app.clone()));
    tokio::select! {
        () = connections.accept_all(&listener) => {}
        () = stop.wait() => {}
    }
    tracing::info!("stopping: no new connections");
    let grace = app.context.settings.server.grace;
    end_after(grace + 3 * REFUSAL_TIME);
    // Connections in the backlog of the system also count as accepted.
    while let Ok(Ok((stream, _))) = timeout(Duration::ZERO, listener.accept()).await {
        connections.serve(stream);
    }
    drop(listener);
    let finished = async {
        let all = async {
            connections.shut_down().await;
            if let Some(calls) = &app.async_calls {
                calls.answered().await;
            }
        };
        let mut all = std::pin::pin!(all);
        if timeout(grace, &mut all).await.is_err() {
            tracing::warn!("some requests did not finish in time, and are refused");
            let _ = give_up.send(true);
            let _ = timeout(REFUSAL_TIME, &mut all).await;
        }
        let backend = app.backend.clone();
        backend.close();
        let join = tokio::task::spawn_blocking(move || backend.join());
        let _ = timeout(REFUSAL_TIME, join).await;
    };
    tokio::select! {
        () = finished => tracing::info!("stopped"),
        () = stop.wait() => tracing::warn!("stopped at once: asked twice"),
    }
    Ok(())
}

/// The state of the server. Its model starts to load.
fn app(
    settings: Settings,
    source: Source,
    documents: Option<Extractor>,
    shutdown: Shutdown,
) -> App {
    let in_flight = settings.contract.in_flight.unwrap_or_else(|| {
        usize::try_from(memory::available() / IN_FLIGHT_SHARE).unwrap_or(usize::MAX)
    });
    let max_body = settings.contract.max_body;
    // A transform job sends at most this number of requests at a time, and does not repeat refused
    // ones.
    let bodies = match settings.batch_transform.is_job {
        true => settings.batch_transform.concurrent(),
        false => 1,
    };
    let context = Arc::new(Context {
        in_flight: Budget::new(in_flight, max_body.saturating_mul(bodies)),
        settings,
        metrics: Arc::new(Metrics::new()),
        shutdown,
    });
    let mut registry = None;
    let backend: Arc<dyn Backend> = match source {
        Source::Endpoints(endpoints) => Arc::new(Deployed::new(context.clone(), endpoints)),
        Source::Model(prepare) => {
            let models = models(&context, prepare, summarizer);
            if let Models::Many(many) = &models {
                registry = Some(many.clone());
            }
            Arc::new(LocalModels::new(context.clone(), models))
        }
    };
    App { context, backend, registry, async_calls: None, documents }
}

/// Loads the models of the settings.
fn models(context: &Context, prepare: Arc<dyn PrepareModel>, open: OpenBundle) -> Models {
    let settings = &context.settings;
    let folder = &settings.server.model;
    let loader = Arc::new(Loader {
        prepare,
        scheduling: settings.scheduling.clone(),
        check: settings.server.check,
        metrics: context.metrics.clone(),
        open,
    });
    match &settings.multi_model {
        Some(multi_model) => {
            let folders = ModelFolders::new(folder);
            Models::Many(Arc::new(Registry::new(multi_model, folders, loader)))
        }
        None => Models::One(Model::load("model", folder, loader)),
    }
}

/// Warns if the server can be reached from other machines without a key.
fn say_who_may_ask(server: &ServerSettings) {
    let access = &server.access;
    if !server.listen.ip().is_loopback() && access.key.is_none() && !access.authenticated_upstream {
        tracing::warn!(
            "everyone who reaches this address can use the model and read the metrics: give \
             --api-key, or --host 127.0.0.1"
        );
    }
}

/// Ends the process after this time, even if something blocks.
fn end_after(time: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(time);
        tracing::error!("something keeps the process, and it is ended");
        scratch::exit_at_once(1);
    });
}

#[cfg(test)]
mod backend_tests;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
