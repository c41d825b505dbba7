//! `epitome transform`

mod flags;
mod run;

use std::io::{IsTerminal, Write, stderr, stdin, stdout};
use std::time::SystemTime;

use anyhow::{Result, bail};
use clap::Args;
use epitome_aws::transform::{Files, Input, TransformSpec, manifest, manifest_uri};
use epitome_aws::{S3, S3Uri, job_name_at};

use self::flags::JobFlags;
use self::run::{Failures, Run, count};
use super::container_flags::{Container, ContainerFlags};
use super::key_values::TagFlags;
use super::seconds::Seconds;
use super::serve::{DEADLINE, DEADLINE_MARGIN};
use crate::failure::Usage;
use crate::{aws, output};

/// Summarize the files below a prefix on S3 with a SageMaker batch transform job
///
/// An input a.jsonl becomes the output a.jsonl.out. Files that have an output are skipped, so that
/// the same command runs only the missing files. Ctrl-C ends the waiting, not the job: the same
/// command with --job-name follows the job again.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A model.tar.gz on S3; with --upload, the folder of a bundle, or a name in the store
    #[arg(short, long, value_name = "MODEL")]
    model: String,
    /// Prefix of the documents: JSON lines, CSV or text, gzipped or not
    #[arg(short, long, value_name = "s3://...")]
    input: S3Uri,
    /// Prefix of the summaries
    #[arg(short, long, value_name = "s3://...")]
    output: S3Uri,
    #[command(flatten)]
    job: JobFlags,
    #[command(flatten)]
    container: ContainerFlags,
    #[command(flatten)]
    tags: TagFlags,
    /// Also summarize files that have an output
    #[arg(long)]
    overwrite: bool,
    /// Number of times to run failed files again, without asking
    #[arg(long, value_name = "N", default_value_t = 0)]
    retry: u32,
    /// Start the job without waiting for its end; its model stays
    #[arg(long, conflicts_with = "retry")]
    no_wait: bool,
    /// Print the AWS calls without making them
    #[arg(long)]
    dry_run: bool,
    /// Time between two checks of the job's state
    #[arg(long, value_name = "SECONDS", default_value_t = Seconds::new(15))]
    interval: Seconds,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let s3 = aws::s3()?;
    let containers = arguments.container.containers(&[&arguments.model])?;
    let container = &containers[0];
    let files = list(s3, arguments)?;
    let spec = spec(arguments, container, &files)?;
    let mut pending = pending(&files, arguments);
    if arguments.dry_run {
        let spec = with_input(&spec, arguments, &files, &pending)?;
        let calls = spec.steps()?.map(|step| (step.operation, step.body));
        return Ok(output::calls(&mut stdout().lock(), calls)?);
    }
    spec.steps()?;
    let control_plane = aws::control_plane()?;
    let run = Run {
        s3,
        control_plane: &control_plane,
        input: &arguments.input,
        output: &arguments.output,
        accept: arguments.job.accept.as_deref(),
        no_wait: arguments.no_wait,
        interval: arguments.interval.0,
    };
    let mut ended = run.follow_earlier(&spec.job_name, &files)?;
    if arguments.no_wait && ended.as_ref().is_some_and(Failures::is_empty) {
        return Ok(());
    }
    let mut attempt = 0;
    let mut next = spec.clone();
    loop {
        if let Some(failures) = &ended {
            failures.tell();
            if failures.is_empty() || !wants_again(arguments, attempt, failures)? {
                break;
            }
            attempt += 1;
            pending = failures.files();
            next.job_name = run.next_name(&spec.job_name)?;
        }
        if pending.is_empty() {
            break;
        }
        let job = with_input(&next, arguments, &files, &pending)?;
        container.send()?;
        eprintln!("{}", announcement(&job, pending.len(), &control_plane));
        ended = Some(run.job(&job, &pending)?);
        if arguments.no_wait {
            writeln!(stdout(), "{}", job.job_name)?;
            return Ok(());
        }
    }
    let failures = ended.unwrap_or_default();
    if !failures.is_empty() {
        bail!(
            "{} of {} have no summary, or not of all their documents: the same command with \
             another job name runs what has none",
            failures.files().len(),
            count(files.inputs().count())
        );
    }
    let done = list(s3, arguments)?;
    let total = done.inputs().count();
    eprintln!("Summaries of {} are below {}", count(total), arguments.output);
    Ok(writeln!(stdout(), "{}", arguments.output)?)
}

fn list(s3: &S3, arguments: &Arguments) -> Result<Files> {
    let files = Files::list(s3, &arguments.input, &arguments.output)?;
    if files.inputs().next().is_none() {
        bail!(Usage(format!(
            "there are no files below {}: give the prefix of the documents",
            arguments.input
        )));
    }
    Ok(files)
}

/// The files to work on.
fn pending(files: &Files, arguments: &Arguments) -> Vec<String> {
    if arguments.overwrite {
        return files.inputs().map(str::to_owned).collect();
    }
    let missing = files.missing();
    let total = files.inputs().count();
    if missing.len() < total {
        eprintln!(
            "{} of {} have an output already and are left alone (--overwrite runs them again)",
            total - missing.len(),
            count(total)
        );
    }
    missing
}

fn spec(arguments: &Arguments, container: &Container, files: &Files) -> Result<TransformSpec> {
    let job = &arguments.job;
    let (format, gzip) = job.format(files)?;
    let mut model = container.model.clone();
    if let Some(timeout) = job.timeout {
        let deadline = timeout.saturating_sub(DEADLINE_MARGIN).max(1).to_string();
        model.environment.entry(DEADLINE.into()).or_insert(deadline);
    }
    Ok(TransformSpec {
        job_name: job
            .job_name
            .clone()
            .unwrap_or_else(|| job_name_at("transform", SystemTime::now())),
        model,
        input: Input::Prefix(arguments.input.join("")),
        output: arguments.output.clone(),
        format,
        gzip,
        split: job.split(format),
        accept: job.accept.clone().unwrap_or_else(|| format.media_type().to_owned()),
        multi_record: !job.single_record,
        join: job.join,
        input_filter: job.input_filter.clone(),
        output_filter: job.output_filter.clone(),
        instance_type: job.instance_type.clone(),
        instance_count: job.instance_count,
        max_concurrent: job.max_concurrent,
        max_payload: job.max_payload,
        timeout: job.timeout,
        retries: job.retries,
        kms_key: job.kms_key.clone(),
        volume_kms_key: job.volume_kms_key.clone(),
        tags: arguments.tags.tags.iter().cloned().collect(),
    })
}

/// The job for some of the files. Uses a manifest, unless it is for all of them.
fn with_input(
    spec: &TransformSpec,
    arguments: &Arguments,
    files: &Files,
    pending: &[String],
) -> Result<TransformSpec> {
    let mut spec = spec.clone();
    // Outputs below the input's prefix are not inputs.
    let leaves_some = pending.len() < files.inputs().count();
    if leaves_some || is_within(&arguments.output, &arguments.input) {
        let uri = manifest_uri(&arguments.output, &spec.job_name);
        if !arguments.dry_run {
            let manifest = manifest(&arguments.input, pending).to_string();
            aws::s3()?.put(&uri, "application/json", manifest.as_bytes(), &())?;
        }
        spec.input = Input::Manifest(uri);
    }
    Ok(spec)
}

/// Whether a prefix is inside another one or equal to it, with or without final slashes.
fn is_within(prefix: &S3Uri, outer: &S3Uri) -> bool {
    let [prefix, outer] = [prefix, outer].map(|uri| uri.join("").to_string());
    prefix.starts_with(&outer)
}

/// Says which resources are made, and until when AWS bills them.
fn announcement(
    spec: &TransformSpec,
    files: usize,
    control_plane: &epitome_aws::ControlPlane,
) -> String {
    format!(
        "Job {} in {} reads {} on {} x {}: AWS bills the instances until it ends, or 'epitome \
         status {} --stop'. Its model goes when it has ended.",
        spec.job_name,
        control_plane.region(),
        count(files),
        spec.instance_count,
        spec.instance_type,
        spec.job_name,
    )
}

/// Whether failed files are run again: as often as the flag says, or as the user answers.
fn wants_again(arguments: &Arguments, attempt: u32, failures: &Failures) -> Result<bool> {
    if attempt < arguments.retry {
        return Ok(true);
    }
    if arguments.retry > 0 || !stdin().is_terminal() {
        return Ok(false);
    }
    write!(stderr(), "Run {} again? [y/N] ", count(failures.files().len()))?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_folders_with_a_slash_or_without() {
        for (prefix, outer, is_in) in [
            ("s3://bucket/docs", "s3://bucket/docs", true),
            ("s3://bucket/docs/", "s3://bucket/docs", true),
            ("s3://bucket/docs/done", "s3://bucket/docs/", true),
            ("s3://bucket", "s3://bucket", true),
            ("s3://bucket/docs-done", "s3://bucket/docs", false),
            ("s3://bucket/docs", "s3://bucket/docs/done", false),
        ] {
            let [prefix, outer] = [prefix, outer].map(|uri| uri.parse().unwrap());
            assert_eq!(is_within(&prefix, &outer), is_in, "{prefix} in {outer}");
        }
    }
}
