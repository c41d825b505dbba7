//! Names of an endpoint, and of the models and configurations that a deployment makes for it.

/// The variant that every endpoint has, under the name that SageMaker's SDK gives it.
pub(crate) const VARIANT: &str = "AllTraffic";

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

/// The name of a model or configuration whose content has this digest.
pub(crate) fn name_of(endpoint: &str, digest: &str) -> String {
    format!("{endpoint}-{}", &digest[..DIGITS])
}

/// Whether the name of a model or configuration is the endpoint's and a digest.
pub(crate) fn is_ours(endpoint: &str, name: &str) -> bool {
    let digest = name.strip_prefix(endpoint).and_then(|rest| rest.strip_prefix('-'));
    digest.is_some_and(|digest| {
        digest.len() == DIGITS
            && digest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
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
