//! The XSum distribution: a folder of some 237,000 small files.
//!
//! Each has sections, `[SN]URL[SN]`, `[SN]TITLE[SN]`, `[SN]FIRST-SENTENCE[SN]` and
//! `[SN]RESTBODY[SN]`, each marker on a line of its own. The first sentence is the summary, the
//! rest is the text.

use std::path::{Path, PathBuf};
use std::{fs, io};

use epitome_runtime::progress::{Progress, Total};
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use super::row::{LeftOut, Row, Sink};
use crate::error::{Error, Result};

/// Name of the folder in the distribution.
const FOLDER: &str = "bbc-summary-data";
const EXTENSION: &str = "summary";
const SUMMARY: &str = "[SN]FIRST-SENTENCE[SN]";
const TEXT: &str = "[SN]RESTBODY[SN]";
/// Number of threads that read. The files are small, and reading mostly waits for the disk.
const READERS: usize = 16;
/// Number of files that are read together: enough for all threads, few enough for memory.
const BATCH: usize = 4096;

/// Passes the row of every file to `sink`, in the order of their names.
pub(super) fn read(folder: &Path, progress: &dyn Progress, sink: &mut Sink<'_>) -> Result<()> {
    let files = files(folder)?;
    progress.start("Reading files", Total::Items(files.len() as u64));
    let readers = ThreadPoolBuilder::new().num_threads(READERS).build();
    let readers = readers.map_err(|error| Error::io(folder, io::Error::other(error)))?;
    for batch in files.chunks(BATCH) {
        if progress.cancelled() {
            return Err(Error::Interrupted);
        }
        let read = |path: &PathBuf| {
            let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
            Ok(parse(&bytes))
        };
        let rows = readers.install(|| batch.par_iter().map(read).collect::<Result<Vec<_>>>())?;
        for row in rows {
            sink(row)?;
        }
        progress.advance(batch.len() as u64);
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let inner = folder.join(FOLDER);
    let folder = if inner.is_dir() { &inner } else { folder };
    let io = |error| Error::io(folder, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Error::Dataset {
            path: folder.into(),
            problem: format!(
                "holds no file NAME.{EXTENSION}: give the folder {FOLDER} of the XSum \
                 distribution, a .csv or a .jsonl"
            ),
        });
    }
    files.sort_unstable();
    Ok(files)
}

fn parse(bytes: &[u8]) -> Result<Row, LeftOut> {
    let file = std::str::from_utf8(bytes).map_err(|_| LeftOut::NotText)?;
    match (section(file, SUMMARY), section(file, TEXT)) {
        (None, None) => Err(LeftOut::NoSections),
        (summary, text) => Row::new(&text.unwrap_or_default(), &summary.unwrap_or_default()),
    }
}

/// The lines of a section that are not empty.
fn section(file: &str, marker: &str) -> Option<String> {
    let mut lines = file.lines().map(str::trim);
    lines.find(|line| *line == marker)?;
    let mut text = String::new();
    for line in lines.take_while(|line| !is_marker(line)) {
        if line.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
    }
    Some(text)
}

fn is_marker(line: &str) -> bool {
    const SIDE: &str = "[SN]";
    line.len() > 2 * SIDE.len() && line.starts_with(SIDE) && line.ends_with(SIDE)
}
