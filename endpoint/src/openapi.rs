//! The description of the API in OpenAPI: `GET /openapi.json`, and the page `GET /docs`.
//!
//! The parameters come from the table that the parser uses, so they cannot differ.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use epitome_runtime::{GenerationParameters, Reading};
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::guard;

const JSON: &str = "application/json";
/// The page has no script, and loads nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("openapi.css");

/// `GET /openapi.json`
pub(crate) async fn description(State(app): State<Arc<App>>) -> Response {
    ([(CONTENT_TYPE, JSON)], describe(&app).to_string()).into_response()
}

/// `GET /docs`
pub(crate) async fn page(State(app): State<Arc<App>>) -> Response {
    ([(CONTENT_SECURITY_POLICY, POLICY)], Html(html(&describe(&app)))).into_response()
}

fn describe(app: &App) -> Value {
    let has_key = app.context.settings.server.access.key.is_some();
    let mut description = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "epitome",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Summaries of texts, with the contract of a SageMaker container.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths(app),
        "components": {"schemas": schemas(app)},
    });
    if has_key {
        description["components"]["securitySchemes"] =
            json!({"key": {"type": "http", "scheme": "bearer"}});
        description["security"] = json!([{"key": []}]);
    }
    description
}

/// A reference to a schema of [`schemas`].
fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn content(media_type: &str, schema: &Value) -> Value {
    json!({media_type: {"schema": schema}})
}

fn text() -> Value {
    json!({"type": "string"})
}

/// A non-empty text.
fn document() -> Value {
    json!({"type": "string", "pattern": r"\S"})
}

/// An operation, with or without a request body.
struct Operation {
    summary: &'static str,
    body: Option<Value>,
    answer: Value,
    error: &'static str,
    parameters: Vec<Value>,
    needs_body: bool,
}

impl Operation {
    /// An operation that answers in JSON.
    fn json(summary: &'static str, answer: Value) -> Self {
        let answer = content(JSON, &answer);
        Self {
            summary,
            body: None,
            answer,
            error: "Error",
            parameters: Vec::new(),
            needs_body: true,
        }
    }

    fn reads(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Makes the request body optional.
    fn or_nothing(self) -> Self {
        Self { needs_body: false, ..self }
    }

    fn answers(self, answer: Value) -> Self {
        Self { answer, ..self }
    }

    fn fails_with(self, error: &'static str) -> Self {
        Self { error, ..self }
    }

    fn named(mut self, of: &str) -> Self {
        self.parameters.push(json!({
            "name": "name", "in": "path", "required": true, "description": of,
            "schema": {"type": "string", "minLength": 1},
        }));
        self
    }

    fn header(mut self, name: &str, of: &str, required: bool) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "header", "description": of, "required": required,
            "schema": {"type": "string"},
        }));
        self
    }

    fn value(self) -> Value {
        let mut operation = json!({
            "summary": self.summary,
            "responses": {
                "2XX": {"description": "As asked.", "content": self.answer},
                "default": {
                    "description": "The request was refused, or failed.",
                    "content": content(JSON, &reference(self.error)),
                },
            },
        });
        if let Some(body) = self.body {
            operation["requestBody"] = json!({"required": self.needs_body, "content": body});
        }
        if !self.parameters.is_empty() {
            operation["parameters"] = self.parameters.into();
        }
        operation
    }
}

fn paths(app: &App) -> Value {
    let status = || json!({"type": "object", "required": ["status"]});
    let any_object = || json!({"type": "object"});
    let invoke = |summary| {
        Operation::json(summary, reference("Answer"))
            .reads(invocation_bodies())
            .answers(invocation_answers())
            .header(
                "X-Amzn-SageMaker-Custom-Attributes",
                "Is copied into the answer's head.",
                false,
            )
    };
    let framed = content("application/vnd.amazon.eventstream", &json!({}));
    let models = || Operation::json("A model by its name.", reference("Model"));
    let metrics = content("application/openmetrics-text", &text());
    let chat = reference("ChatCompletion");
    let chat_answers = json!({
        JSON: {"schema": chat}, "text/event-stream": {"schema": {}},
    });
    let mut all = vec![
        ("get", "/ping", Operation::json("Whether the server can summarize.", status())),
        ("get", "/health/live", Operation::json("Whether the process answers.", status())),
        ("get", "/health/ready", Operation::json("The same as /ping.", status())),
        ("post", "/invocations", invoke("Summarizes texts.")),
        ("post", "/", invoke("The same as /invocations.")),
        ("get", "/", Operation::json("The page.", text()).answers(content("text/html", &text()))),
        (
            "get",
            "/execution-parameters",
            Operation::json("What a batch transform job should do.", any_object()),
        ),
        (
            "post",
            "/endpoints/{name}/invocations",
            invoke("The same as AWS shows it to its SDKs.")
                .named("Any name of an endpoint.")
                .fails_with("AwsError"),
        ),
        (
            "post",
            "/endpoints/{name}/async-invocations",
            Operation::json("The same for an input on S3, answered there.", any_object())
                .named("Any name of an endpoint.")
                .header("X-Amzn-SageMaker-InputLocation", "s3://BUCKET/KEY", true)
                .fails_with("AwsError"),
        ),
        (
            "post",
            "/endpoints/{name}/invocations-response-stream",
            invoke("The same in frames.")
                .named("Any name of an endpoint.")
                .answers(framed)
                .fails_with("AwsError"),
        ),
        (
            "post",
            "/v1/chat/completions",
            Operation::json("Summarizes the last message of the user.", chat)
                .reads(content(JSON, &reference("ChatRequest")))
                .answers(chat_answers)
                .fails_with("ChatError"),
        ),
        (
            "post",
            "/v1/completions",
            Operation::json("Summarizes the prompt.", any_object())
                .reads(content(JSON, &reference("CompletionRequest")))
                .answers(json!({
                    JSON: {"schema": {"type": "object", "required": ["choices", "object"]}},
                    "text/event-stream": {"schema": {}},
                }))
                .fails_with("ChatError"),
        ),
        ("get", "/v1/models", Operation::json("The models.", any_object())),
        (
            "get",
            "/v1/models/{name}",
            models().named("The name of a model.").fails_with("ChatError"),
        ),
        ("get", "/info", Operation::json("The models and their defaults.", any_object())),
        ("get", "/metrics", Operation::json("Metrics for Prometheus.", text()).answers(metrics)),
        (
            "post",
            "/tokens",
            Operation::json(
                "Counts the tokens of a text against what the model reads.",
                json!({"type": ["object", "null"]}),
            )
            .reads(content("text/plain", &text()))
            .or_nothing(),
        ),
        ("get", "/openapi.json", Operation::json("This description.", any_object())),
    ];
    if app.documents.is_some() {
        let file = content("application/octet-stream", &json!({}));
        all.push((
            "post",
            "/documents",
            Operation::json("The text of a file.", any_object()).reads(file).header(
                "X-Epitome-File-Name",
                "The file's name, percent-encoded.",
                false,
            ),
        ));
    }
    if app.registry.is_some() {
        let load = json!({
            "type": "object",
            "properties": {"model_name": text(), "url": text()},
            "required": ["model_name", "url"],
        });
        let of = "The name of a model.";
        let show = || Operation::json("A model.", any_object()).named(of);
        all.extend([
            ("get", "/models", Operation::json("The models that are loaded.", any_object())),
            (
                "post",
                "/models",
                Operation::json("Loads a model.", status()).reads(content(JSON, &load)),
            ),
            ("get", "/models/{name}", show()),
            ("delete", "/models/{name}", Operation::json("Unloads a model.", status()).named(of)),
            ("post", "/models/{name}/invoke", invoke("Summarizes texts with a model.").named(of)),
        ]);
    }
    let mut paths = Map::new();
    for (method, path, operation) in all {
        let mut operation = operation.value();
        if method == "get" && guard::is_open(path) {
            operation["security"] = json!([]);
        }
        paths.entry(path).or_insert_with(|| json!({}))[method] = operation;
    }
    paths.into()
}

fn invocation_bodies() -> Value {
    json!({
        JSON: {"schema": reference("Invocation")},
        "application/jsonlines": {"schema": text()},
        "text/csv": {"schema": text()},
        "text/plain": {"schema": document()},
        "application/x-npy": {"schema": {}},
    })
}

fn invocation_answers() -> Value {
    let mut answers = invocation_bodies();
    answers[JSON]["schema"] = reference("Answer");
    answers["text/event-stream"] = json!({"schema": {}});
    answers
}

fn schemas(app: &App) -> Value {
    let task = app.context.settings.contract.task;
    let summary = json!({
        "type": "object",
        "properties": {task.field(): text(), task.token_field(): {"type": "array"}},
    });
    let lists = json!({"type": "array", "items": {
        "anyOf": [summary, {"type": "array", "items": summary}],
    }});
    let error = ApiError::BadRequest(String::new()).body();
    let fields: Vec<&str> =
        error.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
    json!({
        "Invocation": {
            "anyOf": [document(), {
                "type": "object",
                "properties": {
                    "inputs": {"anyOf": [document(), {"type": "array", "items": document()}]},
                    "parameters": {"anyOf": [reference("Parameters"), {"type": "null"}]},
                    "stream": {"type": ["boolean", "null"]},
                    "options": {"description": "Taken from the hub's clients, without effect."},
                },
                "required": ["inputs"],
            }],
        },
        "Parameters": parameters(),
        "Answer": {"anyOf": [lists, summary]},
        "Error": {
            "type": "object",
            "properties": {
                "code": {"type": "integer"}, "type": text(), "message": text(), "error": text(),
                "error_type": text(),
            },
            "required": fields,
        },
        "AwsError": {
            "anyOf": [{"type": "object", "required": ["Message"]}, reference("Error")],
        },
        "ChatRequest": chat_request(),
        "CompletionRequest": {
            "type": "object",
            "properties": {
                "model": text(),
                "prompt": {"anyOf": [document(), {
                    "type": "array", "items": document(), "minItems": 1, "maxItems": 1,
                }]},
                "stream": {"type": "boolean"},
            },
            "required": ["prompt"],
        },
        "ChatCompletion": {
            "type": "object",
            "properties": {
                "choices": {"type": "array"}, "created": {"type": "integer"}, "id": text(),
                "model": text(), "object": {"const": "chat.completion"},
                "usage": {"type": "object"},
            },
            "required": ["choices", "created", "id", "model", "object", "usage"],
        },
        "ChatError": {
            "anyOf": [
                {
                    "type": "object",
                    "properties": {"error": {"type": "object", "required": ["message", "type"]}},
                    "required": ["error"],
                },
                reference("Error"),
            ],
        },
        "Model": {"type": "object", "required": ["id", "object"]},
    })
}

/// The parameters of `generate`, and further ones.
fn parameters() -> Value {
    let mut schema = GenerationParameters::schema();
    let flag = |words: &str| json!({"type": ["boolean", "null"], "description": words});
    let more = json!({
        "long": {
            "enum": Reading::ALL.map(Reading::name),
            "description": "How to read a text that is longer than the model's window.",
        },
        "length": {
            "type": "string",
            "description": "Most words of a long text's summary: short, medium, long, 120 words or \
                            10%.",
        },
        "generate_parameters": {
            "type": "object", "description": "Parameters again, as the hub's clients nest them.",
        },
        "truncation": {
            "enum": [true, false, "longest_first", "only_first", "only_second", "do_not_truncate"],
            "description": "false and do_not_truncate refuse texts that are too long.",
        },
        "return_tensors": flag("Token ids in place of texts."),
        "return_text": flag("Texts, as always."),
        "return_type": {"enum": ["text", "tensors"], "description": "The same as return_tensors."},
        "clean_up_tokenization_spaces": flag("Takes the blanks before punctuation away."),
        "stop_sequence": {
            "type": "string", "description": "A text whose first token ends a summary.",
        },
        "stop": {
            "anyOf": [text(), {"type": "array", "items": text()}],
            "description": "The same as stop_strings.",
        },
        "details": flag("How each text ended, as TGI tells it."),
        "batch_size": {"description": "Changes nothing."},
        "num_workers": {"description": "Changes nothing."},
    });
    if let (Some(properties), Value::Object(more)) = (schema["properties"].as_object_mut(), more) {
        properties.extend(more);
    }
    schema
}

/// The fields of OpenAI's clients beside the parameters of `generate`.
fn chat_request() -> Value {
    let part = json!({
        "type": "object",
        "properties": {"type": {"const": "text"}, "text": document()},
        "required": ["type", "text"],
    });
    let message = json!({
        "type": "object",
        "properties": {
            "role": {"enum": ["user", "system", "developer", "assistant", "tool"]},
            "content": {
                "anyOf": [document(), {"type": "array", "items": part, "minItems": 1}],
            },
        },
        "required": ["role", "content"],
    });
    json!({
        "type": "object",
        "description": "The last message of the user is the document. The other fields are those \
                        of OpenAI's clients, and the parameters of /invocations.",
        "properties": {
            "messages": {
                "type": "array", "items": message,
                "contains": {"properties": {"role": {"const": "user"}}},
            },
            "model": {"type": "string"},
            "stream": {"type": "boolean"},
            "max_tokens": {"type": "integer", "minimum": 1},
            "n": {"type": "integer", "minimum": 1},
        },
        "required": ["messages"],
    })
}

/// The description as a page.
fn html(description: &Value) -> String {
    let mut page = String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">");
    let _ = write!(
        page,
        "<meta name=\"viewport\" content=\"width=device-width\"><title>epitome: what it answers\
         </title><style>{STYLE}</style><main><h1>What epitome answers</h1><p>The same for \
         programs: <a href=\"openapi.json\">openapi.json</a>.</p>"
    );
    for (path, operations) in description["paths"].as_object().into_iter().flatten() {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let _ = write!(
                page,
                "<section><h2><code>{} {}</code></h2><p>{}</p>",
                method.to_uppercase(),
                escaped(path),
                escaped(operation["summary"].as_str().unwrap_or_default())
            );
            let types = |value: &Value| {
                let types = value.as_object().into_iter().flat_map(Map::keys);
                types.map(|name| escaped(name)).collect::<Vec<_>>().join(", ")
            };
            let body = &operation["requestBody"]["content"];
            if body.is_object() {
                let _ = write!(page, "<p>Reads {}</p>", types(body));
            }
            let answer = types(&operation["responses"]["2XX"]["content"]);
            let _ = write!(page, "<p>Answers {answer}</p></section>");
        }
    }
    page.push_str("<section><h2>Parameters</h2><dl>");
    let parameters = &description["components"]["schemas"]["Parameters"]["properties"];
    for (name, schema) in parameters.as_object().into_iter().flatten() {
        let words = schema["description"].as_str().unwrap_or_default();
        let _ = write!(page, "<dt><code>{}</code><dd>{}", escaped(name), escaped(words));
    }
    page + "</dl></section></main></html>"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described() {
        let routes = include_str!("routes.rs");
        let mut routed: BTreeSet<&str> = BTreeSet::new();
        for (place, _) in routes.match_indices(".route(") {
            let rest = &routes[place..];
            let path = rest.split('"').nth(1).expect("a path");
            routed.insert(path);
        }
        assert!(routed.remove("/docs"), "{routed:?}");
        let described: BTreeSet<&str> =
            include_str!("openapi.rs").split('"').filter(|part| part.starts_with('/')).collect();
        let missing: Vec<_> = routed.difference(&described).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn the_page_shows_text_as_text() {
        let description = json!({"paths": {"/<a>": {"get": {"summary": "\"&"}}}});
        let page = html(&description);
        assert!(page.contains("GET /&lt;a&gt;") && page.contains("&quot;&amp;"), "{page}");
    }
}
