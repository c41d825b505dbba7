//! Fuzzes the readers of all formats. Each file is read or refused, without a crash and within the
//! limits.
//!
//! Each format is fuzzed as long as `EPITOME_FUZZ_SECONDS` says (1 second if it says nothing), from
//! `EPITOME_FUZZ_SEED` on. What fails names its own seed, which repeats it:
//!
//! ```text
//! EPITOME_FUZZ_SECONDS=600 cargo test -p epitome-documents --test fuzz pdf -- --nocapture
//! EPITOME_FUZZ_SECONDS=0 EPITOME_FUZZ_SEED=17 cargo test -p epitome-documents --test fuzz pdf
//! ```
//!
//! Cases run in this process, which is quicker than a child each. A panic is one in a child.

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use epitome_documents::{Options, read};

/// Time limit of a case. On an idle machine no case takes a tenth of it.
const MAX_TIME: Duration = Duration::from_secs(60);
/// Stack of the reading thread in bytes, as in a child process.
const STACK: usize = 64 << 20;

struct Random(fastrand::Rng);

impl Random {
    fn of(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end.max(1))
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Changes bytes anywhere, or inserts words of the format.
    fn damage(&mut self, bytes: &mut Vec<u8>, words: &[&str]) {
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len() + 1);
            let length = self.below((bytes.len() - at).min(60) + 1);
            match self.below(10) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..at + length)),
                2 => {
                    let part = bytes[at..at + length].to_vec();
                    let times = 1 + self.below(50);
                    drop(bytes.splice(at..at, part.repeat(times)));
                }
                3 | 4 => {
                    bytes[at..at + length].iter_mut().for_each(|it| *it = self.below(256) as u8);
                }
                5 => {
                    let number = format!("{}", self.0.u64(..) >> self.below(64));
                    drop(bytes.splice(at..at + length.min(3), number.into_bytes()));
                }
                _ => {
                    let word = self.pick(words);
                    let times = if self.below(20) == 0 { 2000 } else { 1 };
                    drop(bytes.splice(at..at, word.repeat(times).into_bytes()));
                }
            }
            bytes.truncate(1 << 20);
        }
    }
}

/// Reads damaged versions of these fixtures. Also damages the files within archives.
fn fuzz(names: &[&str], words: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let thread = std::thread::Builder::new().stack_size(STACK);
    let run = move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        cases(&names, &words);
    };
    thread.spawn(run).unwrap().join().unwrap();
}

fn cases(names: &[String], words: &[&str]) {
    let option = |name, default: u64| match std::env::var(name) {
        Ok(value) => value.parse().expect("a whole number"),
        Err(_) => default,
    };
    let time = Duration::from_secs(option("EPITOME_FUZZ_SECONDS", 1));
    let first = option("EPITOME_FUZZ_SEED", 0);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/documents");
    let files: Vec<Vec<u8>> =
        names.iter().map(|name| std::fs::read(folder.join(name)).unwrap()).collect();
    let mut options = Options::default();
    options.max_text = 1 << 20;
    options.max_unpacked = 8 << 20;
    let (mut answers, mut refusals) = (0_u64, 0_u64);
    let mut slowest = (Duration::ZERO, first);
    let start = Instant::now();
    for seed in first.. {
        let mut random = Random::of(seed);
        let mut bytes = files[random.below(files.len())].clone();
        if bytes.starts_with(b"PK") && random.below(4) > 0 {
            bytes = damaged_within(&bytes, &mut random, words);
        } else {
            random.damage(&mut bytes, words);
        }
        let begun = Instant::now();
        let read = catch_unwind(AssertUnwindSafe(|| read(&bytes, Some("case"), &options)));
        let took = begun.elapsed();
        match read {
            Ok(Ok(_)) => answers += 1,
            Ok(Err(error)) => {
                assert!(error.to_string().starts_with("'case' "), "{error}");
                refusals += 1;
            }
            Err(_) => panic!("a panic with EPITOME_FUZZ_SEED={seed}"),
        }
        assert!(took < MAX_TIME, "{took:?} with EPITOME_FUZZ_SEED={seed}");
        slowest = slowest.max((took, seed));
        if start.elapsed() >= time && (time.is_zero() || answers > 0) {
            break;
        }
        assert!(start.elapsed() < time + MAX_TIME, "the fuzzer makes nothing but garbage");
    }
    println!("{names:?}: {answers} answers and {refusals} refusals, the slowest {slowest:?}");
}

/// The archive, rebuilt with one of its files damaged.
fn damaged_within(bytes: &[u8], random: &mut Random, words: &[&str]) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let chosen = random.below(archive.len());
    let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for at in 0..archive.len() {
        let mut file = archive.by_index(at).unwrap();
        let name = file.name().unwrap().into_owned();
        let mut data = Vec::new();
        file.read_to_end(&mut data).unwrap();
        if at == chosen {
            random.damage(&mut data, words);
        }
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        out.start_file(name, options).unwrap();
        out.write_all(&data).unwrap();
    }
    out.finish().unwrap().into_inner()
}

const TAGS: &[&str] = &[
    "<p>",
    "</p>",
    "<div>",
    "<table>",
    "<tr><td>",
    "<b>",
    "<a href=x>",
    "<script>",
    "<!--",
    "-->",
    "<svg>",
    "<template>",
    "<h1>",
    "<pre>",
    "<br/>",
    "&amp;",
    "&#x0;",
    "&#99999999;",
    "<![CDATA[",
    "]]>",
    "<!DOCTYPE html>",
    "<?xml?>",
    "\0",
    "<meta charset=utf-16>",
    "<title>",
    "<frameset>",
];

#[test]
fn pdf() {
    let words = [
        "<<",
        ">>",
        "[",
        "]",
        "(",
        ")",
        "/",
        "0 R",
        "obj",
        "endobj",
        "stream\n",
        "endstream",
        "xref",
        "trailer",
        "startxref",
        "%%EOF",
        "/Kids[2 0 R]",
        "/Parent 3 0 R",
        "/Length",
        "/Filter",
        "/FlateDecode",
        "/LZWDecode",
        "/ASCII85Decode",
        "/Prev 9",
        "/Type/ObjStm",
        "/Type/XRef",
        "BT",
        "ET",
        "Tj",
        "TJ",
        "Tf",
        "Tm",
        "cm",
        "q",
        "Q",
        "Do",
        "BI",
        "ID",
        "EI",
        "BDC",
        "EMC",
        "/Font",
        "/Type3",
        "/Type0",
        "/ToUnicode",
        "/Encrypt",
        "/W[",
        "-1",
        "1e99",
        "99999999999",
    ];
    fuzz(&["reportlab.pdf", "scanned.pdf", "owner-password.pdf", "encrypted.pdf"], &words);
}

#[test]
fn docx() {
    let mut words = TAGS.to_vec();
    words.extend([
        "<w:p>",
        "</w:p>",
        "<w:t>",
        "</w:t>",
        "<w:tr>",
        "<w:tc>",
        "<w:del>",
        "<w:pStyle",
    ]);
    fuzz(&["word.docx", "encrypted.docx"], &words);
}

#[test]
fn odt() {
    let mut words = TAGS.to_vec();
    words.extend(["<text:p>", "</text:p>", "<text:h>", "<text:s text:c='99999'/>", "<text:note>"]);
    fuzz(&["text.odt"], &words);
}

#[test]
fn epub() {
    let mut words = TAGS.to_vec();
    words.extend(["<item id='x' href='..'/>", "<itemref idref='x'/>", "href=\"../\"", "%", "#"]);
    fuzz(&["book.epub"], &words);
}

#[test]
fn html() {
    fuzz(&["page.html"], TAGS);
}

#[test]
fn rtf() {
    let words = [
        "{",
        "}",
        "\\",
        "\\'",
        "\\u-1",
        "\\u55357",
        "\\uc9",
        "\\bin9",
        "\\par",
        "\\f9",
        "\\s1",
        "\\fonttbl",
        "\\stylesheet",
        "\\info",
        "\\title",
        "\\*",
        "\\intbl",
        "\\row",
        "\\cell",
        "\\v",
        "\\ansicpg932",
        "\\fcharset128",
        "\\outlinelevel1",
        "\\pict",
        "\\plain",
        "\\pard",
    ];
    fuzz(&["text.rtf"], &words);
}

#[test]
fn email() {
    let words = [
        "\r\n",
        "\r\n\r\n",
        "--",
        "Content-Type: ",
        "multipart/mixed; boundary=",
        "message/rfc822",
        "text/html",
        "charset=",
        "utf-7",
        "base64",
        "quoted-printable",
        "=?utf-8?q?",
        "?=",
        "=",
        ":",
        "Subject: ",
        "From: ",
        "(",
        ")",
        "<",
        ">",
        "\"",
    ];
    fuzz(&["mail.eml"], &words);
}

#[test]
fn markup_and_tables() {
    let words = [
        "# ",
        "\n\n",
        "**",
        "_",
        "[",
        "](",
        "> ",
        "- ",
        "```\n",
        "| a |",
        "| - |",
        "<b>",
        "---\n",
        "\"",
        ",",
        ";",
        "\t",
        "{",
        "}",
        "[{",
        "\"text\":",
        "\\u0000",
        "-->",
        "WEBVTT\n",
        "<v ",
        "\u{c}",
        "\u{feff}",
        "00:00:01,000",
        "1e999",
        "null",
        "\0",
    ];
    let names =
        ["notes.md", "rows.csv", "rows.jsonl", "film.srt", "film.vtt", "utf-16.txt", "latin-1.txt"];
    fuzz(&names, &words);
}
