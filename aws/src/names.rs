//! Names of an endpoint, of the models and configurations that a deployment makes for it, and of
//! jobs.

use std::time::SystemTime;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use crate::error::{Error, Result};

/// The usual name of an endpoint's only variant, as in SageMaker's SDK.
pub const VARIANT: &str = "AllTraffic";

/// Longest name of an endpoint. AWS allows 63 characters, of which models and configurations need
/// nine for their digest.
pub(crate) const MAX_NAME: usize = 54;

/// Number of digits of the digest in the name of a model or configuration.
const DIGITS: usize = 8;

/// Whether a name is valid for an endpoint, and short enough for the digest after it.
pub(crate) fn is_endpoint_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Returns an error unless AWS allows a job with this name.
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

/// The default name of a job, which contains the time.
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

/// Whether a name consists of the endpoint's name and a digest.
pub(crate) fn is_ours(endpoint: &str, name: &str) -> bool {
    endpoint_of(name) == Some(endpoint)
}

/// The endpoint whose deployment may have created a model or configuration with this name.
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
