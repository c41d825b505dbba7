//! The models of this process: one, or those of a multi-model endpoint.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use epitome_runtime::Reading;
use hyper::Request;
use hyper::header::HeaderMap;
use serde_json::{Map, Value, json};

use crate::backend::{Backend, BoxFuture, TokenCount, target};
use crate::blocking_pool::{self, Stop};
use crate::context::Context;
use crate::contract::Style;
use crate::error::ApiError;
use crate::invoke::{Incoming, complete, invoke};
use crate::models::{Model, Registry};
use crate::scheduler::Health;

/// Largest number of tokens that are counted in a text.
const MAX_COUNTED: usize = 1 << 18;

/// The backend of the models of this process.
pub(crate) struct LocalModels {
    context: Arc<Context>,
    models: Models,
}

/// One model, or many.
pub(crate) enum Models {
    /// The model in the model folder.
    One(Arc<Model>),
    /// The models that were loaded through `/models`.
    Many(Arc<Registry>),
}

impl LocalModels {
    pub(crate) fn new(context: Arc<Context>, models: Models) -> Self {
        Self { context, models }
    }

    /// All models that are loaded or loading.
    fn all(&self) -> Vec<Arc<Model>> {
        match &self.models {
            Models::One(model) => vec![model.clone()],
            Models::Many(registry) => registry.all(),
        }
    }

    /// The model of a request.
    async fn target(&self, headers: &HeaderMap) -> Result<Arc<Model>, ApiError> {
        let registry = match &self.models {
            Models::One(model) => return Ok(model.clone()),
            Models::Many(registry) => registry,
        };
        match target(headers) {
            Some(name) => self.named(registry, name).await,
            None => Err(ApiError::BadRequest(
                "this server has many models: POST /models/NAME/invoke, or name one in \
                 X-Amzn-SageMaker-Target-Model"
                    .into(),
            )),
        }
    }

    async fn named(&self, registry: &Arc<Registry>, name: &str) -> Result<Arc<Model>, ApiError> {
        let name = name.to_owned();
        let (loading, deadline) = (registry.clone(), self.context.deadline());
        let find = move |_: &Stop| loading.find_or_load(&name);
        let model = blocking_pool::run(0, deadline, find).await?;
        self.context.before(deadline, registry.settled(model)).await?
    }
}

impl Backend for LocalModels {
    fn health(&self) -> Health {
        match &self.models {
            Models::One(model) => model.health(),
            // The server is ready even without models.
            Models::Many(_) => Health::Ready,
        }
    }

    fn describe(&self) -> BoxFuture<'_, Map<String, Value>> {
        let models: Vec<Value> = self.all().iter().map(|model| describe(model)).collect();
        let mut fields = Map::new();
        fields.insert("backend".into(), "local".into());
        fields.insert("models".into(), models.into());
        let many = matches!(self.models, Models::Many(_));
        fields.insert("named".into(), many.into());
        let readings = Reading::ALL.map(Reading::name);
        fields.insert("long".into(), readings.as_slice().into());
        Box::pin(std::future::ready(Ok(fields)))
    }

    fn invoke(&self, request: Request<Body>) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            let model = self.target(request.headers()).await?;
            invoke(&self.context, &model, request).await
        })
    }

    fn complete(&self, style: Style, headers: HeaderMap, body: Body) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            let mut incoming = Incoming::read(&self.context, headers, body).await?;
            let (model, name) = match &self.models {
                // Clients of OpenAI name a model, but there is only one.
                Models::One(model) => (model.clone(), own_name(model)),
                Models::Many(registry) => {
                    let name = incoming.model_name(&self.context).await?;
                    let name = name.ok_or_else(|| {
                        ApiError::BadRequest("the body is not JSON, or names no `model`".into())
                    })?;
                    (self.named(registry, &name).await?, name)
                }
            };
            complete(&self.context, &model, name, style, incoming).await
        })
    }

    fn model_names(&self) -> Vec<String> {
        match &self.models {
            Models::One(model) => vec![own_name(model)],
            Models::Many(registry) => {
                registry.all().iter().map(|model| model.name().to_owned()).collect()
            }
        }
    }

    fn count_tokens(
        &self,
        headers: HeaderMap,
        text: String,
        deadline: Instant,
    ) -> BoxFuture<'_, Option<TokenCount>> {
        Box::pin(async move {
            let model = self.target(&headers).await?;
            let loaded = self.context.before(deadline, model.loaded()).await??;
            let count = move |stop: &Stop| {
                let Some(tokenizer) = loaded.tokenizer() else {
                    return Ok(None);
                };
                let mut given_up = || stop.check().is_err();
                let (tokens, more) = tokenizer.count_source(&text, MAX_COUNTED, &mut given_up)?;
                stop.check()?;
                let window = loaded.manifest.max_source_tokens;
                Ok(Some(TokenCount { tokens, more, window }))
            };
            // Tokenizing is slow, so counts run one after another.
            blocking_pool::run(usize::MAX, deadline, count).await
        })
    }

    fn waiting(&self) -> usize {
        self.all().iter().map(|model| model.waiting()).sum()
    }

    fn close(&self) {
        self.all().iter().for_each(|model| model.close());
    }

    fn join(&self) {
        self.all().iter().for_each(|model| model.join());
    }
}

/// The name of the checkpoint, once the model is loaded.
fn own_name(model: &Model) -> String {
    let loaded = model.describe();
    loaded.map_or_else(|| model.name().to_owned(), |loaded| loaded.manifest.source.name.clone())
}

/// Description of a model for the page.
fn describe(model: &Model) -> Value {
    match model.describe() {
        None => json!({"name": model.name(), "ready": false}),
        Some(loaded) => json!({
            "name": model.name(),
            "folder": model.folder(),
            "ready": model.health() == Health::Ready,
            "source": loaded.manifest.source.name,
            "architecture": loaded.manifest.architecture,
            "precision": loaded.manifest.precision.name(),
            "max_source_tokens": loaded.manifest.max_source_tokens,
            "generation_defaults": loaded.settings.defaults(),
        }),
    }
}
