//! Collects the sections of a document, up to a size limit.

use crate::document::Section;
use crate::error::ErrorKind;

/// Collects sections while a reader finds their parts.
pub(crate) struct Builder {
    sections: Vec<Section>,
    current: Section,
    page: Option<u32>,
    left: usize,
    limit: usize,
}

impl Builder {
    /// A builder that takes at most `limit` bytes of text.
    pub(crate) fn new(limit: usize) -> Self {
        Self { sections: Vec::new(), current: Section::default(), page: None, left: limit, limit }
    }

    /// Begins a section with a heading. Runs of white space become single spaces.
    #[cfg_attr(not(feature = "html"), allow(dead_code, reason = "plain text has no headings"))]
    pub(crate) fn heading(&mut self, heading: &str) -> Result<(), ErrorKind> {
        let heading = single_spaced(heading);
        if heading.is_empty() {
            return Ok(());
        }
        self.charge(heading.len())?;
        self.begin(Some(heading));
        Ok(())
    }

    /// Sets the page of the following paragraphs.
    #[allow(dead_code, reason = "not every set of formats has pages")]
    pub(crate) fn page(&mut self, page: u32) {
        self.page = Some(page);
        if self.current.text.is_empty() && self.current.heading.is_none() {
            self.current.page = self.page;
        } else {
            self.begin(None);
        }
    }

    /// Adds a paragraph, unless it is only white space.
    pub(crate) fn paragraph(&mut self, text: &str) -> Result<(), ErrorKind> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        self.charge(text.len() + 2)?;
        if !self.current.text.is_empty() {
            self.current.text.push_str("\n\n");
        }
        self.current.text.push_str(text);
        Ok(())
    }

    /// The sections; `None` if there is no text.
    pub(crate) fn finish(mut self) -> Option<Vec<Section>> {
        self.begin(None);
        let has_text = self.sections.iter().any(|section| !section.text.is_empty());
        has_text.then_some(self.sections)
    }

    fn begin(&mut self, heading: Option<String>) {
        let next = Section { heading, page: self.page, text: String::new() };
        let section = std::mem::replace(&mut self.current, next);
        if !section.text.is_empty() || section.heading.is_some() {
            self.sections.push(section);
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), ErrorKind> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => return Err(too_much_text(self.limit)),
        }
        Ok(())
    }
}

pub(crate) fn too_much_text(limit: usize) -> ErrorKind {
    ErrorKind::TooLarge { what: "its text".into(), limit: limit as u64 }
}

/// `text` with runs of white space replaced by single spaces, and none at its ends.
#[cfg_attr(not(feature = "html"), allow(dead_code, reason = "plain text has no headings"))]
pub(crate) fn single_spaced(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}
