//! Hostile archives: DOCX, ODT and EPUB.

use epitome_documents::ErrorKind;

use super::{assert_refused, deflated, read, text};

/// A file of an archive, as in its header.
struct Entry {
    name: String,
    /// Compression method: 0 for none, 8 for deflate.
    method: u16,
    flags: u16,
    /// Claimed size in bytes.
    size: u32,
    data: Vec<u8>,
}

fn stored(name: &str, data: &[u8]) -> Entry {
    Entry { name: name.into(), method: 0, flags: 0, size: data.len() as u32, data: data.to_vec() }
}

/// An archive. Checksums are zero, which a reader notices only at the end of a file.
fn zip(entries: &[Entry]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut list = Vec::new();
    for entry in entries {
        let place = file.len() as u32;
        let mut checksum = flate2::Crc::new();
        checksum.update(&entry.data);
        let checksum = if entry.method == 0 { checksum.sum() } else { 0 };
        let mut common = Vec::new();
        for number in [20, entry.flags, entry.method, 0, 0x21] {
            common.extend_from_slice(&u16::to_le_bytes(number));
        }
        for number in [checksum, entry.data.len() as u32, entry.size] {
            common.extend_from_slice(&u32::to_le_bytes(number));
        }
        common.extend_from_slice(&(entry.name.len() as u16).to_le_bytes());
        common.extend_from_slice(&0_u16.to_le_bytes());
        file.extend_from_slice(b"PK\x03\x04");
        file.extend_from_slice(&common);
        file.extend_from_slice(entry.name.as_bytes());
        file.extend_from_slice(&entry.data);
        list.extend_from_slice(b"PK\x01\x02\x14\0");
        list.extend_from_slice(&common);
        list.extend_from_slice(&[0; 10]);
        list.extend_from_slice(&place.to_le_bytes());
        list.extend_from_slice(entry.name.as_bytes());
    }
    let start = file.len() as u32;
    file.extend_from_slice(&list);
    file.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    for _ in 0..2 {
        file.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    }
    file.extend_from_slice(&(list.len() as u32).to_le_bytes());
    file.extend_from_slice(&start.to_le_bytes());
    file.extend_from_slice(&[0; 2]);
    file
}

const TYPES: &str = "[Content_Types].xml";
const DOCUMENT: &str = "word/document.xml";

fn docx(document: &str) -> Vec<u8> {
    zip(&[stored(TYPES, b"<Types/>"), stored(DOCUMENT, document.as_bytes())])
}

fn odt(content: &str) -> Vec<u8> {
    let kind = b"application/vnd.oasis.opendocument.text";
    zip(&[stored("mimetype", kind), stored("content.xml", content.as_bytes())])
}

fn epub(package: &str, chapters: &[(&str, &str)]) -> Vec<u8> {
    let container =
        br#"<container><rootfiles><rootfile full-path="p.opf"/></rootfiles></container>"#;
    let mut entries = vec![
        stored("mimetype", b"application/epub+zip"),
        stored("META-INF/container.xml", container),
        stored("p.opf", package.as_bytes()),
    ];
    entries.extend(chapters.iter().map(|(name, page)| stored(name, page.as_bytes())));
    zip(&entries)
}

const PACKAGE: &str = r#"<package><manifest>
    <item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>
    <spine><itemref idref="a"/><itemref idref="a"/><itemref idref="gone"/></spine></package>"#;

#[test]
fn good() {
    assert_eq!(text("good.docx", &docx("<w:p><w:t>Hello</w:t></w:p>")), "Hello");
    assert_eq!(text("good.odt", &odt("<text:p>Hello</text:p>")), "Hello");
    let book = epub(PACKAGE, &[("a.xhtml", "<html><body><p>Hello</p></body></html>")]);
    assert_eq!(text("good.epub", &book), "Hello");
}

#[test]
fn bombs() {
    for size in [u32::MAX, 10] {
        let data = deflated(b' ', 4096, false);
        let entry =
            |name: &str| Entry { name: name.into(), method: 8, flags: 0, size, data: data.clone() };
        assert_refused("bomb.docx", &zip(&[stored(TYPES, b"<Types/>"), entry(DOCUMENT)]));
        let kind = b"application/vnd.oasis.opendocument.text";
        assert_refused("bomb.odt", &zip(&[stored("mimetype", kind), entry("content.xml")]));
        assert_refused("bomb.epub", &zip(&[entry("META-INF/container.xml")]));
    }
}

#[test]
fn entities_that_expand() {
    let mut document = "<!DOCTYPE x [<!ENTITY a 'lol'>".to_owned();
    for (entity, before) in ('b'..='z').zip('a'..) {
        let ten = format!("&{before};").repeat(10);
        document.push_str(&format!("<!ENTITY {entity} '{ten}'>"));
    }
    document.push_str("<!ENTITY file SYSTEM 'file:///etc/passwd'>]>");
    document.push_str("<w:p><w:t>Hello &z;&file;&#33;</w:t></w:p>");
    assert_eq!(text("entities.docx", &docx(&document)), "Hello !");
    let content = document.replace("<w:p><w:t>", "<text:p>").replace("</w:t></w:p>", "</text:p>");
    assert_eq!(text("entities.odt", &odt(&content)), "Hello !");
}

#[test]
fn elements_that_nest_deeply() {
    let deep = "<w:p>".repeat(200_000) + "<w:t>Hello</w:t>";
    assert_eq!(text("deep.docx", &docx(&deep)), "Hello");
    let rows = "<w:tr>".repeat(200_000) + "<w:p><w:t>Hello</w:t></w:p>";
    assert_eq!(text("rows.docx", &docx(&rows)), "Hello");
    let deep = "<text:p>".repeat(200_000) + "Hello";
    assert_eq!(text("deep.odt", &odt(&deep)), "Hello");
    let chapter = "<div>".repeat(200_000) + "Hello";
    let _ = read("deep.epub", &epub(PACKAGE, &[("a.xhtml", &chapter)]));
}

#[test]
fn spaces_that_multiply() {
    let content = format!("<text:p>a{}b</text:p>", r#"<text:s text:c="4000000000"/>"#.repeat(1000));
    let _ = read("spaces.odt", &odt(&content));
}

#[test]
fn truncated() {
    let files = [
        ("a.docx", docx("<w:p><w:t>Hello</w:t></w:p>")),
        ("a.odt", odt("<text:p>Hello</text:p>")),
        ("a.epub", epub(PACKAGE, &[("a.xhtml", "<p>Hello</p>")])),
    ];
    for (name, file) in files {
        for end in [file.len() - 5, file.len() - 40, file.len() / 2] {
            assert_refused(name, &file[..end]);
        }
        let cut = file.iter().position(|byte| *byte == b'<').unwrap();
        let _ = read(name, &file[..cut]);
    }
    assert_refused("cut.docx", &docx("<w:p><w:t>Hello</w:t></w:p><w:p"));
}

#[test]
fn encrypted() {
    let mut document = stored(DOCUMENT, b"<w:p><w:t>Hello</w:t></w:p>");
    document.flags = 1;
    let file = zip(&[stored(TYPES, b"<Types/>"), document]);
    assert_eq!(read("a.docx", &file), Err(ErrorKind::Encrypted));
    let manifest = b"<manifest><file-entry><encryption-data/></file-entry></manifest>";
    let file = zip(&[
        stored("mimetype", b"application/vnd.oasis.opendocument.text"),
        stored("content.xml", b"\xff\xfe\x01"),
        stored("META-INF/manifest.xml", manifest),
    ]);
    assert_eq!(read("a.odt", &file), Err(ErrorKind::Encrypted));
    let encryption = br#"<encryption><CipherReference URI="a.xhtml"/></encryption>"#;
    let file = zip(&[
        stored("META-INF/container.xml", b"<rootfile full-path='p.opf'/>"),
        stored("META-INF/encryption.xml", encryption),
    ]);
    assert_eq!(read("a.epub", &file), Err(ErrorKind::Encrypted));
}

#[test]
fn paths_that_lead_out_or_in_circles() {
    let package = PACKAGE.replace("a.xhtml", "../../../../etc/passwd");
    assert_refused("out.epub", &epub(&package, &[("a.xhtml", "<p>Hello</p>")]));
    let package = PACKAGE.replace("a.xhtml", "p.opf");
    let _ = read("circle.epub", &epub(&package, &[]));
    let container = b"<rootfile full-path='META-INF/container.xml'/>";
    assert_refused("itself.epub", &zip(&[stored("META-INF/container.xml", container)]));
    let relations = br#"<Relationship Type="x/officeDocument" Target="_rels/.rels"/>"#;
    let file =
        [stored(TYPES, b"<Types/>"), stored("_rels/.rels", relations), stored("word/x", b"")];
    assert_refused("itself.docx", &zip(&file));
}

#[test]
fn archives_of_many_files_and_of_archives() {
    let many: Vec<Entry> = (0..60_000).map(|at| stored(&format!("{at}"), b"")).collect();
    assert!(matches!(read("many.zip", &zip(&many)), Err(ErrorKind::NotADocument(_))));
    let mut inner = docx("<w:p><w:t>Hello</w:t></w:p>");
    for _ in 0..20 {
        inner = zip(&[stored(TYPES, b"<Types/>"), stored(DOCUMENT, &inner)]);
    }
    let kind = read("nested.docx", &inner).unwrap_err();
    assert!(!matches!(kind, ErrorKind::Crashed(_)), "{kind:?}");
}

#[test]
fn other_archives_say_what_they_are() {
    for (name, part) in [("xl/a.xml", "Excel"), ("ppt/a.xml", "PowerPoint"), ("x/a.xml", "Office")]
    {
        let kind =
            read("a.zip", &zip(&[stored(TYPES, b"<Types/>"), stored(name, b"")])).unwrap_err();
        assert!(kind.to_string().contains(part), "{kind}");
    }
}
