//! Pushes an image to a registry, with the HTTP API of all registries.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use epitome_runtime::Progress;
use epitome_runtime::error::innermost;
use epitome_runtime::progress::Total;
use http_body_util::BodyExt;
use hyper::{Method, Request};

use super::layout::{Blob, Image};
use crate::connection::{Connection, connector};
use crate::error::{Error, Result};

/// Longest wait for the answer to a request, including the sending of its body.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// Reference of an image: `HOST/REPOSITORY:TAG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Host and port of the registry.
    pub host: String,
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: String,
}

/// Error of a text that is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not where an image can go: write HOST/REPOSITORY:TAG")]
pub struct InvalidReference(String);

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let wrong = || InvalidReference(text.to_owned());
        let (host, rest) = text.split_once('/').ok_or_else(wrong)?;
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, tag),
            None => (rest, env!("CARGO_PKG_VERSION")),
        };
        let is_name = |name: &str, more: &str| {
            !name.is_empty()
                && name.chars().all(|it| it.is_ascii_alphanumeric() || more.contains(it))
        };
        let (name, port) = host.split_once(':').unwrap_or((host, "80"));
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let is_host = is_port && (host.contains(['.', ':']) || name == "localhost");
        let has_sound_names = is_name(host, ".-:") && is_name(repository, "._-/");
        if !(is_host && has_sound_names && is_name(tag, "._-")) {
            return Err(wrong());
        }
        let [host, repository, tag] = [host, repository, tag].map(str::to_owned);
        Ok(Self { host, repository, tag })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.host, self.repository, self.tag)
    }
}

/// Client of a registry.
pub struct Registry {
    connection: Connection,
    connector: Connector,
    url: String,
    authorization: Option<String>,
}

/// Answer of a registry.
struct Answer {
    status: u16,
    location: Option<String>,
    body: Bytes,
}

impl Registry {
    /// Creates a client for a host. Like Docker, it calls a registry on this machine over HTTP.
    pub fn new(connection: &Connection, host: &str, authorization: Option<String>) -> Self {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let scheme = if matches!(name, "localhost" | "127.0.0.1") { "http" } else { "https" };
        let settings = HttpConnectorSettings::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(TIMEOUT)
            .build();
        Self {
            connection: connection.clone(),
            connector: connector(settings),
            url: format!("{scheme}://{host}"),
            authorization,
        }
    }

    /// Pushes an image. Skips existing blobs, and sets the tag last.
    ///
    /// # Errors
    /// If the registry cannot be reached, or refuses a request.
    pub fn push(&self, image: &Image, to: &Reference, progress: &dyn Progress) -> Result<()> {
        progress.start(&format!("Sending {to}"), Total::Bytes(image.bytes()));
        for blob in [&image.layer, &image.config] {
            self.push_blob(blob, &to.repository, progress)?;
            progress.advance(blob.bytes.len() as u64);
        }
        let path = format!("{}/v2/{}/manifests/{}", self.url, to.repository, to.tag);
        let manifest = (image.manifest_type(), image.manifest.clone());
        self.expect(&[200, 201], Method::PUT, &path, Some(manifest), progress)?;
        Ok(())
    }

    fn push_blob(&self, blob: &Blob, repository: &str, progress: &dyn Progress) -> Result<()> {
        let blobs = format!("{}/v2/{repository}/blobs", self.url);
        let path = format!("{blobs}/{}", blob.digest);
        if self.send(Method::HEAD, &path, None, progress)?.status == 200 {
            return Ok(());
        }
        let uploads = format!("{blobs}/uploads/");
        let begun = self.expect(&[202], Method::POST, &uploads, None, progress)?;
        let place = self.location(begun.location, &uploads)?;
        let body = ("application/octet-stream", blob.bytes.clone());
        let sent = self.expect(&[202, 204], Method::PATCH, &place, Some(body), progress)?;
        let place = self.location(sent.location, &uploads)?;
        let mark = if place.contains('?') { '&' } else { '?' };
        let end = format!("{place}{mark}digest={}", blob.digest);
        self.expect(&[201], Method::PUT, &end, None, progress)?;
        Ok(())
    }

    /// The URL of the next request of an upload. Registries give it with or without their host.
    fn location(&self, location: Option<String>, url: &str) -> Result<String> {
        match location {
            Some(path) if path.starts_with('/') => Ok(format!("{}{path}", self.url)),
            Some(place) if place.starts_with(&self.url) => Ok(place),
            // The authorization must not be sent to another host.
            _ => Err(Error::BadAnswer {
                url: url.to_owned(),
                operation: "an upload".into(),
                problem: "no Location of its own".into(),
            }),
        }
    }

    fn expect(
        &self,
        statuses: &[u16],
        method: Method,
        url: &str,
        body: Option<(&str, Vec<u8>)>,
        progress: &dyn Progress,
    ) -> Result<Answer> {
        let operation = method.to_string();
        let answer = self.send(method, url, body, progress)?;
        if statuses.contains(&answer.status) {
            return Ok(answer);
        }
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let error = &said["errors"][0];
        let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        let code = Some(text("code")).filter(|code| !code.is_empty());
        Err(Error::Refused {
            operation: format!("{operation} of {url}"),
            code: code.unwrap_or_else(|| format!("HTTP status {}", answer.status)),
            message: text("message"),
            status: answer.status,
        })
    }

    fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<(&str, Vec<u8>)>,
        progress: &dyn Progress,
    ) -> Result<Answer> {
        let unreachable = |problem: String| Error::Unreachable {
            target: self.url.clone(),
            operation: format!("{method} of {url}"),
            problem,
        };
        let mut request = Request::builder()
            .method(method.clone())
            .uri(url)
            .header("user-agent", concat!("epitome/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let (content_type, bytes) = body.unzip();
        let bytes = bytes.unwrap_or_default();
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        // GET and HEAD have no body. The other methods need a length even if their body is empty.
        if method != Method::HEAD {
            request = request.header("content-length", bytes.len());
        }
        let request = request.body(SdkBody::from(bytes));
        let request = request.map_err(|error| unreachable(innermost(&error)))?;
        let request =
            HttpRequest::try_from(request).map_err(|error| unreachable(innermost(&error)))?;
        self.connection.wait(progress, async {
            let response = self.connector.call(request).await;
            let response = response.map_err(|error| unreachable(innermost(&error)))?;
            let status = response.status().as_u16();
            let location = response.headers().get("location").map(str::to_owned);
            let body = response.into_body().collect().await;
            let body = body.map_err(|error| unreachable(innermost(&*error)))?.to_bytes();
            Ok(Answer { status, location, body })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart_and_put_together() {
        let tag = env!("CARGO_PKG_VERSION");
        for (text, host, repository, whole) in [
            ("localhost:5000/epitome:1", "localhost:5000", "epitome", "localhost:5000/epitome:1"),
            ("a.b/c/d", "a.b", "c/d", &format!("a.b/c/d:{tag}")),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((&*reference.host, &*reference.repository), (host, repository));
            assert_eq!(reference.to_string(), whole);
        }
        for text in ["epitome", "epitome/epitome:1", "a.b/", "a.b/c:", "https://a.b/c", "a.b/c?d"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
