//! Failures: one sentence on standard error, and an exit code.

use std::io;

/// Exit code of a wrong call.
const USAGE: u8 = 2;
/// Exit code of a failure.
const FAILURE: u8 = 1;
/// Exit code of a measurement that breaks a limit of the user.
const WORSE: u8 = 3;
/// Exit code of a measurement that is too noisy to tell.
const TOO_NOISY: u8 = 4;
/// Exit code after Ctrl-C: 128 plus the number of the signal, as shells count.
pub(crate) const INTERRUPTED: u8 = 130;

/// An error in how the command was called.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Interruption by the user, with a text that says what was done by then.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Interrupted(pub(crate) String);

/// Prints the error, and returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    if is_closed_pipe(error) {
        // A closed standard output is no failure: the reader has seen enough.
        return 0;
    }
    tell(error);
    code(error)
}

/// Prints the error.
pub(crate) fn tell(error: &anyhow::Error) {
    eprintln!("epitome: {}", sentence(error));
}

/// The error and its causes in one sentence.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // An error may already contain the text of its cause.
        if !message.contains(&cause) {
            message = if message.is_empty() { cause } else { format!("{message}: {cause}") };
        }
    }
    message
}

/// The exit code of the error.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    if error.chain().any(is_interrupted) {
        INTERRUPTED
    } else if error.chain().any(is_usage) {
        USAGE
    } else if error.chain().any(|cause| is(cause, epitome_evaluation::Error::is_worse)) {
        WORSE
    } else if error.chain().any(|cause| is(cause, epitome_evaluation::Error::is_noise)) {
        TOO_NOISY
    } else {
        FAILURE
    }
}

/// Whether an error says that the command was called wrongly.
fn is_usage(cause: &(dyn std::error::Error + 'static)) -> bool {
    #[cfg(feature = "aws")]
    if is(cause, epitome_aws::Error::is_usage) || cause.is::<epitome_aws::InvalidUri>() {
        return true;
    }
    cause.is::<Usage>()
        || is(cause, epitome_runtime::Error::is_usage)
        || is(cause, epitome_export::Error::is_usage)
        || is(cause, epitome_evaluation::Error::is_usage)
        || is(cause, epitome_hub::Error::is_usage)
}

/// Whether an error says that the user asked to stop.
fn is_interrupted(cause: &(dyn std::error::Error + 'static)) -> bool {
    #[cfg(feature = "aws")]
    if is(cause, epitome_aws::Error::is_interrupted) {
        return true;
    }
    cause.is::<Interrupted>()
        || is(cause, epitome_export::Error::is_interrupted)
        || is(cause, epitome_evaluation::Error::is_interrupted)
        || is(cause, epitome_hub::Error::is_interrupted)
}

/// Whether the error is of this type, and has the property.
fn is<E: std::error::Error + 'static>(
    cause: &(dyn std::error::Error + 'static),
    property: impl FnOnce(&E) -> bool,
) -> bool {
    cause.downcast_ref().is_some_and(property)
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<io::Error>(), Some(e) if e.kind() == io::ErrorKind::BrokenPipe)
}
