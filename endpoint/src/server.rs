//! Listening, and stopping without losing anything.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::app::{App, Models, Shutdown};
use crate::metrics::Metrics;
use crate::model::{Loader, Model, PrepareModel, summarizer};
use crate::multi_model::Registry;
use crate::routes;
use crate::settings::Settings;
#[cfg(unix)]
use crate::supervisor;

/// Threads that read and write sockets: more would only take processors from the model.
const SOCKET_THREADS: usize = 2;
/// How long a client may take for a request's head, and how long it may stay connected without a request.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// How long refused requests have to leave once the grace is over.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A pause where the system has no socket to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Why the server could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused threads, sockets or signals.
    #[error("cannot start the server: {0}")]
    System(#[from] io::Error),
}

/// Serves until the process is asked to stop, then finishes what runs.
///
/// `/ping` answers 503 until the model is loaded; a model that cannot be loaded keeps it there, with the reason.
///
/// # Errors
/// [`ServeError`] where the server cannot start. What is wrong with the model or a request is told to clients.
pub fn serve(settings: Settings, prepare: Arc<dyn PrepareModel>) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SOCKET_THREADS)
        .enable_all()
        .build()?;
    let result = runtime.block_on(run(settings, prepare));
    // Whatever is left had its time.
    runtime.shutdown_background();
    result
}

async fn run(settings: Settings, prepare: Arc<dyn PrepareModel>) -> Result<(), ServeError> {
    let mut stop = StopSignal::new()?;
    let listener = listen(settings.server.listen).await?;
    let address = listener.local_addr()?;
    let grace = settings.server.grace;
    let metrics = Arc::new(Metrics::new());
    let loader = Arc::new(Loader {
        prepare,
        scheduling: settings.scheduling.clone(),
        metrics: metrics.clone(),
        open: summarizer,
    });
    let models = match &settings.multi_model {
        Some(multi_model) => Models::Many(Registry::new(multi_model, loader)),
        None => Models::One(Model::load("model", &settings.server.model, loader)),
    };
    let (give_up, shutdown) = Shutdown::new();
    let app = Arc::new(App {
        settings,
        metrics,
        models,
        shutdown,
    });
    tracing::info!(%address, url = format!("http://{address}"), "listening");

    let connections = Connections::new(routes::router(app.clone()));
    tokio::select! {
        () = connections.accept_all(&listener) => {}
        () = stop.wait() => {}
    }
    tracing::info!("stopping: no new connections");
    // Clients that the system has let in already count as accepted.
    while let Ok(Ok((stream, _))) = timeout(Duration::ZERO, listener.accept()).await {
        connections.serve(stream);
    }
    drop(listener);
    let finished = async {
        let mut all = std::pin::pin!(connections.graceful.shutdown());
        if timeout(grace, &mut all).await.is_err() {
            tracing::warn!("some requests did not finish in time, and are refused");
            let _ = give_up.send(true);
            let _ = timeout(LAST_WORDS, &mut all).await;
        }
        let models = app.all_models();
        models.iter().for_each(|model| model.close());
        let join =
            tokio::task::spawn_blocking(move || models.iter().for_each(|model| model.join()));
        let _ = timeout(LAST_WORDS, join).await;
    };
    tokio::select! {
        () = finished => tracing::info!("stopped"),
        () = stop.wait() => tracing::warn!("stopped at once: asked twice"),
    }
    Ok(())
}

/// The address, or what a parent process listens on already.
async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    #[cfg(unix)]
    if supervisor::is_supervised() {
        return Ok(TcpListener::from_std(supervisor::inherited_listener()?)?);
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })
}

/// The open connections.
struct Connections {
    router: Router,
    http: http1::Builder,
    graceful: GracefulShutdown,
}

impl Connections {
    fn new(router: Router) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
        Self {
            router,
            http,
            graceful: GracefulShutdown::new(),
        }
    }

    async fn accept_all(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.serve(stream),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream) {
        // Streamed tokens leave at once; where that cannot be had, they leave a little later.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
        });
    }
}

/// SIGTERM, or Ctrl-C.
struct StopSignal {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignal {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    #[cfg(unix)]
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn wait(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests;
