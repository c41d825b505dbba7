//! Requests to the hub, and its answers and errors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use epitome_export::hub_cache::ModelId;
use rustls::crypto::ring;
use serde_json::Value;
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::listing::Listing;
use crate::error::{Error, Result};
use crate::settings::{HUB, Settings, Token};

/// Limit of redirects of one request.
const MAX_REDIRECTS: usize = 10;
/// Limit in bytes of the description of a model.
const MAX_DESCRIPTION: u64 = 32 << 20;
/// Limit of the hub's error messages.
const MAX_MESSAGE: usize = 300;
/// Connection timeout.
const CONNECT: Duration = Duration::from_secs(10);
/// Timeout of a connection without data.
const STALLED: Duration = Duration::from_secs(20);

/// A client of the hub.
#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<Token>,
}

/// The part of a file that a request asks for.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// The description of a file, without its contents.
    Description,
    /// The contents from this byte on.
    From(u64),
}

/// An answer, after redirects.
pub(super) struct Answer {
    /// The final address.
    pub(super) url: String,
    pub(super) response: Response<Body>,
}

impl Answer {
    /// A header, if it is plain text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(self.response.headers(), name)
    }
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let builder = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed here, so that only the hub receives the token.
            .max_redirects(0)
            .accept_encoding("identity")
            .user_agent(concat!("epitome/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(STALLED))
            .timeout_per_write(Some(STALLED));
        // Reading the system's certificates takes time.
        let builder = match settings.endpoint.starts_with("https://") {
            true => builder.tls_config(tls()?),
            false => builder,
        };
        let agent = builder.build().new_agent();
        Ok(Self { agent, endpoint: settings.endpoint.clone(), token: settings.token.clone() })
    }

    /// Sends any request, and accepts any answer of the hub.
    pub(super) fn ping(&self) -> Result<Duration> {
        let start = Instant::now();
        let url = format!("{}/api/models?limit=1", self.endpoint);
        let answer = self.ask(&url, Wanted::From(0))?;
        let status = answer.response.status();
        match status.is_success() {
            true => Ok(start.elapsed()),
            false => Err(self.refusal(&answer, None)),
        }
    }

    /// The hub's description of a model.
    pub(super) fn list(&self, id: &ModelId) -> Result<Listing> {
        let revision = id.revision().replace('/', "%2F");
        let endpoint = &self.endpoint;
        let url = format!("{endpoint}/api/models/{}/revision/{revision}?blobs=true", id.name());
        let mut answer = self.ask(&url, Wanted::From(0))?;
        if !answer.response.status().is_success() {
            return Err(self.refusal(&answer, Some(id)));
        }
        let body = answer.response.body_mut().with_config().limit(MAX_DESCRIPTION);
        let bytes = body.read_to_vec().map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => not_the_hub(&answer.url, "its answer has no end"),
            error => unreachable(&answer.url, &error),
        })?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| {
            let kind = answer.header("content-type").unwrap_or("something");
            not_the_hub(&answer.url, &format!("it sends {} and no JSON", shown(kind)))
        })?;
        Listing::read(id, &answer.url, &value)
    }

    /// The host of the hub, for messages.
    pub(super) fn host(&self) -> String {
        site(&self.endpoint).to_owned()
    }

    /// The address of a file.
    pub(super) fn file(&self, id: &ModelId, commit: &str, name: &str) -> String {
        format!("{}/{}/resolve/{commit}/{name}", self.endpoint, id.name())
    }

    /// Sends a request, follows redirects, and fails if the answer is an error.
    pub(super) fn get(&self, id: &ModelId, url: &str, wanted: Wanted) -> Result<Answer> {
        let answer = self.ask(url, wanted)?;
        let status = answer.response.status();
        // The description of a file may be in a redirect to its location.
        let redirect = matches!(wanted, Wanted::Description) && status.is_redirection();
        match status.is_success() || redirect || status == StatusCode::RANGE_NOT_SATISFIABLE {
            true => Ok(answer),
            false => Err(self.refusal(&answer, Some(id))),
        }
    }

    /// Sends a request, and follows redirects.
    fn ask(&self, url: &str, wanted: Wanted) -> Result<Answer> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.ask_once(&url, wanted)?;
            let location = header(response.headers(), "location");
            let Some(location) = location.filter(|_| response.status().is_redirection()) else {
                return Ok(Answer { url, response });
            };
            let is_elsewhere = location.starts_with("https://") || location.starts_with("http://");
            if is_elsewhere && matches!(wanted, Wanted::Description) {
                return Ok(Answer { url, response });
            }
            let next = match is_elsewhere {
                true => location.to_owned(),
                false if location.starts_with('/') => format!("{}{location}", site(&url)),
                false => return Err(not_the_hub(&url, "it redirects to no address")),
            };
            if url.starts_with("https://") && !next.starts_with("https://") {
                return Err(not_the_hub(&url, "it redirects to an address without TLS"));
            }
            url = next;
        }
        Err(not_the_hub(&url, "it redirects without end"))
    }

    fn ask_once(&self, url: &str, wanted: Wanted) -> Result<Response<Body>> {
        let mut request = match wanted {
            Wanted::Description => self.agent.head(url),
            Wanted::From(_) => self.agent.get(url),
        };
        if let Wanted::From(from @ 1..) = wanted {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let is_hub = [&self.endpoint, HUB].map(site).contains(&site(url));
        if let Some(token) = self.token.as_ref().filter(|_| is_hub) {
            request = request.header("Authorization", format!("Bearer {}", token.value()));
        }
        request.call().map_err(|error| match error {
            ureq::Error::Http(_) | ureq::Error::BadUri(_) => {
                not_the_hub(url, "it redirects to no address")
            }
            error => unreachable(url, &error),
        })
    }

    /// The error of an answer.
    fn refusal(&self, answer: &Answer, id: Option<&ModelId>) -> Error {
        let status = answer.response.status();
        let code = answer.header("x-error-code").unwrap_or_default();
        let message = answer.header("x-error-message").map(shown).unwrap_or_default();
        let bad_token = status == StatusCode::UNAUTHORIZED
            && (id.is_none() || message.contains("Invalid credentials"));
        if let Some(token) = self.token.as_ref().filter(|_| bad_token) {
            let page = format!("{}/settings/tokens", self.endpoint);
            return Error::BadToken { origin: token.origin.clone(), page };
        }
        if let Some(id) = id {
            let page = format!("{}/{}", self.endpoint, id.name());
            let model = id.name().to_owned();
            match code {
                "GatedRepo" => return Error::Gated { model, page },
                "RevisionNotFound" => {
                    let revision = id.revision().to_owned();
                    return Error::NoSuchRevision {
                        model,
                        revision,
                        page: format!("{page}/tree/main"),
                    };
                }
                "RepoNotFound" => return Error::NoSuchRepository { model, page },
                "" if [StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND].contains(&status) => {
                    return Error::NoSuchRepository { model, page };
                }
                _ => {}
            }
        }
        let message = match message.as_str() {
            "" => String::new(),
            message => format!(": {message}"),
        };
        Error::Status { url: answer.url.clone(), status: status.to_string(), message }
    }
}

/// TLS with the certificates of this machine, including those of `SSL_CERT_FILE`.
fn tls() -> Result<TlsConfig> {
    let found = rustls_native_certs::load_native_certs();
    let certificates: Vec<_> = found
        .certs
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    if certificates.is_empty() {
        return Err(Error::Unreachable {
            host: "the hub".to_owned(),
            problem:
                "this machine has no certificates to check it by: install ca-certificates, or \
                      set SSL_CERT_FILE"
                    .to_owned(),
        });
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Scheme, host and port of an address.
fn site(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    &url[..end]
}

/// Shortens a foreign text to one line.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
}

pub(super) fn not_the_hub(url: &str, problem: &str) -> Error {
    Error::NotTheHub { url: without_query(url), problem: problem.to_owned() }
}

fn unreachable(url: &str, error: &ureq::Error) -> Error {
    let problem = match error {
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    Error::Unreachable { host: site(url).to_owned(), problem: shown(&problem) }
}

/// An address without its query, which may hold a signature.
fn without_query(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_of_an_address_is_its_scheme_host_and_port() {
        assert_eq!(site("https://hub.example/a/b?c"), "https://hub.example");
        assert_eq!(site("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(site("https://hub.example?x=/"), "https://hub.example");
        assert_ne!(site("https://huggingface.co.evil.example/"), HUB);
        assert_ne!(site("https://huggingface.co@evil.example/"), HUB);
    }
}
