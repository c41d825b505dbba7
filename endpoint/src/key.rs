//! The API key of requests.

use std::fmt;

use epitome_runtime::bundle::digest;

/// A key, stored as its digest.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// Creates a key from its text.
    pub fn new(text: &str) -> Self {
        Self(digest::bytes(text.as_bytes()))
    }

    /// Compares with the key, in a time that does not depend on the position of a difference.
    pub(crate) fn is(&self, text: &[u8]) -> bool {
        let given = digest::bytes(text);
        let pairs = std::iter::zip(self.0.bytes(), given.bytes());
        pairs.fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b))) == 0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_itself_from_others_and_shows_nothing() {
        let key = Key::new("secret");
        assert!(key.is(b"secret"));
        assert!(!key.is(b"secre") && !key.is(b"secrets") && !key.is(b""));
        assert_eq!(format!("{key:?}"), "Key");
    }
}
