//! Requests to the hub, and what its answers and refusals mean.

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

/// The most redirects of one request.
const MAX_REDIRECTS: usize = 10;
/// The longest description of a model that is read.
const MAX_DESCRIPTION: u64 = 32 << 20;
/// The longest message of the hub that is shown.
const MAX_MESSAGE: usize = 300;
/// Time to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// Time without a byte after which a connection counts as broken.
const STALLED: Duration = Duration::from_secs(20);

/// Speaks with the hub.
#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<Token>,
}

/// What is wanted of an address.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    /// What the hub says about a file, and not where it lies.
    Description,
    /// The bytes from this one on.
    From(u64),
}

/// An answer, after redirects.
pub(super) struct Answer {
    /// Where it came from in the end.
    pub(super) url: String,
    pub(super) response: Response<Body>,
}

impl Answer {
    /// A header, where it is plain text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(self.response.headers(), name)
    }
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let builder = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed here, so that the token goes to the hub alone.
            .max_redirects(0)
            .accept_encoding("identity")
            .user_agent(concat!("epitome/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(STALLED))
            .timeout_per_write(Some(STALLED));
        // Reading the certificates of the system takes a while.
        let builder = match settings.endpoint.starts_with("https://") {
            true => builder.tls_config(tls()?),
            false => builder,
        };
        let agent = builder.build().new_agent();
        Ok(Self { agent, endpoint: settings.endpoint.clone(), token: settings.token.clone() })
    }

    /// Asks for anything, and takes any answer of the hub's.
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

    /// What the hub says about a model.
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

    /// The host, for messages.
    pub(super) fn host(&self) -> String {
        site(&self.endpoint).to_owned()
    }

    /// The address of a file.
    pub(super) fn file(&self, id: &ModelId, commit: &str, name: &str) -> String {
        format!("{}/{}/resolve/{commit}/{name}", self.endpoint, id.name())
    }

    /// An answer that is no error, after redirects.
    pub(super) fn get(&self, id: &ModelId, url: &str, wanted: Wanted) -> Result<Answer> {
        let answer = self.ask(url, wanted)?;
        let status = answer.response.status();
        // A description may be that of a redirect to where the file lies.
        let redirect = matches!(wanted, Wanted::Description) && status.is_redirection();
        match status.is_success() || redirect || status == StatusCode::RANGE_NOT_SATISFIABLE {
            true => Ok(answer),
            false => Err(self.refusal(&answer, Some(id))),
        }
    }

    /// Any answer, after redirects.
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

    /// What an answer says that is an error.
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

/// TLS with the certificates that this machine trusts, those of `SSL_CERT_FILE` among them.
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

/// A text of another's, fit for a line.
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
