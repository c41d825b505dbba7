//! `s3://bucket/key`

use std::fmt;
use std::str::FromStr;

/// The address of an object or a prefix on S3, as the AWS tools write it.
///
/// ```
/// use epitome_aws::S3Uri;
///
/// let uri: S3Uri = "s3://bucket/job/output/model.tar.gz".parse().unwrap();
/// assert_eq!((uri.bucket(), uri.key()), ("bucket", "job/output/model.tar.gz"));
/// assert!("s3:/bucket".parse::<S3Uri>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Uri {
    bucket: String,
    key: String,
}

impl S3Uri {
    /// Scheme at the start of every address.
    pub const SCHEME: &'static str = "s3://";

    /// The bucket's name, or an access point's alias.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key of the object, or the prefix. Empty for the whole bucket.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether the address is a folder: a prefix that ends in a slash, or a bucket.
    pub(crate) fn is_folder(&self) -> bool {
        self.key.is_empty() || self.key.ends_with('/')
    }

    /// The address of `name` in this folder. Adds a missing slash between them.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let slash = if self.is_folder() { "" } else { "/" };
        Self { bucket: self.bucket.clone(), key: format!("{}{slash}{name}", self.key) }
    }
}

/// Error of a text that is no address on S3.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an address on S3 ({problem}): write s3://BUCKET/KEY")]
pub struct InvalidUri {
    text: String,
    problem: &'static str,
}

impl FromStr for S3Uri {
    type Err = InvalidUri;

    fn from_str(text: &str) -> Result<Self, InvalidUri> {
        let wrong = |problem| InvalidUri { text: text.to_owned(), problem };
        let rest =
            text.strip_prefix(Self::SCHEME).ok_or_else(|| wrong("it does not begin with s3://"))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        // Names from before 2018 may have underscores, and more than the 63 characters of today.
        if !(3..=255).contains(&bucket.len()) || !bucket.bytes().all(is_name) {
            return Err(wrong(
                "the name of a bucket has 3 to 63 letters, digits, dots and hyphens",
            ));
        }
        if key.len() > 1024 {
            return Err(wrong("its key is longer than 1024 bytes"));
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

impl fmt::Display for S3Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}", Self::SCHEME, self.bucket, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_put_together() {
        for (text, bucket, key) in [
            ("s3://a-bucket/k", "a-bucket", "k"),
            ("s3://a.bucket/a b/c%20/", "a.bucket", "a b/c%20/"),
            ("s3://bucket//k", "bucket", "/k"),
            ("s3://bucket/", "bucket", ""),
        ] {
            let uri: S3Uri = text.parse().unwrap();
            assert_eq!((uri.bucket(), uri.key()), (bucket, key));
            assert_eq!(uri.to_string(), text);
        }
        let folder: S3Uri = "s3://bucket/a/".parse().unwrap();
        let other: S3Uri = "s3://bucket/a".parse().unwrap();
        let bucket: S3Uri = "s3://bucket".parse().unwrap();
        assert!(folder.is_folder() && bucket.is_folder() && !other.is_folder());
        assert_eq!(folder.join("x"), other.join("x"));
        assert_eq!(bucket.join("x").key(), "x");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        let long = format!("s3://bucket/{}", "k".repeat(1025));
        for text in [
            "bucket/key",
            "S3://bucket/key",
            "s3://",
            "s3:///key",
            "s3://b/k",
            "s3://a bucket/k",
            &long,
        ] {
            assert!(text.parse::<S3Uri>().is_err(), "{text}");
        }
    }
}
