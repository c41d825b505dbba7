//! Names of an endpoint, of the models and configurations that a deployment makes for it, and of
//! jobs.

use std::time::SystemTime;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use crate::error::{Error, Result};

/// The variant that every endpoint has, under the name that SageMaker's SDK gives it.
pub const VARIANT: &str = "AllTraffic";

/// Longest name of an endpoint: AWS allows 63, of which models and configurations need nine.
pub(crate) const MAX_NAME: usize = 54;

/// Digits of the digest in the name of a model or configuration.
const DIGITS: usize = 8;

/// Whether a name is valid for an endpoint, and short enough to append a digest.
pub(crate) fn is_endpoint_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// An error unless AWS allows a job of this name.
pub(crate) fn require_job_name(name: &str) -> Result<()> {
    let sound = !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    match sound {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "'{name}' cannot name a job: up to 63 letters, digits and hyphens inside"
        ))),
    }
}

/// A name for a job that has none: the time names it.
pub fn job_name_at(prefix: &str, now: SystemTime) -> String {
    let time = DateTime::from(now).fmt(Format::DateTimeWithOffset).unwrap_or_default();
    let digits: String =
        time.chars().take(19).map(|c| if c.is_ascii_digit() { c } else { '-' }).collect();
    format!("{prefix}-{digits}")
}

/// The name of a model or configuration whose content has this digest.
pub(crate) fn name_of(endpoint: &str, digest: &str) -> String {
    format!("{endpoint}-{}", &digest[..DIGITS])
}

/// Whether the name of a model or configuration is the endpoint's and a digest.
pub(crate) fn is_ours(endpoint: &str, name: &str) -> bool {
    endpoint_of(name) == Some(endpoint)
}

/// The endpoint that a model or configuration may have been made for, by its name.
pub(crate) fn endpoint_of(name: &str) -> Option<&str> {
    let (endpoint, digest) = name.rsplit_once('-')?;
    let is_digest = digest.len() == DIGITS
        && digest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (is_digest && is_endpoint_name(endpoint)).then_some(endpoint)
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_names_with_a_digest_are_ours() {
        assert!(is_ours("news", "news-0123abcd"));
        for name in [
            "news",
            "news-0123abc",
            "news-0123abcde",
            "news-0123ABCD",
            "news-uk-0123abcd",
            "old-news-0123abcd",
        ] {
            assert!(!is_ours("news", name), "{name}");
        }
    }
}
