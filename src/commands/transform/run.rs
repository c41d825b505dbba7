//! Runs a job and collects its failures.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use epitome_aws::transform::{
    FailedRecord, Files, TransformJob, TransformSpec, failed_records, manifest_files, manifest_uri,
};
use epitome_aws::{ControlPlane, JobStatus, Polling, S3, S3Uri};
use epitome_runtime::Progress;

use crate::interrupt;
use crate::state_lines::StateLines;

/// Largest number of failed records that are listed for a file.
const LISTED: usize = 5;

/// Context of a running job.
pub(super) struct Run<'a> {
    pub(super) s3: &'a S3,
    pub(super) control_plane: &'a ControlPlane,
    pub(super) input: &'a S3Uri,
    pub(super) output: &'a S3Uri,
    /// Media type of the answers, where it differs from that of the documents.
    pub(super) accept: Option<&'a str>,
    /// Whether to return once the job has started.
    pub(super) no_wait: bool,
    /// Time between two checks of the job's state.
    pub(super) interval: Duration,
}

/// Files of a job that failed: without an output, or with records that have no summary.
#[derive(Default)]
pub(super) struct Failures {
    reason: Option<String>,
    files: BTreeMap<String, Vec<FailedRecord>>,
}

impl Failures {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn files(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// Lists the failures on standard error.
    pub(super) fn tell(&self) {
        if let Some(reason) = &self.reason {
            eprintln!("The job failed: {reason}");
        }
        for (file, records) in &self.files {
            if records.is_empty() {
                eprintln!("  {file}: no output");
            }
            for record in records.iter().take(LISTED) {
                eprintln!("  {file}:{}: {}", record.line, record.message);
            }
            if records.len() > LISTED {
                eprintln!("  {file}: and {} more lines without a summary", records.len() - LISTED);
            }
        }
    }
}

impl Run<'_> {
    /// Follows an earlier job of this name to its end, if there is one. Returns its failures, and
    /// the other files that have no output.
    pub(super) fn follow_earlier(&self, name: &str, now: &Files) -> Result<Option<Failures>> {
        let Some(mut job) = TransformJob::find(self.control_plane, name)? else { return Ok(None) };
        let has_ended = job.status.has_ended();
        eprintln!("Job {name} {}", if has_ended { "has ended" } else { "is on its way" });
        if !has_ended && self.no_wait {
            return Ok(Some(Failures::default()));
        }
        let files = self.files_of(&job, now)?;
        let before = now.before(job.created.unwrap_or_default());
        if !has_ended {
            job = self.follow(name, &before, &files)?;
        }
        self.end(&job, &before, &files).map(Some)
    }

    /// The files of a job, and those without an output.
    fn files_of(&self, job: &TransformJob, now: &Files) -> Result<Vec<String>> {
        let mut named = None;
        if let Some(manifest) = &job.manifest {
            // The manifest is removed when a job is followed to its end.
            let manifest = self.s3.get(manifest, &())?.unwrap_or_default();
            named = Some(manifest_files(&manifest));
        }
        let is_of_job = |file: &str| named.as_ref().is_none_or(|named| named.contains(file));
        let files = now.inputs().filter(|file| is_of_job(file) || now.output(file).is_none());
        Ok(files.map(str::to_owned).collect())
    }

    /// Starts a job and follows it to its end. Returns the failures among these files.
    pub(super) fn job(&self, spec: &TransformSpec, pending: &[String]) -> Result<Failures> {
        let before = self.list()?;
        TransformJob::create(self.control_plane, spec)?;
        let name = &spec.job_name;
        eprintln!("Started job {name}");
        if self.no_wait {
            eprintln!(
                "Its model {} stays: the same command with --job-name {name} follows the job and \
                 removes it",
                spec.model_name()?
            );
            return Ok(Failures::default());
        }
        let job = self.follow(name, &before, pending)?;
        self.end(&job, &before, pending)
    }

    /// An unused name for a job that runs failed files again.
    pub(super) fn next_name(&self, name: &str) -> Result<String> {
        let mut attempt = 1;
        loop {
            let next = again(name, attempt);
            if TransformJob::find(self.control_plane, &next)?.is_none() {
                return Ok(next);
            }
            attempt += 1;
        }
    }

    /// Removes the temporary resources of an ended job. Returns the failures among these files.
    fn end(&self, job: &TransformJob, before: &Files, files: &[String]) -> Result<Failures> {
        job.remove_model(self.control_plane)?;
        let failures = self.failures(job, before, files)?;
        let manifest = manifest_uri(self.output, &job.name);
        if job.manifest.as_ref() == Some(&manifest) {
            self.s3.delete(&manifest)?;
        }
        Ok(failures)
    }

    fn list(&self) -> Result<Files> {
        Ok(Files::list(self.s3, self.input, self.output)?)
    }

    /// Waits for the end of a job, and shows how many files have an output.
    fn follow(&self, name: &str, before: &Files, pending: &[String]) -> Result<TransformJob> {
        let states = StateLines::new();
        let polling = Polling { interval: self.interval, progress: &states };
        let told = Cell::new(0);
        let mut look = |_: &TransformJob| {
            let now = Files::list(self.s3, self.input, self.output)?;
            let done = pending.iter().filter(|file| now.is_new(file, before)).count();
            if done > told.replace(done) {
                states.note(&format!("{done} of {} done", count(pending.len())));
            }
            states.state("in progress");
            Ok(())
        };
        let job =
            interrupt::during(|| TransformJob::wait(self.control_plane, name, polling, &mut look));
        job.with_context(|| {
            format!(
                "job {name} goes on, though it is no longer followed (the same command with \
                 --job-name {name} follows it, 'epitome status {name} --stop' stops it)"
            )
        })
    }

    fn failures(&self, job: &TransformJob, before: &Files, pending: &[String]) -> Result<Failures> {
        let now = self.list()?;
        let mut failures = Failures::default();
        if job.status != JobStatus::Completed {
            let reason = job.failure_reason.clone();
            failures.reason = Some(reason.unwrap_or_else(|| "AWS gives no reason".into()));
        }
        let has_lines = self.has_json_lines();
        for file in pending {
            // A completed job has written every output, though perhaps within the same second as
            // the job before it.
            let is_done = job.status == JobStatus::Completed || now.is_new(file, before);
            let output = now.output(file).filter(|_| is_done);
            let records = match output {
                None => Vec::new(),
                Some(_) if !has_lines => continue,
                Some(output) => {
                    let uri = self.output.join(output);
                    match failed_records(self.s3, &uri)? {
                        records if records.is_empty() => continue,
                        records => records,
                    }
                }
            };
            failures.files.insert(file.clone(), records);
        }
        Ok(failures)
    }

    /// Whether outputs have one JSON object per line, which may be an error.
    fn has_json_lines(&self) -> bool {
        self.accept.is_none_or(|accept| accept.contains("json"))
    }
}

/// The name of a job that runs failed files again.
fn again(name: &str, attempt: u32) -> String {
    let end = format!("-again-{attempt}");
    let start: String = name.chars().take(63 - end.len()).collect();
    format!("{}{end}", start.trim_end_matches('-'))
}

/// "1 file", "2 files"
pub(super) fn count(files: usize) -> String {
    if files == 1 { "1 file".into() } else { format!("{files} files") }
}
