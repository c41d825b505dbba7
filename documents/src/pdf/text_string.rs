//! Texts that are not drawn: titles, and what letters stand for.

/// A string outside of the content of pages: UTF-16 or UTF-8 with a byte order mark, else nearly
/// Latin-1.
pub(super) fn text_string(bytes: &[u8]) -> String {
    match encoding_rs::Encoding::for_bom(bytes) {
        Some((encoding, _)) => encoding.decode_with_bom_removal(bytes).0.into_owned(),
        None => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}
