//! Nested paragraphs of word processors: in table cells, and in frames within paragraphs.

use crate::builder::{Builder, single_spaced};
use crate::error::ErrorKind;

/// Limit of nested frames. Deeper ones are read as if they were side by side.
const MAX_DEPTH: usize = 64;

/// Kind of a paragraph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Body,
    Heading,
    Title,
    /// A line of a table of contents.
    Contents,
}

impl Kind {
    /// The kind of a style, by its lower-case English name.
    pub(crate) fn of_style(name: &str) -> Option<Self> {
        let is_contents = name.starts_with("toc ") || name.starts_with("contents ");
        match name {
            "title" => Some(Self::Title),
            _ if is_contents && !name.ends_with("heading") => Some(Self::Contents),
            _ if name.starts_with("heading ") => Some(Self::Heading),
            _ => None,
        }
    }
}

/// Adds paragraphs to sections when they end.
pub(crate) struct Paragraphs<'b> {
    builder: &'b mut Builder,
    open: Vec<(Kind, String)>,
    /// Text of the cells in the current rows, and their number.
    row: String,
    rows: usize,
    title: Option<String>,
}

impl<'b> Paragraphs<'b> {
    pub(crate) fn new(builder: &'b mut Builder) -> Self {
        Self { builder, open: Vec::new(), row: String::new(), rows: 0, title: None }
    }

    pub(crate) fn begin(&mut self, kind: Kind) -> Result<(), ErrorKind> {
        if self.open.len() >= MAX_DEPTH {
            self.end()?;
        }
        self.open.push((kind, String::new()));
        Ok(())
    }

    pub(crate) fn set_kind(&mut self, kind: Kind) {
        if let Some((open, _)) = self.open.last_mut() {
            *open = kind;
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        if let Some((_, open)) = self.open.last_mut() {
            open.push_str(text);
        }
    }

    pub(crate) fn end(&mut self) -> Result<(), ErrorKind> {
        let Some((kind, text)) = self.open.pop() else { return Ok(()) };
        if self.rows > 0 {
            let text = single_spaced(&text);
            if !text.is_empty() {
                let is_first = self.row.is_empty() || self.row.ends_with(['\t', '\n']);
                self.row.push_str(if is_first { "" } else { " " });
                self.row.push_str(&text);
            }
            return Ok(());
        }
        match kind {
            Kind::Body => self.builder.paragraph(&text),
            Kind::Heading => self.builder.heading(&text),
            Kind::Contents => Ok(()),
            Kind::Title => {
                let text = single_spaced(&text);
                if self.title.is_none() && !text.is_empty() {
                    self.title = Some(text);
                    return Ok(());
                }
                self.builder.paragraph(&text)
            }
        }
    }

    /// Ends a cell of a table.
    pub(crate) fn cell(&mut self) {
        if self.rows > 0 {
            self.row.push('\t');
        }
    }

    pub(crate) fn begin_row(&mut self) -> Result<(), ErrorKind> {
        self.rows += 1;
        Ok(())
    }

    pub(crate) fn end_row(&mut self) -> Result<(), ErrorKind> {
        self.rows = self.rows.saturating_sub(1);
        if self.rows > 0 {
            return Ok(());
        }
        let row = std::mem::take(&mut self.row);
        let cells: Vec<&str> = row.split('\t').map(str::trim).filter(|it| !it.is_empty()).collect();
        self.builder.paragraph(&cells.join("\t"))
    }

    /// Ends open paragraphs, and returns the text of the first title.
    pub(crate) fn finish(mut self) -> Result<Option<String>, ErrorKind> {
        while !self.open.is_empty() {
            self.end()?;
        }
        if self.rows > 0 {
            self.rows = 1;
            self.end_row()?;
        }
        Ok(self.title)
    }
}
