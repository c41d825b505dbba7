//! Digests of sources.

use sha2::{Digest, Sha256};

/// The digest of a folder's files: for each file its name, a zero byte, its size in eight bytes,
/// and its contents.
pub(super) struct FolderDigest(Sha256);

impl FolderDigest {
    pub(super) fn new() -> Self {
        Self(Sha256::new())
    }

    /// Begins a file of `size` bytes.
    pub(super) fn begin(&mut self, name: &str, size: u64) {
        self.0.update(name.as_bytes());
        self.0.update([0]);
        self.0.update(size.to_le_bytes());
    }

    /// Adds the next bytes of the file.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns `sha256:` and the digest in hexadecimal.
    pub(super) fn finish(self) -> String {
        format!("sha256:{}", hex(&self.0.finalize()))
    }
}

/// Encodes bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
