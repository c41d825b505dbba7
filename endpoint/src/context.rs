//! State that every request shares: settings, metrics, the memory in flight, and the shutdown.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::error::ApiError;
use crate::in_flight::Budget;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// State that requests share.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    /// Memory budget of all requests.
    pub(crate) in_flight: Arc<Budget>,
    pub(crate) shutdown: Shutdown,
}

impl Context {
    /// Deadline of a request that arrives now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.scheduling.deadline
    }

    /// Waits for a future until the deadline or the end of the server.
    pub(crate) async fn before<T>(
        &self,
        deadline: Instant,
        future: impl Future<Output = T>,
    ) -> Result<T, ApiError> {
        let time = deadline.saturating_duration_since(Instant::now());
        tokio::select! {
            result = future => Ok(result),
            () = tokio::time::sleep(time) => Err(ApiError::Deadline(time)),
            () = self.shutdown.given_up() => Err(ApiError::ShuttingDown),
        }
    }
}

/// Tells running requests when the grace period of the server is over.
#[derive(Clone)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Creates a switch, and a receiver of it.
    pub(crate) fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until all requests must end.
    pub(crate) async fn given_up(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|given_up| *given_up).await.is_err() {
            // The switch is gone, so it can never be set.
            std::future::pending::<()>().await;
        }
    }
}
