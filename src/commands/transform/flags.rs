//! The settings of a batch transform job.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use epitome_aws::transform::{Files, Format};

use crate::failure::Usage;

/// The settings of a job.
#[derive(Args)]
#[command(next_help_heading = "Job")]
pub(super) struct JobFlags {
    /// Name of the job; without it, the name contains the time
    #[arg(long, value_name = "NAME")]
    pub(super) job_name: Option<String>,
    /// Type of the instances
    #[arg(long, value_name = "TYPE", default_value = "ml.m5.xlarge")]
    pub(super) instance_type: String,
    /// Number of instances; AWS gives each of them whole files
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) instance_count: u32,
    /// Format of the documents; without it, by the names of the files
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// Whether each line is a document [default: line, and file for text]
    #[arg(long, value_enum)]
    split: Option<Split>,
    /// Media type of the answers [default: the documents' type]
    #[arg(long, value_name = "TYPE")]
    pub(super) accept: Option<String>,
    /// Write each summary beside its document
    #[arg(long)]
    pub(super) join: bool,
    /// JSONPath of the part of a record that the container gets
    #[arg(long, value_name = "PATH")]
    pub(super) input_filter: Option<String>,
    /// JSONPath of the part of a record and its answer that is written
    #[arg(long, value_name = "PATH")]
    pub(super) output_filter: Option<String>,
    /// Send one document per request
    #[arg(long)]
    pub(super) single_record: bool,
    /// Requests that an instance works on at a time [default: the container's]
    #[arg(long, value_name = "N")]
    pub(super) max_concurrent: Option<u32>,
    /// Largest size of a request [default: the container's]
    #[arg(long, value_name = "MB")]
    pub(super) max_payload: Option<u32>,
    /// Longest time for a request, up to 3600
    #[arg(long, value_name = "SECONDS")]
    pub(super) timeout: Option<u32>,
    /// Number of times that a request is repeated, up to 3
    #[arg(long, value_name = "N")]
    pub(super) retries: Option<u32>,
    /// Key that encrypts the summaries
    #[arg(long, value_name = "KEY")]
    pub(super) kms_key: Option<String>,
    /// Key that encrypts the instances' disks
    #[arg(long, value_name = "KEY")]
    pub(super) volume_kms_key: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FileFormat {
    /// One JSON object per line, with the document in `inputs`
    Jsonlines,
    /// A table with commas
    Csv,
    /// Plain text
    Text,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Split {
    /// Each line is a document
    Line,
    /// Each file is a document
    File,
}

impl JobFlags {
    /// The format of the files, and whether they are gzipped. All files must have the same.
    pub(super) fn format(&self, files: &Files) -> Result<(Format, bool)> {
        let chosen = self.format.map(|format| match format {
            FileFormat::Jsonlines => Format::JsonLines,
            FileFormat::Csv => Format::Csv,
            FileFormat::Text => Format::Text,
        });
        if let Some(format) = chosen {
            let gzipped = files.inputs().filter(|name| name.ends_with(".gz")).count();
            if gzipped != 0 && gzipped != files.inputs().count() {
                bail!(Usage(
                    "some of the files are gzipped, and a job reads only one kind: give them \
                     prefixes of their own"
                        .into()
                ));
            }
            return Ok((format, gzipped > 0));
        }
        let mut found = BTreeSet::new();
        for name in files.inputs() {
            let Some((format, gzip)) = Format::of_name(name) else {
                bail!(Usage(format!(
                    "the name of '{name}' does not tell its format: give --format"
                )));
            };
            found.insert((format, gzip));
        }
        match found.iter().next() {
            Some(format) if found.len() == 1 => Ok(*format),
            _ => bail!(Usage(
                "the files have several formats, and a job reads only one: give them prefixes of \
                 their own"
                    .into()
            )),
        }
    }

    /// Whether each line is a document.
    pub(super) fn split(&self, format: Format) -> bool {
        match self.split {
            Some(split) => split == Split::Line,
            None => format != Format::Text,
        }
    }
}
