//! `epitome invoke`

mod asynchronous;

use std::io::{self, Write, stdout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use epitome_aws::Invoker;
use serde_json::{Map, Value, json};

use self::asynchronous::AsyncFlags;
use crate::aws;
use crate::failure::Usage;
use crate::generation_flags::GenerationFlags;
use crate::inputs::{self, Document};
use crate::output::{self, Column};

/// Name that a server on this machine gets, which needs none.
const LOCAL: &str = "local";

/// Summarize documents with an endpoint, in AWS or on this machine
#[derive(Args)]
pub(crate) struct Arguments {
    /// Files, with --async also folders; '-' or none for standard input
    files: Vec<PathBuf>,
    /// Name of the endpoint; not needed with --endpoint-url
    #[arg(long, value_name = "NAME", required_unless_present = "endpoint_url")]
    endpoint: Option<String>,
    /// Call this server, such as `epitome serve`, in place of AWS
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// Print summaries while they are decoded
    #[arg(long)]
    stream: bool,
    /// How to print summaries
    #[arg(long, value_enum, default_value_t = Format::Text, conflicts_with = "stream")]
    format: Format,
    #[command(flatten)]
    asynchronous: AsyncFlags,
    #[command(flatten)]
    generation: GenerationFlags,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Only the summaries, one per line
    Text,
    /// One JSON object per line and summary, with the time that the call took
    Json,
}

/// An answer, and the latency of the call.
struct Answer {
    texts: Vec<String>,
    time: Duration,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let variants = arguments.generation.requests()?;
    if arguments.stream && variants.len() > 1 {
        bail!(Usage("--stream shows one summary: give one --length-penalty".into()));
    }
    let url = arguments.endpoint_url.as_deref();
    let endpoint = arguments.endpoint.as_deref().unwrap_or(LOCAL);
    if arguments.asynchronous.is_async {
        let [parameters] = variants.as_slice() else {
            bail!(Usage("--async makes one summary: give one --length-penalty".into()));
        };
        let invoker = Invoker::new(aws::connection()?, endpoint, url)?;
        return asynchronous::run(
            &arguments.asynchronous,
            &arguments.files,
            &invoker,
            endpoint,
            parameters,
        );
    }
    let documents = inputs::read(&arguments.files)?;
    let invoker = Invoker::new(aws::connection()?, endpoint, url)?;
    let out = &mut stdout().lock();
    for document in &documents {
        if arguments.stream {
            stream(out, &invoker, document, &variants[0])?;
            continue;
        }
        let answers = variants
            .iter()
            .map(|parameters| {
                let start = Instant::now();
                let texts = invoker.summarize(document.text.text(), parameters)?;
                Ok(Answer { texts, time: start.elapsed() })
            })
            .collect::<Result<Vec<_>>>()?;
        show(out, arguments.format, document, &variants, &answers)?;
    }
    Ok(out.flush()?)
}

fn show(
    out: &mut dyn Write,
    format: Format,
    document: &Document,
    variants: &[Map<String, Value>],
    answers: &[Answer],
) -> io::Result<()> {
    let several = variants.len() > 1;
    match format {
        Format::Json => {
            for (parameters, answer) in variants.iter().zip(answers) {
                for text in &answer.texts {
                    let mut line = json!({
                        "source": document.source,
                        "generated_text": text,
                        "seconds": answer.time.as_secs_f64(),
                    });
                    if several {
                        line["length_penalty"] = parameters["length_penalty"].clone();
                    }
                    writeln!(out, "{line}")?;
                }
            }
            Ok(())
        }
        Format::Text if several => {
            let columns: Vec<_> = variants
                .iter()
                .zip(answers)
                .map(|(parameters, answer)| column(parameters, answer))
                .collect();
            writeln!(out, "{}", document.source)?;
            output::side_by_side(out, &columns)?;
            writeln!(out)
        }
        Format::Text => {
            for text in &answers[0].texts {
                writeln!(out, "{text}")?;
            }
            timing(document, answers[0].time);
            Ok(())
        }
    }
}

fn column(parameters: &Map<String, Value>, answer: &Answer) -> Column {
    let words = answer.texts.first().map_or(0, |text| text.split_whitespace().count());
    Column {
        penalty: parameters.get("length_penalty").and_then(Value::as_f64),
        facts: format!("{words} words, {}", output::milliseconds(answer.time)),
        texts: answer.texts.clone(),
    }
}

fn stream(
    out: &mut dyn Write,
    invoker: &Invoker,
    document: &Document,
    parameters: &Map<String, Value>,
) -> Result<()> {
    let start = Instant::now();
    let mut printed = Ok(());
    let mut is_line = false;
    invoker.stream(document.text.text(), parameters, &mut |piece| {
        is_line = piece.last().map_or(is_line, |last| *last == b'\n');
        if printed.is_ok() {
            printed = out.write_all(piece).and_then(|()| out.flush());
        }
    })?;
    printed?;
    // Some containers end their last line without a line break.
    if !is_line {
        writeln!(out)?;
    }
    timing(document, start.elapsed());
    Ok(())
}

fn timing(document: &Document, time: Duration) {
    eprintln!("{}: {}", document.source, output::milliseconds(time));
}
