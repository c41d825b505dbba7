//! Why a pickle cannot be read.

/// Why a pickle is not a state dictionary of plain tensors.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::checkpoint::torch) enum Fault {
    /// It names this function or class.
    Global(String),
    /// It holds another kind of value under this name.
    NotATensor { name: String, kind: String },
    /// It is not a pickle that PyTorch writes. The text follows the file name in a message.
    Malformed(String),
}

pub(super) type Read<T> = Result<T, Fault>;

pub(super) fn malformed<T>(problem: impl Into<String>) -> Read<T> {
    Err(Fault::Malformed(problem.into()))
}

/// Shortens a name for messages.
pub(super) fn shorten(name: &str) -> String {
    const LONGEST: usize = 120;
    let mut short: String = name.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if name.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}
