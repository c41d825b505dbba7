//! Compares documents of every format, written by common programs, with the words that another
//! program reads in them. `fixtures/make_documents.py` makes both.

use std::fs;
use std::path::{Path, PathBuf};

use epitome_documents::isolated::Extractor;
use epitome_documents::{Document, ErrorKind, Format, Options, read};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/documents").join(name)
}

fn extractor() -> Extractor {
    Extractor::new(env!("CARGO_BIN_EXE_extract"), vec!["extract-document".into()])
}

/// Reads a fixture in a child process, and checks that this process reads the same.
fn document(name: &str) -> Vec<Document> {
    let path = fixture(name);
    let documents = extractor().read_file(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(documents, read(&bytes, Some(name), &Options::default()).unwrap(), "{name}");
    assert_eq!(documents, extractor().read(&bytes, Some(name)).unwrap(), "{name}");
    documents
}

/// Letters and digits, without punctuation and table borders.
fn words(text: &str) -> Vec<String> {
    let parts = text.split(|character: char| !character.is_alphanumeric());
    parts.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn error(name: &str) -> ErrorKind {
    let error = extractor().read_file(&fixture(name)).unwrap_err();
    assert!(error.to_string().contains(name), "{error}");
    error.kind
}

#[test]
fn every_format_has_the_words_that_another_program_reads() {
    for (name, format) in [
        ("utf-16.txt", Format::PlainText),
        ("latin-1.txt", Format::PlainText),
        ("notes.md", Format::Markdown),
        ("page.html", Format::Html),
        ("reportlab.pdf", Format::Pdf),
        ("owner-password.pdf", Format::Pdf),
        ("word.docx", Format::Docx),
        ("text.odt", Format::Odt),
        ("text.rtf", Format::Rtf),
        ("book.epub", Format::Epub),
        ("mail.eml", Format::Email),
        ("film.srt", Format::Subtitles),
        ("film.vtt", Format::Subtitles),
        ("rows.csv", Format::Csv),
        ("rows.jsonl", Format::JsonLines),
    ] {
        let documents = document(name);
        let expected = fs::read_to_string(fixture(&format!("{name}.txt"))).unwrap();
        let mut expected = words(&expected);
        let text: Vec<String> = documents.iter().map(Document::text).collect();
        let mut read = words(&text.join("\n"));
        // The title may be in the text of both, one or none.
        let title = words("A bridge over the river");
        for words in [&mut expected, &mut read] {
            while words.starts_with(&title) {
                words.drain(..title.len());
            }
        }
        assert_eq!(read, expected, "{name}");
        assert_eq!(documents[0].format, format, "{name}");
    }
}

#[test]
fn titles_and_headings_are_kept() {
    let titled = [
        "notes.md",
        "page.html",
        "reportlab.pdf",
        "word.docx",
        "text.odt",
        "text.rtf",
        "book.epub",
    ];
    for name in titled {
        let document = &document(name)[0];
        // Pandoc writes the title into RTF as an ordinary paragraph.
        let title = (name != "text.rtf").then_some("A bridge over the river");
        assert_eq!(document.title.as_deref(), title, "{name}");
        let headings: Vec<&str> =
            document.sections.iter().filter_map(|section| section.heading.as_deref()).collect();
        let at = headings.len().saturating_sub(3);
        let expected = ["The opening", "What it cost", "What comes next"];
        assert_eq!(headings[at..], expected, "{name}: {headings:?}");
    }
    let mail = document("mail.eml");
    assert_eq!(mail[0].title.as_deref(), Some("Die Brücke: A bridge over the river"));
}

#[test]
fn pages_are_kept() {
    let document = &document("reportlab.pdf")[0];
    let page = |heading: &str| {
        let of = |it: &&epitome_documents::Section| it.heading.as_deref() == Some(heading);
        document.sections.iter().find(of).and_then(|section| section.page)
    };
    assert_eq!(page("The opening"), Some(1));
    assert_eq!(page("What it cost"), Some(2));
    assert_eq!(page("What comes next"), Some(3));
}

#[test]
fn rows_are_documents_with_titles() {
    for name in ["rows.csv", "rows.jsonl"] {
        let documents = document(name);
        let titles: Vec<_> = documents.iter().map(|it| it.title.as_deref().unwrap()).collect();
        assert_eq!(titles, ["The opening", "What it cost", "What comes next"], "{name}");
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    assert_eq!(error("encrypted.pdf"), ErrorKind::Encrypted);
    assert_eq!(error("encrypted.docx"), ErrorKind::Encrypted);
    assert_eq!(error("scanned.pdf"), ErrorKind::Scanned);
    assert_eq!(ErrorKind::Scanned.to_string(), "has no text in it (scanned?)");
    assert!(matches!(error("missing.pdf"), ErrorKind::Io(_)));
}

#[test]
fn the_name_does_not_matter() {
    let folder = std::env::temp_dir().join(format!("epitome-documents-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for name in ["reportlab.pdf", "word.docx", "text.rtf", "page.html", "book.epub", "mail.eml"] {
        let path = folder.join("document.bin");
        fs::copy(fixture(name), &path).unwrap();
        let documents = extractor().read_file(&path).unwrap();
        assert_eq!(documents, document(name), "{name}");
    }
    fs::remove_dir_all(&folder).unwrap();
}
