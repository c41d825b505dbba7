//! Paths of a source.

/// The path of a file below a source's folder.
pub(super) fn within(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    }
}
