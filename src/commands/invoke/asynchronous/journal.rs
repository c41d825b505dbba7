//! The journal of pending requests, in the folder of the summaries. An interrupted command resumes
//! them and pays for none twice.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use epitome_aws::AsyncCall;
use serde_json::{Value, json};

/// Name of the journal in the folder of the summaries.
const NAME: &str = ".epitome-async.jsonl";

/// Pending requests by their ids.
pub(super) struct Journal {
    file: Option<(PathBuf, Mutex<File>)>,
    calls: Mutex<BTreeMap<String, AsyncCall>>,
}

impl Journal {
    /// Reads the journal that an earlier command left in the folder. Without a folder, nothing is
    /// kept.
    pub(super) fn open(folder: Option<&Path>) -> Result<Self> {
        let Some(folder) = folder else {
            return Ok(Self { file: None, calls: Mutex::default() });
        };
        let path = folder.join(NAME);
        let cannot = || format!("cannot keep track of requests in '{}'", path.display());
        let earlier = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            earlier => earlier.with_context(cannot)?,
        };
        let earlier = String::from_utf8_lossy(&earlier);
        let mut calls = BTreeMap::new();
        // Ignores a line that a crash cut off.
        for (id, call) in earlier.lines().filter_map(read) {
            match call {
                Some(call) => calls.insert(id, call),
                None => calls.remove(&id),
            };
        }
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = file.with_context(cannot)?;
        if !earlier.is_empty() && !earlier.ends_with('\n') {
            file.write_all(b"\n").with_context(cannot)?;
        }
        Ok(Self { file: Some((path, Mutex::new(file))), calls: Mutex::new(calls) })
    }

    /// The call of a pending request, which says where the answer comes.
    pub(super) fn find(&self, id: &str) -> Option<AsyncCall> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Records a pending request.
    pub(super) fn note(&self, id: &str, call: &AsyncCall) -> Result<()> {
        let failure = call.failure.as_ref().map(ToString::to_string);
        self.append(&json!({"id": id, "output": call.output.to_string(), "failure": failure}))
    }

    /// Records that a request has its answer or its error.
    pub(super) fn forget(&self, id: &str) -> Result<()> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.append(&json!({"id": id}))
    }

    fn append(&self, line: &Value) -> Result<()> {
        let Some((path, file)) = &self.file else { return Ok(()) };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes())
            .with_context(|| format!("cannot write '{}'", path.display()))
    }

    /// Closes the journal. Removes its file, unless it has pending requests of other work.
    pub(super) fn close(self) -> Result<()> {
        let calls = self.calls.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some((path, _)) = self.file.filter(|_| calls.is_empty()) else { return Ok(()) };
        fs::remove_file(&path).with_context(|| format!("cannot remove '{}'", path.display()))
    }
}

/// The id of a request, and its call while it is pending.
fn read(line: &str) -> Option<(String, Option<AsyncCall>)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let uri = |field: &str| line[field].as_str()?.parse().ok();
    let call = uri("output").map(|output| AsyncCall { output, failure: uri("failure") });
    Some((line["id"].as_str()?.to_owned(), call))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let call = AsyncCall {
            output: "s3://bucket/a.out".parse().unwrap(),
            failure: "s3://bucket/a-error.out".parse().ok(),
        };
        let journal = Journal::open(Some(folder.path())).unwrap();
        assert_eq!(journal.find("1"), None);
        journal.note("1", &call).unwrap();
        journal.note("3", &call).unwrap();
        journal.forget("3").unwrap();
        drop(journal);
        let path = folder.path().join(NAME);
        // A crash cuts the last line off within a character.
        let mut cut = fs::read(&path).unwrap();
        cut.extend(b"{\"id\": \"2\", \"output\": \"s3://bucket/\xc3");
        fs::write(&path, cut).unwrap();
        let journal = Journal::open(Some(folder.path())).unwrap();
        assert_eq!(journal.find("1").as_ref(), Some(&call));
        assert_eq!(journal.find("2").or(journal.find("3")), None);
        journal.note("4", &call).unwrap();
        drop(journal);
        let journal = Journal::open(Some(folder.path())).unwrap();
        assert_eq!(journal.find("4").as_ref(), Some(&call));
        // Requests that were not resumed stay in the journal.
        journal.forget("1").unwrap();
        journal.close().unwrap();
        let journal = Journal::open(Some(folder.path())).unwrap();
        journal.forget("4").unwrap();
        journal.close().unwrap();
        assert!(!path.exists());
    }
}
