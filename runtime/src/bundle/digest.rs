//! SHA-256 digests.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::Sha256;

/// The SHA-256 digest of a file, in lower-case hexadecimal.
pub fn file(path: &Path) -> io::Result<String> {
    of(File::open(path)?)
}

/// An incremental SHA-256 digest.
#[derive(Clone, Debug, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        sha2::Digest::update(&mut self.0, bytes);
    }

    /// The digest in lower-case hexadecimal.
    pub fn finish(self) -> String {
        hex(&sha2::Digest::finalize(self.0))
    }
}

/// The SHA-256 digest of all bytes of a reader, in lower-case hexadecimal.
pub fn of(mut reader: impl Read) -> io::Result<String> {
    let mut digest = Digest::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(digest.finish()),
            count => digest.update(&buffer[..count]),
        }
    }
}

/// The SHA-256 digest of some bytes, in lower-case hexadecimal.
pub fn bytes(bytes: &[u8]) -> String {
    let mut digest = Digest::default();
    digest.update(bytes);
    digest.finish()
}

/// Formats bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn agrees_with_the_published_digest_of_abc() {
        assert_eq!(
            super::bytes(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
