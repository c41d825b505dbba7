//! How this program is started again, in a process of its own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::{env, io};

use epitome_documents::isolated::Extractor;

/// A program, and arguments that come before those of the command line.
static PROGRAM: OnceLock<(PathBuf, Vec<OsString>)> = OnceLock::new();
/// The command line, without the program's name.
static ARGUMENTS: OnceLock<Vec<OsString>> = OnceLock::new();

/// Says how this program is started, where it is not the executable of this process: in Python that
/// is an interpreter.
pub fn set(program: PathBuf, before: Vec<OsString>) {
    // A process is one program.
    let _ = PROGRAM.set((program, before));
}

/// Notes the command line that this program was started with.
pub(crate) fn note_arguments(arguments: &[OsString]) {
    let _ = ARGUMENTS.set(arguments.to_vec());
}

/// The program, and all the arguments that start it with these.
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

/// The executable of this process, where that is this program.
#[cfg(feature = "aws")]
pub(crate) fn executable() -> io::Result<Option<PathBuf>> {
    match PROGRAM.get() {
        Some(_) => Ok(None),
        None => env::current_exe().map(Some),
    }
}

/// Reads documents in processes of this program.
pub(crate) fn extractor() -> io::Result<Extractor> {
    if PROGRAM.get().is_none() {
        // It knows the executable even after its file was replaced.
        return Extractor::of_this_program();
    }
    let (program, arguments) = with(&["extract-document".into()])?;
    Ok(Extractor::new(program, arguments))
}
