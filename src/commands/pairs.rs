//! Flags of the form NAME=VALUE.

/// Both sides of the first equals sign.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("give NAME=VALUE".into()),
    }
}
