//! What every request handler sees.

use std::sync::Arc;
use std::time::Instant;

use hyper::header::{HeaderMap, HeaderName};
use tokio::sync::watch;

use crate::error::ApiError;
use crate::in_flight::Budget;
use crate::metrics::Metrics;
use crate::models::{Model, Registry};
use crate::off_sockets::{self, Stop};
use crate::scheduler::Health;
use crate::settings::Settings;

/// Names the model of a multi-model endpoint.
const TARGET_MODEL: HeaderName = HeaderName::from_static("x-amzn-sagemaker-target-model");

/// The server's state.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) models: Models,
    /// Memory that requests take together.
    pub(crate) in_flight: Arc<Budget>,
    pub(crate) shutdown: Shutdown,
}

/// One model, or many.
pub(crate) enum Models {
    /// The one in the model folder.
    One(Arc<Model>),
    /// Those that were loaded through `/models`.
    Many(Arc<Registry>),
}

impl App {
    /// The model that a plain invocation is for.
    pub(crate) async fn target(&self, headers: &HeaderMap) -> Result<Arc<Model>, ApiError> {
        let registry = match &self.models {
            Models::One(model) => return Ok(model.clone()),
            Models::Many(registry) => registry,
        };
        let target = headers.get(TARGET_MODEL).and_then(|name| name.to_str().ok());
        let Some(name) = target.map(str::to_owned) else {
            return Err(ApiError::BadRequest(
                "this server has many models: POST /models/NAME/invoke, or name one in \
                 X-Amzn-SageMaker-Target-Model"
                    .into(),
            ));
        };
        let (loading, deadline) = (registry.clone(), self.deadline());
        let find = move |_: &Stop| loading.find_or_load(&name);
        let model = off_sockets::run(0, deadline, find).await?;
        self.before(deadline, registry.settled(model)).await?
    }

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

    /// Whether the server can answer.
    pub(crate) fn health(&self) -> Health {
        match &self.models {
            Models::One(model) => model.health(),
            // Models come and go; the server itself is ready for them.
            Models::Many(_) => Health::Ready,
        }
    }

    /// Every model that is loaded or being loaded.
    pub(crate) fn all_models(&self) -> Vec<Arc<Model>> {
        match &self.models {
            Models::One(model) => vec![model.clone()],
            Models::Many(registry) => registry.all(),
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
