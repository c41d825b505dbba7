//! Fuzzes the reader of `model.tar.gz`, with entries of any path, kind and size, and any
//! compression.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{End, Random, run};
use crate::source::Source;

/// A tar header with contents, either of which may be wrong.
fn entry(random: &mut Random, tar: &mut Vec<u8>) {
    const NAMES: [&str; 24] = [
        "config.json",
        "pytorch_model.bin",
        "model.safetensors",
        "m/config.json",
        "m/pytorch_model.bin",
        "checkpoint-5/config.json",
        "checkpoint-5/model.safetensors",
        "./config.json",
        "a/b/c/d/spiece.model",
        "../config.json",
        "/etc/config.json",
        "m/../../config.json",
        "..\\config.json",
        "C:\\config.json",
        "outside/config.json",
        "code/config.json",
        "tokenizer.json",
        "config.json/config.json",
        "",
        ".",
        "//",
        "m\u{0}x/config.json",
        "outside",
        "training_args.bin",
    ];
    const KINDS: &[u8] = b"0000000000\x005125347gxLKSVD9";
    let mut header = tar::Header::new_gnu();
    if random.chance(2) {
        header = tar::Header::new_ustar();
    }
    let name = *random.pick(&NAMES);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    let link = *random.pick(&NAMES);
    if random.chance(3) {
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    }
    header.as_old_mut().linkflag = [*random.pick(KINDS)];
    let contents = match header.as_old().linkflag[0] {
        b'g' | b'x' => pax(random, name),
        b'L' | b'K' => link.repeat(1 + random.below(400)).into_bytes(),
        _ => b"{}".repeat(random.below(700)),
    };
    let size = if random.chance(12) { random.size() } else { contents.len() as u64 };
    header.set_size(size);
    header.set_cksum();
    let from = tar.len();
    tar.extend(header.as_bytes());
    if random.chance(20) {
        let mut damaged = tar.split_off(from);
        random.damage(&mut damaged);
        tar.extend(damaged);
    }
    tar.extend(&contents);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// Extended headers, with any lengths.
fn pax(random: &mut Random, name: &str) -> Vec<u8> {
    let keys =
        ["path", "linkpath", "size", "GNU.sparse.major", "GNU.sparse.name", "mtime", "hdrcharset"];
    let mut contents = Vec::new();
    for _ in 0..random.below(4) {
        let key = *random.pick(&keys);
        let value = match key {
            "size" => random.size().to_string(),
            _ => name.repeat(1 + random.below(3)),
        };
        let record = format!(" {key}={value}\n");
        let mut length = record.len() + 2;
        length += usize::from(length > 99);
        if random.chance(9) {
            length = random.size() as usize;
        }
        contents.extend(format!("{length}{record}").into_bytes());
    }
    contents
}

fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// All names below `folder`, and the contents of files.
fn contents(folder: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        found.push((name, fs::read(entry.path()).ok()));
    }
    found.sort();
    found
}

#[test]
fn archive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.tar.gz");
    let scratch = folder.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    fs::write(folder.path().join("outside"), "untouched").unwrap();
    run(|random| {
        let mut tar = Vec::new();
        if random.chance(2) {
            for name in ["config.json", "pytorch_model.bin"] {
                let mut header = tar::Header::new_gnu();
                header.set_size(2);
                header.set_path(name).unwrap();
                header.set_cksum();
                tar.extend(header.as_bytes());
                tar.extend([&b"{}"[..], &[0; 510]].concat());
            }
        }
        for _ in 0..random.below(8) {
            entry(random, &mut tar);
        }
        if !random.chance(8) {
            tar.resize(tar.len() + 1024, 0);
        }
        let mut bytes = match random.below(6) {
            0 => tar,
            // An archive of several compressed parts.
            1 => {
                let at = random.below(tar.len() + 1);
                [gzip(&tar[..at], 1), gzip(&tar[at..], 9)].concat()
            }
            _ => gzip(&tar, random.below(10) as u32),
        };
        if random.chance(5) {
            random.damage(&mut bytes);
        }
        let _ = fs::remove_file(&path);
        fs::write(&path, &bytes).unwrap();
        let before = contents(folder.path());
        let end = match Source::open(&path, Some(&scratch), &()) {
            Ok(source) => {
                assert!(source.root().starts_with(&scratch));
                for entry in fs::read_dir(source.root()).unwrap() {
                    let entry = entry.unwrap();
                    assert!(entry.file_type().unwrap().is_file(), "{:?}", entry.path());
                }
                End::Answer
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                End::Refusal
            }
        };
        assert!(contents(&scratch).is_empty(), "something was left behind");
        assert_eq!(contents(folder.path()), before);
        end
    });
}
