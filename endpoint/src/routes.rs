//! The routes of the server.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{Method, Request, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::blocking_pool::{self, Stop};
use crate::error::ApiError;
use crate::invoke::invoke;
use crate::models::{Model, Registry};
use crate::path_name::Name;
use crate::scheduler::Health;
use crate::{access_log, body, chat, documents, guard, local_mode, openapi, page, tokens};

/// All routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/ping", get(ping))
        .route("/invocations", post(invocations))
        // Clients of the hub send requests to the URL of an endpoint itself.
        .route("/", post(invocations))
        .route("/execution-parameters", get(execution_parameters))
        .route("/v1/chat/completions", post(chat::chat))
        .route("/v1/completions", post(chat::text))
        .route("/v1/models", get(chat::models))
        .route("/v1/models/{name}", get(chat::show_model))
        .route("/openapi.json", get(openapi::description))
        .route("/docs", get(openapi::page))
        .route("/health/live", get(live))
        .route("/health/ready", get(ping))
        .route("/endpoints/{name}/invocations", post(local_mode::invocations))
        .route("/endpoints/{name}/async-invocations", post(local_mode::asynchronous::invocations))
        .route(
            "/endpoints/{name}/invocations-response-stream",
            post(local_mode::invocations_response_stream),
        )
        .route("/metrics", get(metrics))
        .route("/info", get(info))
        .route("/tokens", post(tokens::count))
        .merge(page::router());
    if app.documents.is_some() {
        router = router.route("/documents", post(documents::read));
    }
    if app.registry.is_some() {
        router = router
            .route("/models", get(list_models).post(load_model))
            .route("/models/{name}", get(show_model).delete(unload_model))
            .route("/models/{name}/invoke", post(invoke_model));
    }
    router
        .fallback(|uri: Uri| async move { ApiError::NoSuchPath(uri.path().into()) })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            ApiError::MethodNotAllowed { method: method.to_string(), path: uri.path().into() }
        })
        .layer(middleware::from_fn_with_state(app.context.clone(), guard::check))
        .layer(middleware::from_fn_with_state(app.context.clone(), access_log::follow))
        .with_state(app)
}

type Json = ([(HeaderName, &'static str); 1], String);

fn json_body(value: &Value) -> Json {
    ([(CONTENT_TYPE, "application/json")], value.to_string())
}

/// Answers whether the server can work, without waiting.
async fn ping(State(app): State<Arc<App>>) -> Response {
    match app.backend.health() {
        Health::Ready => json_body(&json!({"status": "Healthy"})).into_response(),
        Health::Starting => ApiError::NotReady("the model is being loaded".into()).into_response(),
        Health::Failed(reason) => ApiError::NotReady(reason).into_response(),
    }
}

/// Answers whether the process runs.
async fn live() -> Json {
    json_body(&json!({"status": "Live"}))
}

async fn invocations(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    app.backend.invoke(request).await
}

async fn execution_parameters(State(app): State<Arc<App>>) -> Json {
    let settings = &app.context.settings;
    let transform = &settings.batch_transform;
    json_body(&json!({
        "MaxConcurrentTransforms": transform.concurrent(),
        "BatchStrategy": transform.strategy,
        "MaxPayloadInMB": transform.max_payload,
    }))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], app.context.metrics.render(app.backend.waiting()))
        .into_response()
}

/// Description of the models for the page.
async fn info(State(app): State<Arc<App>>) -> Result<Json, ApiError> {
    let mut info = Map::new();
    info.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    info.insert("field".into(), app.context.settings.contract.task.field().into());
    info.insert("documents".into(), app.documents.is_some().into());
    info.insert("max_body".into(), app.context.settings.contract.max_body.into());
    info.append(&mut app.backend.describe().await?);
    Ok(json_body(&info.into()))
}

#[derive(Deserialize)]
struct LoadModel {
    model_name: String,
    url: String,
}

fn registry(app: &App) -> Result<&Arc<Registry>, ApiError> {
    app.registry.as_ref().ok_or_else(|| ApiError::NoSuchPath("/models".into()))
}

async fn load_model(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Json, ApiError> {
    /// Much more than a name and a path need.
    const LIMIT: usize = 64 << 10;
    let deadline = app.context.deadline();
    let mut charge = app.context.in_flight.open();
    let body = body::read(request.into_body(), LIMIT, deadline, &mut charge).await?;
    let load: LoadModel = serde_json::from_slice(&body).map_err(|error| {
        ApiError::BadRequest(format!("expected {{\"model_name\", \"url\"}}: {error}"))
    })?;
    let registry = registry(&app)?;
    let status = format!("Model \"{}\" registered", load.model_name);
    let loading = registry.clone();
    let load = move |_: &Stop| loading.load(&load.model_name, &load.url);
    let model = blocking_pool::run(0, deadline, load).await?;
    app.context.before(deadline, registry.settled(model)).await??;
    Ok(json_body(&json!({"status": status})))
}

async fn list_models(State(app): State<Arc<App>>) -> Result<Json, ApiError> {
    let models = registry(&app)?.all();
    let models: Vec<Value> = models.iter().map(|model| entry(model)).collect();
    Ok(json_body(&json!({"models": models})))
}

async fn show_model(State(app): State<Arc<App>>, Name(name): Name) -> Result<Json, ApiError> {
    Ok(json_body(&entry(&*registry(&app)?.find(&name)?)))
}

async fn unload_model(
    State(app): State<Arc<App>>,
    Name(name): Name,
) -> Result<(StatusCode, Json), ApiError> {
    registry(&app)?.unload(&name)?;
    let status = format!("Model \"{name}\" unregistered");
    Ok((StatusCode::OK, json_body(&json!({"status": status}))))
}

async fn invoke_model(
    State(app): State<Arc<App>>,
    Name(name): Name,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let model = registry(&app)?.find(&name)?;
    invoke(&app.context, &model, request).await
}

fn entry(model: &Model) -> Value {
    json!({"modelName": model.name(), "modelUrl": model.folder().display().to_string()})
}
