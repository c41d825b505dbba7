//! DOCX: documents of Word.

use std::collections::HashMap;

use crate::archive::Archive;
use crate::builder::Builder;
use crate::document::{Format, Section};
use crate::error::ErrorKind;
use crate::paragraphs::{Kind, Paragraphs};
use crate::xml::{self, Node};

/// Elements with text that is not part of the current document: deleted or moved text, codes of
/// fields, alternative forms of drawings.
const LEFT_OUT: [&str; 6] = ["del", "delText", "moveFrom", "instrText", "Fallback", "rubyPr"];

/// Title and sections.
pub(crate) fn read(
    bytes: &[u8],
    limit: usize,
    max_unpacked: u64,
) -> Result<(Option<String>, Option<Vec<Section>>), ErrorKind> {
    let mut archive = Archive::new(bytes, Format::Docx, max_unpacked)?;
    let styles = match archive.file_if_there("word/styles.xml")? {
        Some(styles) => styles_of(&styles)?,
        None => HashMap::new(),
    };
    let title = match archive.file_if_there("docProps/core.xml")? {
        Some(properties) => xml::text_of(&properties, Format::Docx, "title")?,
        None => None,
    };
    let main = main_part(&mut archive)?;
    let mut builder = Builder::new(limit);
    let titled = body(&archive.file(&main)?, &styles, &mut builder)?;
    Ok((titled.or(title), builder.finish()))
}

/// The part with the text. Most programs use the same name for it.
fn main_part(archive: &mut Archive<'_>) -> Result<String, ErrorKind> {
    let mut part = "word/document.xml".to_owned();
    if let Some(relations) = archive.file_if_there("_rels/.rels")? {
        xml::walk(&relations, Format::Docx, |node| {
            if let Node::Start("Relationship", attributes) = node
                && attributes.get("Type").is_some_and(|it| it.ends_with("/officeDocument"))
                && let Some(target) = attributes.get("Target")
            {
                part = target.trim_start_matches('/').to_owned();
            }
            Ok(())
        })?;
    }
    Ok(part)
}

/// The paragraph kinds of styles, by their identifiers.
fn styles_of(styles: &[u8]) -> Result<HashMap<String, Kind>, ErrorKind> {
    let mut kinds = HashMap::new();
    let mut style = String::new();
    xml::walk(styles, Format::Docx, |node| {
        let Node::Start(name, attributes) = node else { return Ok(()) };
        match name {
            "style" => style = attributes.get("styleId").unwrap_or_default(),
            // Identifiers depend on the language of the program, but names do not.
            "name" => {
                let name = attributes.get("val").unwrap_or_default().to_lowercase();
                if let Some(kind) = Kind::of_style(&name) {
                    kinds.insert(style.clone(), kind);
                }
            }
            "outlineLvl" if attributes.get("val").is_some_and(|level| level != "9") => {
                kinds.entry(style.clone()).or_insert(Kind::Heading);
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(kinds)
}

fn body(
    document: &[u8],
    styles: &HashMap<String, Kind>,
    builder: &mut Builder,
) -> Result<Option<String>, ErrorKind> {
    let mut paragraphs = Paragraphs::new(builder);
    let mut left_out = 0_usize;
    let mut is_text = false;
    xml::walk(document, Format::Docx, |node| {
        match node {
            Node::Start(name, _) if LEFT_OUT.contains(&name) => left_out += 1,
            Node::End(name) if LEFT_OUT.contains(&name) => left_out = left_out.saturating_sub(1),
            _ if left_out > 0 => {}
            Node::Start("p", _) => paragraphs.begin(Kind::Body)?,
            Node::End("p") => paragraphs.end()?,
            Node::Start("pStyle", attributes) => {
                if let Some(kind) = attributes.get("val").and_then(|style| styles.get(&style)) {
                    paragraphs.set_kind(*kind);
                }
            }
            Node::Start("outlineLvl", attributes)
                if attributes.get("val").is_some_and(|level| level != "9") =>
            {
                paragraphs.set_kind(Kind::Heading);
            }
            Node::Start("t", _) => is_text = true,
            Node::End("t") => is_text = false,
            Node::Text(text) if is_text => paragraphs.text(text),
            Node::Start("tab" | "ptab", _) => paragraphs.text("\t"),
            Node::Start("br" | "cr", _) => paragraphs.text("\n"),
            Node::Start("noBreakHyphen", _) => paragraphs.text("-"),
            Node::End("tc") => paragraphs.cell(),
            Node::Start("tr", _) => paragraphs.begin_row()?,
            Node::End("tr") => paragraphs.end_row()?,
            _ => {}
        }
        Ok(())
    })?;
    paragraphs.finish()
}
