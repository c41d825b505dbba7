//! The page at `/`. All its files are in the binary, and nothing is loaded from elsewhere.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

use crate::app::App;

/// Path of all files of the page, except the HTML.
pub(crate) const FOLDER: &str = "/page/";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Allows only files of this server, and no frames of other pages.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Names of files in [`FOLDER`], their content types and contents.
macro_rules! files {
    ($($name:literal: $content_type:ident),* $(,)?) => {
        [$(($name, $content_type, include_str!($name))),*]
    };
}

const FILES: [(&str, &str, &str); 15] = files! {
    "page.css": CSS,
    "chart.js": SCRIPT,
    "difference.js": SCRIPT,
    "dom.js": SCRIPT,
    "events.js": SCRIPT,
    "examples.js": SCRIPT,
    "history.js": SCRIPT,
    "main.js": SCRIPT,
    "measure.js": SCRIPT,
    "results.js": SCRIPT,
    "server.js": SCRIPT,
    "settings.js": SCRIPT,
    "share.js": SCRIPT,
    "source.js": SCRIPT,
    "words.js": SCRIPT,
};

/// The page's routes.
pub(crate) fn router() -> Router<Arc<App>> {
    let page = get(|| async { file(HTML, include_str!("index.html")) });
    FILES.into_iter().fold(Router::new().route("/", page), |router, (name, content_type, text)| {
        router
            .route(&format!("{FOLDER}{name}"), get(move || async move { file(content_type, text) }))
    })
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}
