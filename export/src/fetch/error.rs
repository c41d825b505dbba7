//! What can go wrong between here and S3, one variant and one sentence each.

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use epitome_runtime::error::innermost;

use super::uri::S3Uri;

/// Why an object could not be fetched, or put.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no address on S3.
    #[error("'{text}' is no address on S3 ({problem}): give s3://BUCKET/KEY")]
    Uri {
        /// The text.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The address of an upload names neither an archive nor a folder.
    #[error(
        "{uri} cannot be an output: give a name that ends in .tar.gz, or a folder that ends in /"
    )]
    DestinationName {
        /// The address.
        uri: S3Uri,
    },
    /// The operating system gives no threads.
    #[error("no threads can be started for the network ({problem})")]
    Threads {
        /// What it says.
        problem: String,
    },
    /// Nothing in the credential chain has credentials.
    #[error(
        "no AWS credentials were found ({problem}): set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role provides them"
    )]
    NoCredentials {
        /// What the credential chain says.
        problem: String,
    },
    /// There were credentials once.
    #[error(
        "the AWS credentials have expired: renew them, with 'aws sso login' or a new session token"
    )]
    ExpiredCredentials,
    /// The credentials are nobody's.
    #[error(
        "S3 does not accept the AWS credentials ({code}): check AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    BadCredentials {
        /// S3's code.
        code: String,
    },
    /// The credentials may not do this.
    #[error(
        "access to {uri} was denied: the credentials need {action} for it, and s3:ListBucket for its bucket, without which an object that does not exist looks the same"
    )]
    Denied {
        /// What was asked for.
        uri: S3Uri,
        /// The permission that is missing.
        action: &'static str,
    },
    /// No bucket has this name.
    #[error("the bucket of {uri} does not exist")]
    NoSuchBucket {
        /// What was asked for.
        uri: S3Uri,
    },
    /// The bucket has no such object, nor any under such a prefix.
    #[error(
        "{uri} does not exist: give the model.tar.gz of a training job, or a prefix with a checkpoint's files"
    )]
    NoSuchKey {
        /// What was asked for.
        uri: S3Uri,
    },
    /// The bucket is elsewhere.
    #[error("the bucket of {uri} is in the region {right}, not in {used}: set AWS_REGION={right}")]
    WrongRegion {
        /// What was asked for.
        uri: S3Uri,
        /// The region that was asked.
        used: String,
        /// The bucket's region.
        right: String,
    },
    /// The object is in cold storage.
    #[error(
        "{uri} is archived and cannot be read: restore it first, with 'aws s3api restore-object'"
    )]
    Archived {
        /// The object.
        uri: S3Uri,
    },
    /// Not all ranges would be of the same object.
    #[error("{uri} was changed while it was being read: run the command again")]
    Changed {
        /// The object.
        uri: S3Uri,
    },
    /// The server sent another number of bytes than was asked for.
    #[error("{uri} arrived with a wrong length: the server sent {found} where {due} was due")]
    Length {
        /// The object.
        uri: S3Uri,
        /// What came.
        found: String,
        /// What was asked for.
        due: String,
    },
    /// What arrived is not what is stored.
    #[error(
        "{uri} arrived damaged: its {algorithm} is not the one that S3 stores; run the command again"
    )]
    Checksum {
        /// The object.
        uri: S3Uri,
        /// The checksum's name.
        algorithm: &'static str,
    },
    /// The connection broke again and again, with nothing arriving in between.
    #[error(
        "the connection to S3 broke {attempts} times in a row while reading {uri} at byte {at} ({problem}): run the command again"
    )]
    Broken {
        /// The object.
        uri: S3Uri,
        /// How often it broke.
        attempts: u32,
        /// The next byte that was due.
        at: u64,
        /// How it broke the last time.
        problem: String,
    },
    /// No answer at all.
    #[error("S3 cannot be reached for {uri} ({problem})")]
    Unreachable {
        /// What was asked for.
        uri: S3Uri,
        /// What happened instead.
        problem: String,
    },
    /// Any other refusal.
    #[error("S3 refused {uri} ({action}: {problem})")]
    Refused {
        /// What was asked for.
        uri: S3Uri,
        /// What it was asked for.
        action: &'static str,
        /// S3's code and message.
        problem: String,
    },
    /// The prefix has more than any model.
    #[error("{uri} has more than {limit} objects: give the prefix of one model")]
    TooManyObjects {
        /// The prefix.
        uri: S3Uri,
        /// The most that are looked at.
        limit: usize,
    },
    /// An object that no export wrote is where the output would go.
    #[error("{uri} exists and is not a bundle: choose another --output, or remove it")]
    DestinationExists {
        /// The object.
        uri: S3Uri,
    },
    /// The object was written by somebody else after it was looked at.
    #[error(
        "{uri} was written by somebody else meanwhile, and is left as it is: run the command again"
    )]
    DestinationChanged {
        /// The object.
        uri: S3Uri,
    },
}

impl Error {
    /// Whether the address itself was wrong, or what is there: no second try can mend it.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Uri { .. }
                | Self::DestinationName { .. }
                | Self::DestinationExists { .. }
                | Self::NoSuchBucket { .. }
                | Self::NoSuchKey { .. }
        )
    }
}

/// What was asked of S3, for messages.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) uri: &'a S3Uri,
    /// The permission that it needs.
    pub(super) action: &'static str,
    /// The region that was asked.
    pub(super) region: &'a str,
}

impl Request<'_> {
    /// What S3's answer, or its absence, means.
    pub(super) fn error<E>(&self, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: StdError + ProvideErrorMetadata + 'static,
    {
        let uri = self.uri.clone();
        let Some(response) = error.raw_response() else {
            return Error::Unreachable {
                uri,
                problem: innermost(error),
            };
        };
        let status = response.status().as_u16();
        let right = response.headers().get("x-amz-bucket-region");
        // S3 names the region with other answers as well; these are those to a wrong one.
        let elsewhere = matches!(status, 301 | 307 | 400 | 403);
        if let Some(right) = right.filter(|&right| right != self.region && elsewhere) {
            return Error::WrongRegion {
                uri,
                used: self.region.to_owned(),
                right: right.to_owned(),
            };
        }
        let code = error.code().unwrap_or_default();
        match (code, status) {
            ("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired", _) => {
                Error::ExpiredCredentials
            }
            ("InvalidAccessKeyId" | "InvalidToken" | "SignatureDoesNotMatch", _) => {
                Error::BadCredentials {
                    code: code.to_owned(),
                }
            }
            ("NoSuchBucket", _) => Error::NoSuchBucket { uri },
            ("NoSuchKey" | "NotFound", _) | ("", 404) => Error::NoSuchKey { uri },
            ("InvalidObjectState", _) => Error::Archived { uri },
            ("PreconditionFailed", _) | (_, 412) => Error::Changed { uri },
            ("AccessDenied" | "Forbidden" | "", 403) => Error::Denied {
                uri,
                action: self.action,
            },
            _ => Error::Refused {
                uri,
                action: self.action,
                problem: match (code, error.message()) {
                    ("", None) => format!("status {status}"),
                    (code, Some(message)) => format!("{code}, {message}"),
                    (code, None) => format!("{code}, status {status}"),
                },
            },
        }
    }
}
