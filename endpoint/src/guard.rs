//! Access control: allowed hosts, web pages and keys.
//!
//! A page of another site can make a browser send requests to a server on loopback. With DNS
//! rebinding, they look like requests of the server's own page. The headers Host and Origin reveal
//! both.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode, Version};

use crate::context::Context;
use crate::error::ApiError;
use crate::key::Key;
use crate::page;
use crate::path_name::PROBES;

/// Headers that pages of allowed origins may send.
const HEADERS: &str = "accept, authorization, content-type, x-amzn-sagemaker-custom-attributes, \
                       x-amzn-sagemaker-target-model";
const EXPOSED: &str = "server-timing, x-epitome-ignored, x-epitome-read, x-epitome-truncated, \
                       x-amzn-requestid, x-amzn-sagemaker-custom-attributes, retry-after";

/// Refuses requests without permission.
pub(crate) async fn check(
    State(context): State<Arc<Context>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let server = &context.settings.server;
    let access = &server.access;
    let headers = request.headers();
    let checked = check_host(&request, server.listen)
        .and_then(|()| check_origin(headers, &access.allowed_origins));
    let origin = match checked {
        Ok(origin) => origin.cloned(),
        Err(error) => return error.into_response(),
    };
    let is_preflight = request.method() == Method::OPTIONS
        && origin.is_some()
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight {
        preflight()
    } else if access.key.as_ref().is_some_and(|key| !has_key(&request, key)) {
        ApiError::Unauthorized.into_response()
    } else {
        next.run(request).await
    };
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// Checks Host as in RFC 9112, section 3.2: HTTP/1.1 needs exactly one. On loopback it must name
/// this machine.
fn check_host<B>(request: &Request<B>, listen: SocketAddr) -> Result<(), ApiError> {
    let refused = |problem: &str| ApiError::BadRequest(format!("the request {problem}"));
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host,
        (None, _) if request.version() < Version::HTTP_11 => return Ok(()),
        (None, _) => return Err(refused("has no header Host")),
        (Some(_), Some(_)) => return Err(refused("has more than one header Host")),
    };
    let authority: Option<Authority> = host.to_str().ok().and_then(|host| host.parse().ok());
    let authority =
        authority.ok_or_else(|| refused("has a header Host that is not the name of a host"))?;
    // A request to a proxy also names the host in its target.
    let mut names = std::iter::once(&authority).chain(request.uri().authority());
    if !listen.ip().is_loopback() || names.all(|name| is_loopback(name.host(), listen.ip())) {
        return Ok(());
    }
    Err(ApiError::Forbidden(
        "this server answers on loopback only, under the name localhost or a loopback address"
            .into(),
    ))
}

fn is_loopback(host: &str, listen: IpAddr) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address == listen,
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

/// The origin of a page of another site, if that site is allowed.
fn check_origin<'a>(
    headers: &'a HeaderMap,
    allowed: &[String],
) -> Result<Option<&'a HeaderValue>, ApiError> {
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(None);
    };
    let text = origin.to_str().unwrap_or_default();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let is_own = text.split_once("://").is_some_and(|(_, authority)| {
        host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
    });
    let is_allowed = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(text);
    if is_own {
        Ok(None)
    } else if allowed.iter().any(is_allowed) {
        Ok(Some(origin))
    } else {
        Err(ApiError::Forbidden(
            "web pages of other origins may not ask: allow one with --allow-origin".into(),
        ))
    }
}

fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Whether a path needs no key: health checks, and the page, which asks the user for the key.
pub(crate) fn is_open(path: &str) -> bool {
    path == "/" || PROBES.contains(&path) || path.starts_with(page::FOLDER)
}

fn has_key<B>(request: &Request<B>, key: &Key) -> bool {
    let path = request.uri().path();
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    if is_read && is_open(path) {
        return true;
    }
    let value = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let given = value.and_then(|value| {
        let (scheme, given) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(given)
    });
    given.is_some_and(|given| key.is(given.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri("/invocations");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn on_loopback_the_host_is_this_machine() {
        let code = |listen: &str, hosts: &[&str]| {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let checked = check_host(&request(&headers), listen.parse().unwrap());
            checked.map_or_else(|error| error.status().as_u16(), |()| 200)
        };
        for host in [
            "localhost",
            "LOCALHOST:80",
            "a.localhost:1",
            "localhost.",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
        ] {
            assert_eq!(code("127.0.0.1:8080", &[host]), 200, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"]
        {
            assert_eq!(code("127.0.0.1:8080", &[host]), 403, "{host}");
            assert_eq!(code("0.0.0.0:8080", &[host]), 200, "{host}");
        }
        assert_eq!(code("0.0.0.0:8080", &[]), 400);
        assert_eq!(code("0.0.0.0:8080", &["a", "b"]), 400);
        assert_eq!(code("0.0.0.0:8080", &["a b"]), 400);
    }

    #[test]
    fn foreign_pages_are_refused_unless_allowed() {
        let allowed = ["https://app.example".to_owned()];
        let checked = |origin: &str, allowed: &[String]| {
            let headers = [("host", "localhost:8080"), ("origin", origin)];
            let request = request(&headers);
            let checked = check_origin(request.headers(), allowed);
            checked.map(|origin| origin.is_some()).map_err(|error| error.status().as_u16())
        };
        assert_eq!(checked("http://localhost:8080", &[]), Ok(false));
        for origin in ["https://evil.example", "null", "http://localhost:3000", ""] {
            assert_eq!(checked(origin, &allowed), Err(403), "{origin}");
        }
        assert_eq!(checked("https://app.example", &allowed), Ok(true));
        assert_eq!(checked("https://evil.example", &["*".into()]), Ok(true));
    }

    #[test]
    fn the_key_is_asked_for() {
        let key = Key::new("secret");
        let has = |value| has_key(&request(&[("authorization", value)]), &key);
        assert!(has("Bearer secret") && has("bearer  secret"));
        assert!(!has("Bearer secre") && !has("Bearer secret2") && !has("secret") && !has(""));
        assert!(!has_key(&request(&[]), &key));
        for (method, path, is_open) in [
            ("GET", "/ping", true),
            ("GET", "/", true),
            ("POST", "/", false),
            ("GET", "/info", false),
        ] {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            assert_eq!(has_key(&request, &key), is_open, "{method} {path}");
        }
    }
}
