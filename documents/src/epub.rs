//! EPUB: the chapters of a book in order.

use std::collections::HashMap;

use crate::archive::Archive;
use crate::builder::Builder;
use crate::document::{Format, Section};
use crate::error::ErrorKind;
use crate::html;
use crate::xml::{self, Node};

/// Title and sections.
pub(crate) fn read(
    bytes: &[u8],
    limit: usize,
    max_unpacked: u64,
) -> Result<(Option<String>, Option<Vec<Section>>), ErrorKind> {
    let mut archive = Archive::new(bytes, Format::Epub, max_unpacked)?;
    if let Some(encryption) = archive.file_if_there("META-INF/encryption.xml")? {
        refuse_encrypted_text(&encryption)?;
    }
    let package = package_path(&archive.file("META-INF/container.xml")?)?;
    let package_file = archive.file(&package)?;
    let title = xml::text_of(&package_file, Format::Epub, "title")?;
    let folder = package.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut builder = Builder::new(limit);
    for chapter in chapters(&package_file)? {
        // A missing or broken chapter is skipped.
        let Some(page) = archive.file_if_there(&resolve(folder, &chapter))? else { continue };
        let page = html::text_of(&page, limit)?;
        let page = html::parse(&html::with_end_tags(&page))?;
        html::blocks(&page.root(), &mut builder)?;
    }
    Ok((title, builder.finish()))
}

/// Refuses encrypted chapters. Obfuscated fonts do not matter.
fn refuse_encrypted_text(encryption: &[u8]) -> Result<(), ErrorKind> {
    xml::walk(encryption, Format::Epub, |node| {
        if let Node::Start("CipherReference", attributes) = node {
            let file = attributes.get("URI").unwrap_or_default().to_lowercase();
            if [".xhtml", ".html", ".htm", ".xml", ".opf"].iter().any(|end| file.ends_with(end)) {
                return Err(ErrorKind::Encrypted);
            }
        }
        Ok(())
    })
}

fn package_path(container: &[u8]) -> Result<String, ErrorKind> {
    let mut path = None;
    xml::walk(container, Format::Epub, |node| {
        if let Node::Start("rootfile", attributes) = node {
            path = path.take().or_else(|| attributes.get("full-path"));
        }
        Ok(())
    })?;
    path.ok_or_else(|| ErrorKind::damaged(Format::Epub, "its container names no package"))
}

/// The files of the chapters in reading order, without the table of contents.
fn chapters(package: &[u8]) -> Result<Vec<String>, ErrorKind> {
    let mut files = HashMap::new();
    let mut chapters = Vec::new();
    xml::walk(package, Format::Epub, |node| {
        match node {
            Node::Start("item", attributes) => {
                let is = |name, value: &str| {
                    let words = attributes.get(name).unwrap_or_default();
                    words.split(' ').any(|word| word == value)
                };
                let is_page =
                    is("media-type", "application/xhtml+xml") || is("media-type", "text/html");
                if let (Some(id), Some(file)) = (attributes.get("id"), attributes.get("href"))
                    && is_page
                    && !is("properties", "nav")
                {
                    files.insert(id, file);
                }
            }
            Node::Start("itemref", attributes)
                if attributes.get("linear").is_none_or(|linear| linear != "no") =>
            {
                chapters.extend(attributes.get("idref").and_then(|id| files.remove(&id)));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(chapters)
}

/// The path in the archive of a file that is named relative to a folder.
fn resolve(folder: &str, file: &str) -> String {
    let file = file.split('#').next().unwrap_or_default();
    let file = percent_decoded(file);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn paths_are_resolved() {
        assert_eq!(resolve("OEBPS", "a%20b.xhtml#c"), "OEBPS/a b.xhtml");
        assert_eq!(resolve("OEBPS/text", "../c.xhtml"), "OEBPS/c.xhtml");
        assert_eq!(resolve("", "../../c%"), "c%");
    }
}
