//! Errors of the connection to AWS, with a message of one sentence each.

use std::io;
use std::path::{Path, PathBuf};

use aws_credential_types::provider::error::CredentialsError;
use epitome_runtime::error::innermost;

use crate::uri::{InvalidUri, S3Uri};

/// Result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system starts no threads.
    #[error("no threads can be started for the network ({0})")]
    Threads(io::Error),
    /// Neither the environment, the profile nor the machine names a region.
    #[error("no AWS region is set: set AWS_REGION, or a region in the profile")]
    NoRegion,
    /// The configured region is not a valid name.
    #[error("'{0}' is not an AWS region: write one such as eu-west-1")]
    BadRegion(String),
    /// No source has credentials.
    #[error(
        "no AWS credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, sign in, or run where a role provides them"
    )]
    NoCredentials,
    /// A source of credentials failed.
    #[error(
        "AWS credentials could not be loaded ({}): set AWS_PROFILE, or AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, or sign in",
        .0.trim_end_matches('.')
    )]
    Credentials(String),
    /// The credentials have expired.
    #[error(
        "the AWS credentials have expired: renew them, with 'aws sso login' or a new session token"
    )]
    ExpiredCredentials,
    /// AWS rejects the credentials.
    #[error(
        "AWS does not accept the credentials ({code}): check AWS_PROFILE, or AWS_ACCESS_KEY_ID \
         and AWS_SECRET_ACCESS_KEY"
    )]
    BadCredentials {
        /// AWS's error code.
        code: String,
    },
    /// There was no answer, or not in time.
    #[error("{target} cannot be reached for {operation}: {problem}")]
    Unreachable {
        /// URL or service of the call.
        target: String,
        /// Operation; for S3 also the object.
        operation: String,
        /// Message of the system.
        problem: String,
    },
    /// AWS refused the call.
    #[error("AWS refused {operation}: {}{}", describe(.code, .message), advice(.code))]
    Refused {
        /// Operation; for S3 also the object.
        operation: String,
        /// Error code, such as `ValidationException`.
        code: String,
        /// AWS's message.
        message: String,
        /// HTTP status.
        status: u16,
    },
    /// The answer is not valid for this service.
    #[error("{url} answered {operation} with something that AWS does not send ({problem})")]
    BadAnswer {
        /// URL of the call.
        url: String,
        /// Operation.
        operation: String,
        /// Description of the problem.
        problem: String,
    },
    /// The container of an endpoint answered with an error.
    #[error(
        "the container answered with status {status}: {}{}",
        message.trim_end_matches('.'), log_of(*.status, .log)
    )]
    Model {
        /// HTTP status of the container.
        status: u16,
        /// Message of the container.
        message: String,
        /// CloudWatch stream with the container's log.
        log: Option<String>,
    },
    /// A setting is invalid. AWS was not asked.
    #[error("{0}")]
    Invalid(String),
    /// The requested work failed in AWS.
    #[error("{0}")]
    Failed(String),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
    /// A file on this machine could not be read.
    #[error("'{}' could not be read", path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },

    /// The text is not an address on S3.
    #[error(transparent)]
    Uri(#[from] InvalidUri),
    /// The address of an upload names neither an archive nor a folder.
    #[error(
        "{uri} cannot be an output: give a name that ends in .tar.gz, or a folder that ends in /"
    )]
    DestinationName {
        /// The address.
        uri: S3Uri,
    },
    /// The destination has an object that no export wrote.
    #[error("{uri} exists and is not a bundle: choose another --output, or remove it")]
    DestinationExists {
        /// The object.
        uri: S3Uri,
    },
    /// Another client wrote the object after it was looked up.
    #[error(
        "{uri} was written by somebody else meanwhile, and is left as it is: run the command again"
    )]
    DestinationChanged {
        /// The object.
        uri: S3Uri,
    },
    /// The credentials lack a permission.
    #[error(
        "access to {uri} was denied: the credentials need {action} for it, and s3:ListBucket for \
         its bucket, without which an object that does not exist looks the same"
    )]
    Denied {
        /// The object or prefix.
        uri: S3Uri,
        /// The missing permission.
        action: &'static str,
    },
    /// No bucket has this name.
    #[error("the bucket of {uri} does not exist")]
    NoSuchBucket {
        /// The object or prefix.
        uri: S3Uri,
    },
    /// The bucket has no such object, nor any under such a prefix.
    #[error(
        "{uri} does not exist: give the model.tar.gz of a training job, or a prefix with a \
         checkpoint's files"
    )]
    NoSuchKey {
        /// The object or prefix.
        uri: S3Uri,
    },
    /// The bucket is in another region.
    #[error("the bucket of {uri} is in the region {right}, not in {used}: set AWS_REGION={right}")]
    WrongRegion {
        /// The object or prefix.
        uri: S3Uri,
        /// Region of the request.
        used: String,
        /// Region of the bucket.
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
    /// The object changed during the download.
    #[error("{uri} was changed while it was being read: run the command again")]
    Changed {
        /// The object.
        uri: S3Uri,
    },
    /// The server sent another number of bytes than requested.
    #[error("{uri} arrived with a wrong length: the server sent {found} instead of {expected}")]
    Length {
        /// The object.
        uri: S3Uri,
        /// Received length.
        found: String,
        /// Requested length.
        expected: String,
    },
    /// The bytes that arrived differ from the object that S3 stores.
    #[error(
        "{uri} arrived damaged: its {algorithm} is not the one that S3 stores; run the command \
         again"
    )]
    Checksum {
        /// The object.
        uri: S3Uri,
        /// Name of the checksum.
        algorithm: &'static str,
    },
    /// The connection broke several times in a row without any progress.
    #[error(
        "the connection to S3 broke {attempts} times in a row while reading {uri} at byte {at} \
         ({problem}): run the command again"
    )]
    Broken {
        /// The object.
        uri: S3Uri,
        /// Number of attempts.
        attempts: u32,
        /// Position of the next byte.
        at: u64,
        /// The last problem.
        problem: String,
    },
    /// The prefix has more objects than any model has files.
    #[error("{uri} has more than {limit} objects: give the prefix of one model")]
    TooManyObjects {
        /// The prefix.
        uri: S3Uri,
        /// Largest number of objects that are listed.
        limit: usize,
    },
}

impl From<CredentialsError> for Error {
    fn from(error: CredentialsError) -> Self {
        let problem = innermost(&error);
        match error {
            _ if problem.to_lowercase().contains("expired") => Self::ExpiredCredentials,
            CredentialsError::CredentialsNotLoaded(_) => Self::NoCredentials,
            _ => Self::Credentials(problem),
        }
    }
}

impl Error {
    /// An error of the operating system while reading `path`.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// The error for a code about the credentials, if it is one.
    pub(crate) fn of_credentials(code: &str) -> Option<Self> {
        match code {
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
                Some(Self::ExpiredCredentials)
            }
            "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "InvalidToken"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => Some(Self::BadCredentials { code: code.to_owned() }),
            _ => None,
        }
    }

    /// Whether the resource does not exist in AWS.
    pub(crate) fn is_missing(&self) -> bool {
        let Self::Refused { code, message, .. } = self else {
            return false;
        };
        let message = message.to_ascii_lowercase();
        matches!(
            code.as_str(),
            "ResourceNotFound" | "ResourceNotFoundException" | "ObjectNotFoundException"
        ) || code == "ValidationException"
            && ["could not find", "not found", "does not exist"]
                .iter()
                .any(|words| message.contains(words))
    }

    /// Whether AWS says that a resource with this name exists.
    pub(crate) fn is_there_already(&self) -> bool {
        matches!(self, Self::Refused { message, .. }
            if ["already exist", "Cannot create already existing"]
                .iter()
                .any(|words| message.contains(words)))
    }

    /// Whether the user interrupted.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted)
    }

    /// Whether the command was called wrongly, so that the same call can never succeed.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoRegion
                | Self::BadRegion(_)
                | Self::Invalid(_)
                | Self::Uri(_)
                | Self::DestinationName { .. }
                | Self::DestinationExists { .. }
                | Self::NoSuchBucket { .. }
                | Self::NoSuchKey { .. }
        )
    }
}

fn describe(code: &str, message: &str) -> String {
    let message = message.trim().trim_end_matches('.');
    if message.is_empty() { code.to_owned() } else { format!("{message} ({code})") }
}

/// Names the log, if the container itself failed.
fn log_of(status: u16, log: &Option<String>) -> String {
    match log {
        Some(log) if status >= 500 => format!(" (its log: {log})"),
        _ => String::new(),
    }
}

/// Advice that follows from the error code alone.
fn advice(code: &str) -> &'static str {
    match code {
        "RequestExpired" | "RequestTimeTooSkewed" => ": set this machine's clock",
        "ResourceLimitExceeded" => ": ask AWS for a higher quota, or choose another instance type",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, message: &str) -> Error {
        Error::Refused {
            operation: "DescribeEndpoint".into(),
            code: code.into(),
            message: message.into(),
            status: 400,
        }
    }

    #[test]
    fn only_what_is_not_there_is_missing() {
        // Messages of SageMaker and moto.
        for message in [
            "Could not find endpoint \"arn:aws:sagemaker:eu-west-1:1:endpoint/a\".",
            "Could not find model \"arn:aws:sagemaker:eu-west-1:1:model/a\".",
            "Requested resource not found.",
        ] {
            assert!(refused("ValidationException", message).is_missing(), "{message}");
        }
        assert!(refused("ResourceNotFound", "").is_missing());
        let other = refused("ValidationException", "1 validation error detected");
        assert!(!other.is_missing());
        assert!(!Error::NoRegion.is_missing());
    }

    #[test]
    fn a_refusal_is_one_sentence() {
        let limit = refused("ResourceLimitExceeded", "The limit is 0.");
        assert_eq!(
            limit.to_string(),
            "AWS refused DescribeEndpoint: The limit is 0 (ResourceLimitExceeded): ask AWS for a \
             higher quota, or choose another instance type"
        );
        assert_eq!(refused("Odd", "").to_string(), "AWS refused DescribeEndpoint: Odd");
    }
}
