//! Text strings outside of page content, such as titles.

/// A text string: UTF-16 or UTF-8 with a byte order mark, or else PDFDocEncoding, which is nearly
/// Latin-1.
pub(super) fn text_string(bytes: &[u8]) -> String {
    match encoding_rs::Encoding::for_bom(bytes) {
        Some((encoding, _)) => encoding.decode_with_bom_removal(bytes).0.into_owned(),
        None => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}
