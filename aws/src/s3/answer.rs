//! Errors of failed requests to S3.

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use epitome_runtime::error::innermost;

use crate::error::Error;
use crate::uri::S3Uri;

/// A request to S3, for error messages.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) uri: &'a S3Uri,
    /// Permission that the request needs.
    pub(super) action: &'static str,
    /// Region of the request.
    pub(super) region: &'a str,
}

impl Request<'_> {
    /// The error of this request, from S3's answer or from the connection.
    pub(super) fn error<E>(&self, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: StdError + ProvideErrorMetadata + 'static,
    {
        let uri = self.uri.clone();
        let operation = format!("{} of {uri}", self.action);
        let Some(response) = error.raw_response() else {
            return Error::Unreachable {
                target: "S3".to_owned(),
                operation,
                problem: innermost(error),
            };
        };
        let status = response.status().as_u16();
        let right = response.headers().get("x-amz-bucket-region");
        // S3 names the bucket's region in other answers too. Only these statuses can mean a wrong
        // region.
        let elsewhere = matches!(status, 301 | 307 | 400 | 403);
        if let Some(right) = right.filter(|&right| right != self.region && elsewhere) {
            return Error::WrongRegion {
                uri,
                used: self.region.to_owned(),
                right: right.to_owned(),
            };
        }
        let code = error.code().unwrap_or_default();
        if let Some(error) = Error::of_credentials(code) {
            return error;
        }
        match (code, status) {
            ("NoSuchBucket", _) => Error::NoSuchBucket { uri },
            ("NoSuchKey" | "NotFound", _) | ("", 404) => Error::NoSuchKey { uri },
            ("InvalidObjectState", _) => Error::Archived { uri },
            ("PreconditionFailed", _) | (_, 412) => Error::Changed { uri },
            ("AccessDenied" | "Forbidden" | "", 403) => Error::Denied { uri, action: self.action },
            _ => Error::Refused {
                operation,
                code: match code {
                    "" => format!("status {status}"),
                    code => code.to_owned(),
                },
                message: error.message().unwrap_or_default().to_owned(),
                status,
            },
        }
    }
}
