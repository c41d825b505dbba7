//! Starts this program again, in a process of its own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::{env, io};

use epitome_documents::isolated::Extractor;

/// A program, and arguments that come before those of the command line.
static PROGRAM: OnceLock<(PathBuf, Vec<OsString>)> = OnceLock::new();
/// The arguments of the command line, without the program's name.
static ARGUMENTS: OnceLock<Vec<OsString>> = OnceLock::new();

/// Sets how this program is started, where it is not the executable of this process. In the Python
/// package that is an interpreter.
pub fn set(program: PathBuf, before: Vec<OsString>) {
    // The first call wins: a process is one program.
    let _ = PROGRAM.set((program, before));
}

/// Records the command line of this program.
pub(crate) fn note_arguments(arguments: &[OsString]) {
    let _ = ARGUMENTS.set(arguments.to_vec());
}

/// The program, and its fixed arguments followed by `arguments`.
fn with(arguments: &[OsString]) -> io::Result<(PathBuf, Vec<OsString>)> {
    let (program, before) = match PROGRAM.get() {
        Some(program) => program.clone(),
        None => (env::current_exe()?, Vec::new()),
    };
    Ok((program, [before.as_slice(), arguments].concat()))
}

/// The program, and the arguments that it was started with.
#[cfg(unix)]
pub(crate) fn again() -> io::Result<(PathBuf, Vec<OsString>)> {
    with(ARGUMENTS.get().map(Vec::as_slice).unwrap_or_default())
}

/// The executable of this process; `None` where the program is not the executable.
#[cfg(feature = "aws")]
pub(crate) fn executable() -> io::Result<Option<PathBuf>> {
    match PROGRAM.get() {
        Some(_) => Ok(None),
        None => env::current_exe().map(Some),
    }
}

/// Creates a reader of documents that runs this program in child processes.
pub(crate) fn extractor() -> io::Result<Extractor> {
    if PROGRAM.get().is_none() {
        // This extractor finds the executable even after its file was replaced.
        return Extractor::of_this_program();
    }
    let (program, arguments) = with(&["extract-document".into()])?;
    Ok(Extractor::new(program, arguments))
}
