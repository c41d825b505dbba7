//! XML as a sequence of tags and text.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::document::Format;
use crate::encoding;
use crate::error::ErrorKind;

/// A part of an XML file. Names have no prefix.
pub(crate) enum Node<'a> {
    Start(&'a str, Attributes<'a>),
    End(&'a str),
    Text(&'a str),
}

/// The attributes of a tag.
pub(crate) struct Attributes<'a>(&'a BytesStart<'a>);

impl Attributes<'_> {
    /// The value of an attribute, by its name without a prefix.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let mut all = self.0.attributes();
        all.with_checks(false);
        let attribute = all.flatten().find(|it| it.key.local_name().as_ref() == name.as_bytes())?;
        attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).ok().map(Into::into)
    }
}

/// Calls `visit` for each part of a file. An element without content has a start and an end.
///
/// Entities that the file defines are skipped, because they could expand to any size.
pub(crate) fn walk(
    bytes: &[u8],
    format: Format,
    mut visit: impl FnMut(Node<'_>) -> Result<(), ErrorKind>,
) -> Result<(), ErrorKind> {
    let damaged = |error: &dyn std::fmt::Display| ErrorKind::damaged(format, error);
    let text = encoding::decode(bytes).ok_or_else(|| damaged(&"a part of it is no text"))?;
    let mut reader = Reader::from_str(&text);
    reader.config_mut().check_end_names = false;
    reader.config_mut().allow_unmatched_ends = true;
    loop {
        match reader.read_event().map_err(|error| damaged(&error))? {
            Event::Start(tag) => {
                visit(Node::Start(name(tag.local_name().as_ref()), Attributes(&tag)))?;
            }
            Event::Empty(tag) => {
                visit(Node::Start(name(tag.local_name().as_ref()), Attributes(&tag)))?;
                visit(Node::End(name(tag.local_name().as_ref())))?;
            }
            Event::End(tag) => visit(Node::End(name(tag.local_name().as_ref())))?,
            Event::Text(text) => {
                visit(Node::Text(&text.decode().map_err(|error| damaged(&error))?))?;
            }
            Event::CData(text) => {
                visit(Node::Text(&text.decode().map_err(|error| damaged(&error))?))?;
            }
            Event::GeneralRef(reference) => {
                if let Ok(Some(character)) = reference.resolve_char_ref() {
                    visit(Node::Text(character.encode_utf8(&mut [0; 4])))?;
                } else if let Some(text) = predefined(&reference) {
                    visit(Node::Text(text))?;
                }
            }
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

fn name(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn predefined(name: &[u8]) -> Option<&'static str> {
    Some(match name {
        b"lt" => "<",
        b"gt" => ">",
        b"amp" => "&",
        b"apos" => "'",
        b"quot" => "\"",
        b"nbsp" => "\u{a0}",
        _ => return None,
    })
}

/// The text of the first element of this name.
pub(crate) fn text_of(
    bytes: &[u8],
    format: Format,
    element: &str,
) -> Result<Option<String>, ErrorKind> {
    let mut text = String::new();
    let (mut is_within, mut is_done) = (false, false);
    walk(bytes, format, |node| {
        match node {
            Node::Start(name, _) if name == element && !is_done => is_within = true,
            Node::End(name) if name == element => is_done |= std::mem::take(&mut is_within),
            Node::Text(part) if is_within => text.push_str(part),
            _ => {}
        }
        Ok(())
    })?;
    let text = crate::builder::single_spaced(&text);
    Ok(Some(text).filter(|text| !text.is_empty()))
}
