//! Summaries as text, Markdown, JSON or CSV.

use std::io::{IsTerminal, stdout};

use anyhow::Result;
use clap::ValueEnum;
use epitome_runtime::Summary;

use crate::inputs::Document;
use crate::output::{self, Column};

/// Longest line of text on a terminal, in columns.
const MAX_WIDTH: usize = 100;

/// The format of summaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Only the summaries, each below its file's name if there are several files
    Text,
    /// A heading and a paragraph for each document, and how much of it was read
    Markdown,
    /// One JSON object per line and summary, with token ids, score and timing
    Json,
    /// A table: source, title, summary, words, words_read, parts
    Csv,
}

impl Format {
    /// The extension of files in this format.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Markdown => "md",
            Self::Json => "jsonl",
            Self::Csv => "csv",
        }
    }

    /// The format of files with this extension.
    pub(super) fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "md" | "markdown" => Some(Self::Markdown),
            "json" | "jsonl" | "ndjson" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// A document and its summaries: one for each length penalty, or one.
pub(super) struct Finished<'a> {
    pub(super) document: &'a Document,
    pub(super) summaries: Vec<(Option<f64>, &'a Summary)>,
}

impl Finished<'_> {
    fn several(&self) -> bool {
        self.summaries.len() > 1
    }

    /// The texts, each with its length penalty if there are several.
    fn texts(&self) -> impl Iterator<Item = (Option<f64>, &str)> {
        let several = self.several();
        self.summaries.iter().flat_map(move |(penalty, summary)| {
            let sequences = summary.sequences.iter();
            sequences.map(move |sequence| (penalty.filter(|_| several), sequence.text.as_str()))
        })
    }
}

/// Writes documents one after another.
pub(super) struct Renderer {
    format: Format,
    /// Whether the output shows the name of each document.
    is_headed: bool,
    /// Width to wrap text at.
    width: Option<usize>,
    /// Whether nothing has been written.
    is_first: bool,
}

impl Renderer {
    /// A renderer for standard output.
    pub(super) fn for_output(format: Format, is_headed: bool) -> Self {
        let width = stdout().is_terminal().then(|| textwrap::termwidth().min(MAX_WIDTH));
        Self { format, is_headed, width, is_first: true }
    }

    /// A renderer for a file.
    pub(super) fn for_file(format: Format, is_headed: bool) -> Self {
        Self { format, is_headed, width: None, is_first: true }
    }

    /// The heading of a document's summary.
    pub(super) fn heading(&mut self, document: &Document) -> String {
        let is_first = std::mem::replace(&mut self.is_first, false);
        let gap = if is_first { "" } else { "\n" };
        match self.format {
            Format::Text if self.is_headed => format!("{gap}==> {} <==\n", document.source),
            Format::Markdown => {
                let title = document.title.as_deref().unwrap_or(&document.source);
                format!("{gap}# {}\n\n", escaped(&single_line(title)))
            }
            Format::Csv if is_first => {
                let columns = [
                    "source",
                    "title",
                    "length_penalty",
                    "summary",
                    "words",
                    "words_read",
                    "parts",
                ];
                row(&columns.map(str::to_owned))
            }
            _ => String::new(),
        }
    }

    /// The summaries of a document, without the heading.
    pub(super) fn body(&self, finished: &Finished<'_>) -> Result<String> {
        Ok(match self.format {
            Format::Text if finished.several() => side_by_side(finished)?,
            Format::Text => finished.texts().map(|(_, text)| self.wrapped(text)).collect(),
            Format::Markdown => markdown(finished),
            Format::Json => json(finished)?,
            Format::Csv => csv(finished),
        })
    }

    fn wrapped(&self, text: &str) -> String {
        match self.width {
            Some(width) => textwrap::fill(text, width) + "\n",
            None => format!("{text}\n"),
        }
    }
}

fn side_by_side(finished: &Finished<'_>) -> Result<String> {
    let column = |(penalty, summary): &(Option<f64>, &Summary)| Column::of(*penalty, summary);
    let columns: Vec<_> = finished.summaries.iter().map(column).collect();
    let mut out = Vec::new();
    output::side_by_side(&mut out, &columns)?;
    out.push(b'\n');
    Ok(String::from_utf8(out)?)
}

fn markdown(finished: &Finished<'_>) -> String {
    let mut out = String::new();
    for (penalty, text) in finished.texts() {
        if let Some(penalty) = penalty {
            out.push_str(&format!("**length_penalty {penalty}**\n\n"));
        }
        out.push_str(&escaped(text));
        out.push_str("\n\n");
    }
    let read = finished.summaries.first().and_then(|(_, summary)| summary.read);
    if let Some(read) = read {
        let source = escaped(&single_line(&finished.document.source));
        out.push_str(&format!("*{source}: {read}*\n"));
    }
    out
}

fn json(finished: &Finished<'_>) -> Result<String> {
    let mut out = Vec::new();
    for (penalty, summary) in &finished.summaries {
        let penalty = penalty.filter(|_| finished.several());
        output::json(&mut out, &finished.document.source, summary, penalty)?;
    }
    Ok(String::from_utf8(out)?)
}

fn csv(finished: &Finished<'_>) -> String {
    let document = finished.document;
    let read = finished.summaries.first().and_then(|(_, summary)| summary.read);
    let [words, words_read, parts] = read
        .map_or([0; 3], |read| [read.words, read.words_read, read.parts])
        .map(|number| number.to_string());
    let line = |(penalty, text): (Option<f64>, &str)| {
        row(&[
            document.source.clone(),
            document.title.clone().unwrap_or_default(),
            penalty.map_or_else(String::new, |penalty| penalty.to_string()),
            text.to_owned(),
            words.clone(),
            words_read.clone(),
            parts.clone(),
        ])
    };
    finished.texts().map(line).collect()
}

/// A row of a table in CSV, with quotes where they are needed.
fn row(fields: &[String]) -> String {
    let quoted = |field: &String| match field.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.clone(),
    };
    fields.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n"
}

/// Escapes text, so that Markdown shows it unchanged.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut starts_line = true;
    for character in text.chars() {
        let marks_line = starts_line && matches!(character, '#' | '>' | '-' | '+' | '=' | '~');
        if marks_line || matches!(character, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '&' | '|') {
            out.push('\\');
        }
        starts_line = character == '\n' || starts_line && character.is_whitespace();
        out.push(character);
    }
    out
}

fn single_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_shows_what_the_model_wrote() {
        assert_eq!(escaped("a *b* _c_ <d> [e](f)"), "a \\*b\\* \\_c\\_ \\<d> \\[e\\](f)");
        assert_eq!(escaped("# a - b\n - c"), "\\# a - b\n \\- c");
    }

    #[test]
    fn fields_are_quoted_where_they_have_to_be() {
        let fields = ["a", "b, \"c\"", "", "d\ne"].map(str::to_owned);
        assert_eq!(row(&fields), "a,\"b, \"\"c\"\"\",,\"d\ne\"\n");
    }
}
