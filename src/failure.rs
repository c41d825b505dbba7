//! How a failure is told: one sentence on standard error, and an exit code.

use std::io;
use std::process::ExitCode;

/// What was asked for cannot be done, whatever the files hold.
const USAGE: u8 = 2;
/// It was tried, and failed.
const FAILURE: u8 = 1;
/// The user pressed Ctrl-C: 128 and the number of the signal, as shells count.
const INTERRUPTED: u8 = 130;

/// An error in how the command was called.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Prints the error, and says what to exit with.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        // Whoever read our output has seen enough.
        return ExitCode::SUCCESS;
    }
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // An error may already quote its cause.
        if !message.contains(&cause) {
            message = if message.is_empty() {
                cause
            } else {
                format!("{message}: {cause}")
            };
        }
    }
    eprintln!("epitome: {message}");
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    let is_usage = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<Usage>()
            || cause
                .downcast_ref()
                .is_some_and(epitome_runtime::Error::is_usage)
            || matches!(
                cause.downcast_ref(),
                Some(
                    epitome_export::Error::NoSuchSource { .. }
                        | epitome_export::Error::NoSuchDataset { .. }
                        | epitome_export::Error::DatasetColumn { .. }
                        | epitome_export::Error::OutputExists { .. }
                        | epitome_export::Error::PortablePrecision { .. }
                )
            )
            || is_bench_usage(cause)
            || is_aws_usage(cause)
    };
    if matches!(
        error.downcast_ref(),
        Some(epitome_export::Error::Interrupted)
    ) || matches!(
        error.downcast_ref(),
        Some(epitome_evaluation::Error::Interrupted | epitome_evaluation::Error::StoppedEarly)
    ) || error.chain().any(is_aws_interrupt)
    {
        INTERRUPTED
    } else if error.chain().any(is_usage) {
        USAGE
    } else {
        FAILURE
    }
}

/// Errors of a sweep that stand for what was asked: its own, and those of the runtime within.
fn is_bench_usage(cause: &(dyn std::error::Error + 'static)) -> bool {
    match cause.downcast_ref() {
        Some(epitome_evaluation::Error::Settings(_)) => true,
        Some(epitome_evaluation::Error::Runtime(error)) => error.is_usage(),
        _ => false,
    }
}

/// Calls to AWS that were wrong before they were made, and addresses on S3 at which there is not
/// what there should be.
#[cfg(feature = "aws")]
fn is_aws_usage(cause: &(dyn std::error::Error + 'static)) -> bool {
    use epitome_endpoint::aws::AwsError;
    use epitome_export::fetch;
    let fetch = match cause.downcast_ref() {
        Some(epitome_export::Error::Fetch(error)) => Some(error),
        _ => cause.downcast_ref(),
    };
    cause.downcast_ref().is_some_and(AwsError::is_usage)
        || fetch.is_some_and(fetch::Error::is_usage)
}

/// The user did not want to wait for AWS any longer.
#[cfg(feature = "aws")]
fn is_aws_interrupt(cause: &(dyn std::error::Error + 'static)) -> bool {
    use epitome_endpoint::aws::AwsError;
    matches!(cause.downcast_ref(), Some(AwsError::Interrupted))
}

#[cfg(not(feature = "aws"))]
fn is_aws_usage(_cause: &(dyn std::error::Error + 'static)) -> bool {
    false
}

#[cfg(not(feature = "aws"))]
fn is_aws_interrupt(_cause: &(dyn std::error::Error + 'static)) -> bool {
    false
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<io::Error>(), Some(e) if e.kind() == io::ErrorKind::BrokenPipe)
}
