//! What every request shares: settings, metrics, the memory in flight, and the end of the server.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::error::ApiError;
use crate::in_flight::Budget;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// What requests share.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    /// Memory that requests take together.
    pub(crate) in_flight: Arc<Budget>,
    pub(crate) shutdown: Shutdown,
}

impl Context {
    /// When a request that comes now must be answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.scheduling.deadline
    }

    /// Waits no longer than the deadline, or than the server lives.
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

/// Tells requests that are still under way when the server's time is over.
#[derive(Clone)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A switch, and those who look at it.
    pub(crate) fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits until no request may go on.
    pub(crate) async fn given_up(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|given_up| *given_up).await.is_err() {
            // Nobody can switch any more, so it never happens.
            std::future::pending::<()>().await;
        }
    }
}
