//! Errors of records that the container refused, from the lines of an output.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::s3::S3;
use crate::uri::S3Uri;

/// A record without a summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRecord {
    /// Line number, from 1.
    pub line: usize,
    /// Message of the container.
    pub message: String,
}

/// The records in an output of JSON lines that have an error in place of a summary.
///
/// # Errors
/// If the output cannot be read.
pub fn failed_records(s3: &S3, output: &S3Uri) -> Result<Vec<FailedRecord>> {
    let object = s3.object(output, &())?;
    read(s3.download(object, &())).map_err(|error| {
        error
            .downcast()
            .unwrap_or_else(|error| Error::Failed(format!("{output} cannot be read: {error}")))
    })
}

fn read(output: impl Read) -> std::io::Result<Vec<FailedRecord>> {
    let mut failed = Vec::new();
    for (at, line) in BufReader::new(output).split(b'\n').enumerate() {
        if let Some(message) = message(&line?) {
            failed.push(FailedRecord { line: at + 1, message });
        }
    }
    Ok(failed)
}

/// The error in a line, which may be joined with its input.
fn message(line: &[u8]) -> Option<String> {
    // Skips the parsing of most lines, which are summaries.
    if !line.windows(7).any(|part| part == b"\"error\"" || part == b"message") {
        return None;
    }
    let record: Value = serde_json::from_slice(line).ok()?;
    let answer = record.get("SageMakerOutput").unwrap_or(&record);
    let answer = answer.get(0).unwrap_or(answer);
    let has_summary = ["generated_text", "summary_text"].iter().any(|it| answer.get(*it).is_some());
    let message = answer.get("message").or(answer.get("error")).filter(|_| !has_summary)?;
    Some(message.as_str().map_or_else(|| message.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_from_summaries() {
        let output = [
            r#"{"generated_text": "a message of \"error\""}"#,
            r#"{"error": "no text", "code": 400}"#,
            "",
            r#"{"inputs": "a", "SageMakerOutput": {"error": "too long"}}"#,
            r#"{"message": "joined", "SageMakerOutput": {"summary_text": "b"}}"#,
            r#"[{"code": 400, "message": "bad"}]"#,
        ];
        let failed = read(output.join("\n").as_bytes()).unwrap();
        let failed: Vec<_> =
            failed.iter().map(|record| (record.line, record.message.as_str())).collect();
        assert_eq!(failed, [(2, "no text"), (4, "too long"), (6, "bad")]);
    }
}
