//! The checksum that S3 stores with an object, and its comparison with the received bytes.

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{ChecksumType, ServerSideEncryption};
use aws_smithy_checksums::ChecksumAlgorithm;
use aws_smithy_checksums::http::HttpChecksum;
use aws_smithy_types::base64;
use md5::{Digest, Md5};

/// A checksum that S3 stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    algorithm: Algorithm,
    /// Value of the checksum, without the number of parts.
    value: Vec<u8>,
    /// Number of parts, for a checksum of the parts' checksums.
    parts: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Amazon(ChecksumAlgorithm),
    /// The ETag, if it is an MD5: of the object, or of the MD5s of its parts.
    Md5,
}

impl Stored {
    /// The best checksum in the answer: one of S3's checksum headers (requested with
    /// `x-amz-checksum-mode`), or else the ETag, which is an MD5 unless the object is encrypted.
    pub(super) fn of(head: &HeadObjectOutput) -> Option<Self> {
        use ChecksumAlgorithm::{Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};

        let headers = [
            (Sha256, head.checksum_sha256()),
            (Crc64Nvme, head.checksum_crc64_nvme()),
            (Crc32c, head.checksum_crc32_c()),
            (Crc32, head.checksum_crc32()),
            (Sha1, head.checksum_sha1()),
        ];
        // Other servers than Amazon's give no type. The ETag shows whether there were parts.
        let etag = head.e_tag().unwrap_or_default();
        let composite = match head.checksum_type() {
            Some(kind) => *kind == ChecksumType::Composite,
            None => etag.contains('-'),
        };
        for (algorithm, value) in headers {
            let Some((value, parts)) = value.and_then(split) else {
                continue;
            };
            if let Ok(value) = base64::decode(value)
                && parts.is_some() >= composite
            {
                return Some(Self { algorithm: Algorithm::Amazon(algorithm), value, parts });
            }
        }
        let encryption = head.server_side_encryption();
        let plain = encryption.is_none_or(|kind| *kind == ServerSideEncryption::Aes256)
            && head.sse_customer_algorithm().is_none();
        let (value, parts) = split(etag.trim_matches('"'))?;
        Some(Self {
            algorithm: Algorithm::Md5,
            value: unhex(value).filter(|value| plain && value.len() == 16)?,
            parts,
        })
    }

    /// The number of parts, for a checksum of the parts' checksums.
    pub(super) fn parts(&self) -> Option<u64> {
        self.parts
    }

    /// Name of the checksum.
    pub(super) fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Amazon(ChecksumAlgorithm::Crc32) => "CRC32",
            Algorithm::Amazon(ChecksumAlgorithm::Crc32c) => "CRC32C",
            Algorithm::Amazon(ChecksumAlgorithm::Crc64Nvme) => "CRC64NVME",
            Algorithm::Amazon(ChecksumAlgorithm::Sha1) => "SHA-1",
            Algorithm::Amazon(ChecksumAlgorithm::Sha256) => "SHA-256",
            Algorithm::Amazon(other) => other.as_str(),
            Algorithm::Md5 => "MD5",
        }
    }

    /// Begins a check. `part` is the size of each part except the last, for a composite checksum.
    pub(super) fn check(&self, part: Option<u64>) -> Check {
        let part = part.map(|size| Part { size, left: size, hasher: self.algorithm.hasher() });
        Check { stored: self.clone(), whole: self.algorithm.hasher(), part }
    }
}

/// Splits off the number of parts after a dash.
fn split(value: &str) -> Option<(&str, Option<u64>)> {
    match value.split_once('-') {
        Some((value, parts)) => Some((value, Some(parts.parse().ok()?))),
        None => Some((value, None)),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match *pair {
            [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

enum Hasher {
    Amazon(Box<dyn HttpChecksum>),
    Md5(Md5),
}

impl Algorithm {
    fn hasher(self) -> Hasher {
        match self {
            Self::Amazon(algorithm) => Hasher::Amazon(algorithm.into_impl()),
            Self::Md5 => Hasher::Md5(Md5::new()),
        }
    }
}

impl Hasher {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Amazon(checksum) => checksum.update(bytes),
            Self::Md5(md5) => md5.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Amazon(checksum) => checksum.finalize().to_vec(),
            Self::Md5(md5) => md5.finalize().to_vec(),
        }
    }
}

/// A checksum that is computed from bytes in order.
pub(super) struct Check {
    stored: Stored,
    whole: Hasher,
    part: Option<Part>,
}

struct Part {
    size: u64,
    left: u64,
    hasher: Hasher,
}

impl Check {
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        let Some(part) = &mut self.part else {
            return self.whole.update(bytes);
        };
        while !bytes.is_empty() {
            if part.left == 0 {
                let next = self.stored.algorithm.hasher();
                let done = std::mem::replace(&mut part.hasher, next);
                self.whole.update(&done.finish());
                part.left = part.size;
            }
            let count =
                usize::try_from(part.left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (now, later) = bytes.split_at(count);
            part.hasher.update(now);
            part.left -= count as u64;
            bytes = later;
        }
    }

    /// Whether the bytes have the stored checksum.
    pub(super) fn matches(mut self) -> bool {
        if let Some(part) = self.part {
            self.whole.update(&part.hasher.finish());
        }
        self.whole.finish() == self.stored.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"123456789";

    fn right(stored: &Stored, part: Option<u64>, bytes: &[u8]) -> bool {
        let mut check = stored.check(part);
        for piece in bytes.chunks(4) {
            check.update(piece);
        }
        check.matches()
    }

    #[test]
    fn every_algorithm_of_s3_is_known() {
        // Check values of the CRC catalogue, and digests of Python's hashlib.
        let heads = [
            HeadObjectOutput::builder().checksum_crc32("y/Q5Jg=="),
            HeadObjectOutput::builder().checksum_crc32_c("4waSgw=="),
            HeadObjectOutput::builder().checksum_crc64_nvme("rosUhgp5mIg="),
            HeadObjectOutput::builder().checksum_sha1("98O8HYCOBHMq32eZZczDTKeuNEE="),
            HeadObjectOutput::builder()
                .checksum_sha256("FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
            HeadObjectOutput::builder().e_tag("\"25f9e794323b453885f5181f1b624d0b\""),
        ];
        for head in heads {
            let stored = Stored::of(&head.build()).unwrap();
            assert_eq!(stored.parts(), None);
            assert!(right(&stored, None, TEXT), "{}", stored.algorithm());
            assert!(!right(&stored, None, b"123456780"), "{}", stored.algorithm());
        }
    }

    #[test]
    fn checksums_of_checksums_are_followed() {
        // Python's hashlib: the MD5 of the MD5s of "12345" and "6789".
        let etag = "\"324730582f20c3f18cbb66d63a6137d2-2\"";
        let stored = Stored::of(&HeadObjectOutput::builder().e_tag(etag).build()).unwrap();
        assert_eq!(stored.parts(), Some(2));
        assert!(right(&stored, Some(5), TEXT));
        assert!(!right(&stored, Some(4), TEXT));
        assert!(!right(&stored, None, TEXT));
    }

    #[test]
    fn a_checksum_that_may_be_of_parts_is_not_taken_for_one_of_the_whole() {
        let etag = "\"324730582f20c3f18cbb66d63a6137d2-2\"";
        let head = || HeadObjectOutput::builder().e_tag(etag).checksum_crc32("y/Q5Jg==");
        let unsaid = Stored::of(&head().build()).unwrap();
        assert_eq!((unsaid.algorithm(), unsaid.parts()), ("MD5", Some(2)));
        let whole = head().checksum_type(ChecksumType::FullObject).build();
        let whole = Stored::of(&whole).unwrap();
        assert_eq!((whole.algorithm(), whole.parts()), ("CRC32", None));
    }

    #[test]
    fn an_etag_that_is_no_md5_is_no_checksum() {
        let md5 = "\"25f9e794323b453885f5181f1b624d0b\"";
        let encrypted = HeadObjectOutput::builder()
            .e_tag(md5)
            .server_side_encryption(ServerSideEncryption::AwsKms);
        let own_key = HeadObjectOutput::builder().e_tag(md5).sse_customer_algorithm("AES256");
        let other = HeadObjectOutput::builder().e_tag("\"0x8DCF\"");
        for head in [encrypted, own_key, other] {
            assert_eq!(Stored::of(&head.build()), None);
        }
    }
}
