//! ODT: OpenDocument texts.

use std::collections::HashMap;

use crate::archive::Archive;
use crate::builder::Builder;
use crate::document::{Format, Section};
use crate::error::ErrorKind;
use crate::paragraphs::{Kind, Paragraphs};
use crate::xml::{self, Node};

/// Elements that are left out: notes, comments, deleted text, and tables of contents.
const LEFT_OUT: [&str; 9] = [
    "note",
    "annotation",
    "tracked-changes",
    "table-of-content",
    "alphabetical-index",
    "illustration-index",
    "bibliography-mark",
    "object",
    "ruby-text",
];
/// Largest number of spaces that an element stands for.
const MAX_SPACES: usize = 100;

/// Title and sections.
pub(crate) fn read(
    bytes: &[u8],
    limit: usize,
    max_unpacked: u64,
) -> Result<(Option<String>, Option<Vec<Section>>), ErrorKind> {
    let mut archive = Archive::new(bytes, Format::Odt, max_unpacked)?;
    if let Some(manifest) = archive.file_if_there("META-INF/manifest.xml")? {
        xml::walk(&manifest, Format::Odt, |node| match node {
            Node::Start("encryption-data", _) => Err(ErrorKind::Encrypted),
            _ => Ok(()),
        })?;
    }
    let title = match archive.file_if_there("meta.xml")? {
        Some(meta) => xml::text_of(&meta, Format::Odt, "title")?,
        None => None,
    };
    let mut builder = Builder::new(limit);
    let titled = body(&archive.file("content.xml")?, &mut builder)?;
    Ok((titled.or(title), builder.finish()))
}

fn body(content: &[u8], builder: &mut Builder) -> Result<Option<String>, ErrorKind> {
    let mut paragraphs = Paragraphs::new(builder);
    // Automatic styles, by the name of their parent.
    let mut parents: HashMap<String, String> = HashMap::new();
    let mut left_out = 0_usize;
    xml::walk(content, Format::Odt, |node| {
        match node {
            Node::Start(name, _) if LEFT_OUT.contains(&name) => left_out += 1,
            Node::End(name) if LEFT_OUT.contains(&name) => left_out = left_out.saturating_sub(1),
            _ if left_out > 0 => {}
            Node::Start("style", attributes) => {
                if let (Some(name), Some(parent)) =
                    (attributes.get("name"), attributes.get("parent-style-name"))
                {
                    parents.insert(name, parent);
                }
            }
            Node::Start("p", attributes) => {
                let style = attributes.get("style-name").unwrap_or_default();
                let style = parents.get(&style).unwrap_or(&style);
                let style = style.replace("_20_", " ").to_lowercase();
                paragraphs.begin(Kind::of_style(&style).unwrap_or(Kind::Body))?;
            }
            Node::Start("h", _) => paragraphs.begin(Kind::Heading)?,
            Node::End("p" | "h") => paragraphs.end()?,
            Node::Start("s", attributes) => {
                let count = attributes.get("c").and_then(|count| count.parse().ok());
                paragraphs.text(&" ".repeat(count.unwrap_or(1).min(MAX_SPACES)));
            }
            Node::Start("tab", _) => paragraphs.text("\t"),
            Node::Start("line-break", _) => paragraphs.text("\n"),
            Node::Text(text) => paragraphs.text(text),
            Node::Start("table-row", _) => paragraphs.begin_row()?,
            Node::End("table-row") => paragraphs.end_row()?,
            Node::End("table-cell") => paragraphs.cell(),
            _ => {}
        }
        Ok(())
    })?;
    paragraphs.finish()
}
