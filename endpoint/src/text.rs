//! Texts of requests.

use bytes::Bytes;

/// A text: a slice of the body of its request, or a copy. A slice takes no memory, but keeps the
/// whole body alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(Bytes);

impl Text {
    /// A slice of a body.
    ///
    /// # Panics
    /// If `part` does not lie in `body`.
    pub(crate) fn part_of(body: &Bytes, part: &str) -> Self {
        Self(body.slice_ref(part.as_bytes()))
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a text was made of a str")
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_not_copied() {
        let body = Bytes::from_static(br#"{"inputs":"abc"}"#);
        let part = std::str::from_utf8(&body[11..14]).unwrap();
        let text = Text::part_of(&body, part);
        assert_eq!((text.as_str(), text.len()), ("abc", 3));
        assert_eq!(text.as_str().as_ptr(), part.as_ptr());
        assert_eq!(text, Text::from("abc".to_owned()));
    }
}
