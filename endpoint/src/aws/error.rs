//! What can go wrong between here and AWS.

use aws_credential_types::provider::error::CredentialsError;
use epitome_runtime::error::innermost;

/// Why something in AWS could not be done, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AwsError {
    /// Neither the environment, the profile nor the machine names a region.
    #[error("no AWS region is set: set AWS_REGION, or a region in the profile")]
    NoRegion,
    /// What is set as the region cannot be one.
    #[error("'{0}' is no AWS region: give one such as eu-west-1")]
    BadRegion(String),
    /// No place that credentials come from has any.
    #[error(
        "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, sign in, \
         or run where a role is attached"
    )]
    NoCredentials,
    /// A place that credentials come from has none to give.
    #[error(
        "AWS credentials could not be had ({}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or sign in",
        .0.trim_end_matches('.')
    )]
    Credentials(String),
    /// Nothing answers there, or not in time.
    #[error("{url} could not be reached for {operation}: {problem}")]
    Unreachable {
        /// Where the call went.
        url: String,
        /// The call.
        operation: String,
        /// What the system said.
        problem: String,
    },
    /// AWS refused the call.
    #[error("AWS refused {operation}: {}{}", describe(.code, .message), advice(.code))]
    Refused {
        /// The call.
        operation: String,
        /// The error's class, as `ValidationException`.
        code: String,
        /// What AWS says about it.
        message: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not one that this service gives.
    #[error("{url} answered {operation} with something that AWS does not send ({problem})")]
    BadAnswer {
        /// Where the call went.
        url: String,
        /// The call.
        operation: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The container behind an endpoint answered with an error.
    #[error("the container answered with status {status}: {}{}", message.trim_end_matches('.'), log_of(*.status, .log))]
    Model {
        /// Its HTTP status.
        status: u16,
        /// What it says.
        message: String,
        /// The stream of CloudWatch that its log is in.
        log: Option<String>,
    },
    /// Something that was asked for cannot be, whatever AWS says.
    #[error("{0}")]
    Invalid(String),
    /// What was asked for ended badly on AWS's side.
    #[error("{0}")]
    Failed(String),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl From<CredentialsError> for AwsError {
    fn from(error: CredentialsError) -> Self {
        match error {
            CredentialsError::CredentialsNotLoaded(_) => Self::NoCredentials,
            error => Self::Credentials(innermost(&error)),
        }
    }
}

impl AwsError {
    /// Whether AWS says that there is no such thing.
    pub fn is_missing(&self) -> bool {
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

    /// Whether the call itself was wrong, and no second try can mend it.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NoRegion | Self::BadRegion(_) | Self::Invalid(_))
    }
}

fn describe(code: &str, message: &str) -> String {
    let message = message.trim().trim_end_matches('.');
    if message.is_empty() {
        code.to_owned()
    } else {
        format!("{message} ({code})")
    }
}

/// Where to read more, when the container itself is at fault.
fn log_of(status: u16, log: &Option<String>) -> String {
    match log {
        Some(log) if status >= 500 => format!(" (its log: {log})"),
        _ => String::new(),
    }
}

/// What helps, where the class of an error alone tells.
fn advice(code: &str) -> &'static str {
    match code {
        "ExpiredTokenException" | "ExpiredToken" => ": sign in again",
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidSignatureException" => {
            ": the access key is not valid there"
        }
        "RequestExpired" | "RequestTimeTooSkewed" => ": set this machine's clock",
        "ResourceLimitExceeded" => ": ask AWS for a higher quota, or choose another instance type",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, message: &str) -> AwsError {
        AwsError::Refused {
            operation: "DescribeEndpoint".into(),
            code: code.into(),
            message: message.into(),
            status: 400,
        }
    }

    #[test]
    fn only_what_is_not_there_is_missing() {
        // SageMaker's and moto's words.
        for message in [
            "Could not find endpoint \"arn:aws:sagemaker:eu-west-1:1:endpoint/a\".",
            "Could not find model \"arn:aws:sagemaker:eu-west-1:1:model/a\".",
            "Requested resource not found.",
        ] {
            assert!(
                refused("ValidationException", message).is_missing(),
                "{message}"
            );
        }
        assert!(refused("ResourceNotFound", "").is_missing());
        let other = refused("ValidationException", "1 validation error detected");
        assert!(!other.is_missing());
        assert!(!AwsError::NoRegion.is_missing());
    }

    #[test]
    fn a_refusal_is_one_sentence() {
        let expired = refused(
            "ExpiredTokenException",
            "The security token included in the request is expired.",
        );
        assert_eq!(
            expired.to_string(),
            "AWS refused DescribeEndpoint: The security token included in the request is expired \
             (ExpiredTokenException): sign in again"
        );
        assert_eq!(
            refused("Odd", "").to_string(),
            "AWS refused DescribeEndpoint: Odd"
        );
    }
}
