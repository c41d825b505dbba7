//! `epitome summarize`

mod following;
mod render;
mod sink;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use epitome_runtime::{
    GenerationParameters, Length, LongDocument, LongOptions, Reading, Summarizer,
};

use self::following::{Following, Stream, Tally, Waiting};
use self::render::Format;
use self::sink::Sink;
use crate::failure::{Interrupted, Usage};
use crate::generation_flags::GenerationFlags;
use crate::inputs::{self, Found, Input, Reader};
use crate::interrupt;
use crate::model_choice::ModelFlag;
use crate::progress::DocumentBar;
use crate::session_flags::SessionFlags;

/// Largest amount of text in bytes that is worked on at a time.
const TEXT_TOGETHER: usize = 256 << 10;
/// Documents in a call for each document that is decoded at a time. When one is finished, another
/// takes its place.
const LIST: usize = 8;

/// Summarize documents, offline
#[derive(Args)]
pub(crate) struct Arguments {
    /// Files and folders; '-' or none for standard input
    files: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelFlag,
    /// Text to put before every document, in place of the model's own prefix (T5: 'summarize: ')
    #[arg(long, value_name = "TEXT")]
    source_prefix: Option<String>,
    /// How to read a document that is longer than the model's window
    #[arg(long, value_enum, default_value_t = Long::Parts)]
    long: Long,
    /// Longest summary in words: short (60), medium (150), long (400), '120 words', or '10%' of the
    /// document. Without it: medium for a document that is read in several parts, else no limit
    #[arg(long, value_name = "LENGTH")]
    length: Option<Length>,
    /// Format of the summaries; without it, by the file extension of --output, markdown in
    /// --output-dir, else text
    #[arg(long, value_enum, default_value_if("stream", "true", None))]
    format: Option<Format>,
    /// Write all summaries to this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "output_dir")]
    output: Option<PathBuf>,
    /// Write a file for each document to this folder, and skip documents with a newer file there
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Also summarize documents that have a newer file in --output-dir
    #[arg(long, requires = "output_dir")]
    force: bool,
    /// Show text while it is decoded; beam search shows it only at the end
    #[arg(long, conflicts_with_all = ["output", "output_dir"])]
    stream: bool,
    /// Column with the text, in tables and JSON lines
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    #[command(flatten)]
    session: SessionFlags,
    #[command(flatten)]
    generation: GenerationFlags,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Long {
    /// Read all of it in parts, and join the summaries of the parts
    Parts,
    /// Read only what fits the window, as transformers truncates
    First,
    /// Read the most central sentences, as many as fit the window
    Lexrank,
}

impl From<Long> for Reading {
    fn from(long: Long) -> Self {
        match long {
            Long::Parts => Self::Parts,
            Long::First => Self::First,
            Long::Lexrank => Self::Lexrank,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let variants = arguments.generation.variants()?;
    if arguments.stream
        && (variants.len() > 1 || arguments.format.is_some_and(|it| it != Format::Text))
    {
        bail!(Usage("--stream shows one text: give one --length-penalty, and no --format".into()));
    }
    let inputs = inputs::expand(&arguments.files, arguments.output_dir.as_deref())?;
    let reader = Reader::new(arguments.text_column.as_deref())?;
    // Reads the first file before a model is loaded, so that a wrong path is told early.
    let first = reader.read(&inputs[0]);
    if inputs.len() == 1 && first.is_err() {
        return first.map(drop);
    }
    let model = arguments.model.choose()?;
    let mut summarizer = Summarizer::open_with(model.bundle(), &arguments.session.options())?;
    if let Some(prefix) = &arguments.source_prefix {
        summarizer.set_source_prefix(prefix);
    }
    // Checks all settings before the first document is worked on.
    let mut together = usize::MAX;
    for parameters in &variants {
        let config = summarizer.configure(parameters)?;
        together = together.min(summarizer.documents_together(&config));
    }
    let listed = if arguments.stream { 1 } else { together.saturating_mul(LIST) };
    let several = inputs.len() > 1 || matches!(&first, Ok(Found::Documents(it)) if it.len() > 1);
    let sink = match (&arguments.output, &arguments.output_dir) {
        (Some(path), _) => Sink::file(path, arguments.format, several)?,
        (None, Some(folder)) => Sink::folder(folder, arguments.format, &inputs)?,
        (None, None) => Sink::output(arguments.format, several),
    };
    let work = Work {
        arguments,
        options: LongOptions { reading: arguments.long.into(), length: arguments.length },
        penalties: variants.iter().map(|parameters| parameters.length_penalty).collect(),
        variants,
        listed,
        bar: DocumentBar::new(inputs.len() as u64),
        inputs: &inputs,
        summarizer,
        sink,
        waiting: Vec::new(),
        tally: Tally::new(&inputs),
    };
    interrupt::during(|| work.run(&reader, first))
}

/// State of the command.
struct Work<'a> {
    arguments: &'a Arguments,
    options: LongOptions,
    variants: Vec<GenerationParameters>,
    penalties: Vec<Option<f64>>,
    /// Largest number of documents in a call.
    listed: usize,
    bar: DocumentBar,
    inputs: &'a [Input],
    summarizer: Summarizer,
    sink: Sink,
    waiting: Vec<Waiting>,
    tally: Tally<'a>,
}

impl Work<'_> {
    /// Summarizes all files. `first` is the result of reading the first file.
    fn run(mut self, reader: &Reader, first: Result<Found>) -> Result<()> {
        let mut first = Some(first);
        let mut text = 0;
        for (number, input) in self.inputs.iter().enumerate() {
            let ready = first.take();
            if interrupt::requested() {
                break;
            }
            if !self.arguments.force && self.sink.has_newer(input) {
                self.tally.skipped += 1;
                self.bar.finish_one();
                continue;
            }
            match ready.unwrap_or_else(|| reader.read(input)) {
                Ok(Found::NoDocument) => {
                    self.tally.left_out += 1;
                    self.bar.finish_one();
                }
                // The child process that read the file was interrupted too.
                Err(_) if interrupt::requested() => break,
                Err(error) => {
                    self.tally.fail(number, &error, &self.bar);
                    self.tally.end(number, &self.bar);
                }
                Ok(Found::Documents(documents)) => {
                    let last = documents.len() - 1;
                    for (row, document) in documents.into_iter().enumerate() {
                        text += document.text.text().len();
                        self.waiting.push(Waiting {
                            document,
                            input: number,
                            is_last: row == last,
                        });
                        if self.waiting.len() >= self.listed || text >= TEXT_TOGETHER {
                            self.summarize()?;
                            text = 0;
                        }
                    }
                }
            }
        }
        self.summarize()?;
        self.conclude()
    }

    /// Summarizes the documents that wait.
    fn summarize(&mut self) -> Result<()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() || interrupt::requested() {
            return Ok(());
        }
        let texts: Vec<LongDocument<'_>> =
            waiting.iter_mut().map(|it| std::mem::take(&mut it.document.text)).collect();
        let stream = self.arguments.stream.then(|| self.summarizer.tokenizer().detokenizer());
        let stream = stream.map(Stream::new);
        let mut following = Following::new(
            &mut self.tally,
            &mut self.sink,
            &self.bar,
            &waiting,
            &self.penalties,
            stream,
        );
        let (summarizer, options) = (&mut self.summarizer, &self.options);
        for (variant, parameters) in self.variants.iter().enumerate() {
            following.turn_to(variant, 0);
            if summarizer.summarize_long_each(&texts, options, parameters, &mut following).is_ok() {
                continue;
            }
            // One document failed: tries each alone.
            for place in 0..texts.len() {
                if following.is_over(place) {
                    continue;
                }
                following.turn_to(variant, place);
                let text = &texts[place..=place];
                let alone =
                    summarizer.summarize_long_each(text, options, parameters, &mut following);
                if let Err(error) = alone {
                    following.fail(place, &error.into());
                }
            }
        }
        following.finish()
    }

    /// Puts the output in place, and reports the outcome.
    fn conclude(self) -> Result<()> {
        self.bar.clear();
        let Tally { done, failed, skipped, left_out, .. } = self.tally;
        let all = self.inputs.len();
        self.sink.finish()?;
        if skipped > 0 {
            eprintln!(
                "epitome: note: passed over {skipped} of {all} files, whose summaries are newer; \
                 --force makes them again"
            );
        }
        if left_out > 0 {
            eprintln!("epitome: note: passed over {left_out} of {all} files, which have no text");
        }
        if interrupt::requested() {
            bail!(Interrupted(format!("interrupted; {done} of {all} files are done")));
        }
        if failed > 0 {
            bail!("{failed} of {all} files could not be summarized");
        }
        Ok(())
    }
}
