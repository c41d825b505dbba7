//! Tests of `epitome summarize` over many files: order, formats, folders, bad files, and stopping.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{bundle, epitome, fails, fixture, run, succeeds, text};
use serde_json::Value;
use tempfile::TempDir;

fn summarize() -> Command {
    let mut command = epitome();
    command.arg("summarize").arg("--model").arg(bundle("tiny/pegasus-relu"));
    command
}

fn article(name: &str) -> PathBuf {
    fixture(format!("articles/{name}.txt"))
}

/// Three texts, a picture, an empty file, and a folder with one more text.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for name in ["beep", "enigma", "xwax"] {
        fs::copy(article(name), path.join(format!("{name}.txt"))).unwrap();
    }
    fs::write(path.join("picture.png"), b"\x89PNG\r\n\x1a\n0000").unwrap();
    fs::write(path.join("empty.txt"), " \n").unwrap();
    fs::create_dir(path.join("more")).unwrap();
    fs::copy(article("perl"), path.join("more/perl.txt")).unwrap();
    folder
}

fn long_text() -> String {
    "A window shows values of many sensors. ".repeat(200)
}

#[test]
fn several_files_are_headed_and_in_order_and_what_was_read_is_said() {
    let files = [article("xwax"), article("beep"), article("enigma")];
    let (shown, said) = succeeds(summarize().args(&files));
    let headings: Vec<&str> = shown.lines().filter(|line| line.starts_with("==> ")).collect();
    let expected = files.each_ref().map(|file| format!("==> {} <==", file.display()));
    assert_eq!(headings, expected);
    for file in &files {
        let words = fs::read_to_string(file).unwrap().split_whitespace().count();
        let line = format!("{}: read {words} of {words} words", file.display());
        assert!(said.contains(&line), "{said}");
    }
    let (alone, said) = succeeds(summarize().arg(&files[0]));
    assert_eq!(alone.lines().count(), 1);
    assert!(shown.contains(&alone) && said.contains("words"));
}

#[test]
fn a_bad_file_is_told_and_the_rest_goes_on() {
    let folder = folder();
    let absent = folder.path().join("absent.txt");
    let empty = folder.path().join("empty.txt");
    let output = run(summarize().args([&article("beep"), &absent, &empty, &article("xwax")]));
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(shown.matches("==> ").count(), 2, "{shown}");
    for words in ["absent.txt' does not exist", "empty.txt' is empty", "2 of 4 files could not"] {
        assert!(said.contains(words), "{said}");
    }
    // For a single file, the error itself is reported.
    fails(summarize().arg(&absent), 2, &["absent.txt", "does not exist"]);
}

#[test]
fn a_folder_is_walked_and_what_is_no_document_passed_over() {
    let folder = folder();
    fs::write(folder.path().join(".hidden.txt"), "hidden").unwrap();
    fs::write(folder.path().join("left.txt"), "left out").unwrap();
    fs::write(folder.path().join(".ignore"), "left.txt\n").unwrap();
    let output = run(summarize().args(["--format", "json"]).arg(folder.path()));
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 of 6 files could not be summarized"), "{said}");
    assert!(said.contains("1 of 6 files, which have no text"), "{said}");
    let shown = text(&output.stdout);
    let sources = shown.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let names: Vec<String> = sources
        .map(|line| {
            let source = PathBuf::from(line["source"].as_str().unwrap());
            source.file_name().unwrap().to_string_lossy().into_owned()
        })
        .collect();
    assert_eq!(names, ["beep.txt", "enigma.txt", "perl.txt", "xwax.txt"]);
    let nothing = tempfile::tempdir().unwrap();
    fails(summarize().arg(nothing.path()), 2, &["has no files"]);
}

#[test]
fn a_folder_of_summaries_is_resumed() {
    let folder = folder();
    fs::remove_file(folder.path().join("empty.txt")).unwrap();
    // The output folder is inside the input folder. Summaries are not summarized.
    let target = folder.path().join("summaries");
    let again = || {
        let mut command = summarize();
        command.arg(folder.path()).arg("--output-dir").arg(&target);
        command
    };
    let (shown, _) = succeeds(&mut again());
    assert_eq!(shown, "");
    let summary = |name: &str| fs::read_to_string(target.join(name)).unwrap();
    assert!(summary("more/perl.txt.md").starts_with("# "));
    assert!(summary("beep.txt.md").contains("beep.txt: read "), "{}", summary("beep.txt.md"));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 4);

    fs::write(target.join("beep.txt.md"), "mine").unwrap();
    fs::remove_file(target.join("xwax.txt.md")).unwrap();
    let (_, said) = succeeds(&mut again());
    assert!(said.contains("passed over 3 of 5 files"), "{said}");
    assert_eq!(summary("beep.txt.md"), "mine");
    assert!(!summary("xwax.txt.md").is_empty());
    succeeds(again().arg("--force"));
    assert_ne!(summary("beep.txt.md"), "mine");

    let twins = [folder.path().join("more/perl.txt"), article("perl")];
    fails(
        summarize().args(&twins).arg("--output-dir").arg(&target),
        2,
        &["would both be", "perl.txt.md"],
    );
}

#[test]
fn a_file_of_summaries_has_the_format_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, arguments: &[&str]| {
        let path = folder.path().join(name);
        let mut command = summarize();
        command.args([article("beep"), article("xwax")]).arg("-o").arg(&path).args(arguments);
        assert_eq!(succeeds(&mut command).0, "");
        fs::read_to_string(path).unwrap()
    };
    let markdown = write("all.md", &[]);
    assert_eq!(markdown.lines().filter(|line| line.starts_with("# ")).count(), 2);
    assert_eq!(markdown.matches("txt: read ").count(), 2, "{markdown}");
    let table = write("all.csv", &[]);
    let mut rows = table.lines();
    assert_eq!(rows.next(), Some("source,title,length_penalty,summary,words,words_read,parts"));
    assert_eq!(rows.count(), 2, "{table}");
    assert_eq!(write("all.jsonl", &[]).lines().count(), 2);
    assert!(write("all.txt", &[]).starts_with("==> "));
    assert!(write("all.txt", &["--format", "markdown"]).starts_with("# "));
    // No other files are left.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    let nowhere = folder.path().join("absent/all.md");
    fails(summarize().arg(article("beep")).arg("-o").arg(nowhere), 1, &["cannot write"]);
}

#[test]
fn long_documents_are_read_in_the_way_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.txt");
    fs::write(&path, long_text()).unwrap();
    let line = |arguments: &[&str]| {
        let mut command = summarize();
        command.args(["--format", "json"]).args(arguments).arg(&path);
        let (shown, said) = succeeds(&mut command);
        (serde_json::from_str::<Value>(&shown).unwrap(), said)
    };
    let (parts, said) = line(&[]);
    assert_eq!((&parts["words"], &parts["words_read"]), (&1400.into(), &1400.into()));
    let count = parts["parts"].as_u64().unwrap();
    assert!(said.contains(&format!("read 1,400 of 1,400 words in {count} parts")), "{said}");
    let (first, said) = line(&["--long", "first"]);
    assert_eq!((&first["truncated"], &first["parts"]), (&true.into(), &1.into()));
    assert!(said.contains(" of 1,400 words (") && said.contains("left out"), "{said}");
    let (short, _) = line(&["--length", "12 words", "--max-new-tokens", "8"]);
    assert!(short["generated_text"].is_string());
    for (flag, value, words) in
        [("--long", "all", "lexrank"), ("--length", "tall", "is not a length")]
    {
        let output = run(summarize().args([flag, value]).arg(&path));
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
}

#[test]
fn streamed_text_is_the_text() {
    let folder = tempfile::tempdir().unwrap();
    // One file fits the window, and one is read in parts.
    let files = [folder.path().join("short.txt"), article("xwax")];
    fs::write(&files[0], "A small tool that beeps.").unwrap();
    let (whole, said) = succeeds(summarize().args(&files));
    assert!(said.contains("read 5 of 5 words\n") && said.contains(" parts"), "{said}");
    let (streamed, _) = succeeds(summarize().arg("--stream").args(&files));
    assert_eq!(streamed, whole);
    // With beam search or several parts, text appears at the end.
    let (whole, _) = succeeds(summarize().args(["--num-beams", "3"]).args(&files));
    let (streamed, _) = succeeds(summarize().args(["--stream", "--num-beams", "3"]).args(&files));
    assert_eq!(streamed, whole);
    let mut json = summarize();
    json.args(["--stream", "--format", "json"]).arg(&files[0]);
    fails(&mut json, 2, &["--stream"]);
}

#[test]
fn rows_of_a_table_are_documents() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("texts.jsonl");
    fs::write(&path, "{\"id\": 1, \"text\": \"A small tool.\"}\n{\"text\": \"Another one.\"}\n")
        .unwrap();
    let output = run(summarize().args(["--format", "json"]).arg(&path));
    // Only if the build reads JSON lines.
    if output.status.success() {
        let shown = text(&output.stdout);
        let line = |at: usize| shown.lines().nth(at).unwrap().to_owned();
        assert!(line(0).contains("texts.jsonl:1") && line(1).contains("texts.jsonl:2"), "{shown}");
    }
}

/// Tests of Unix signals.
#[cfg(unix)]
mod unix {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;
    use std::time::Duration;

    use super::*;
    use crate::common::terminated_after;

    #[test]
    fn ctrl_c_keeps_what_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        for number in 0..500 {
            fs::write(source.join(format!("{number:03}.txt")), long_text()).unwrap();
        }
        let target = folder.path().join("summaries");
        let mut command = summarize();
        command.arg(&source).arg("--output-dir").arg(&target).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.contains("000.txt: read "), "{first}");
        crate::common::signal(child.id(), "INT");
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
        let last = rest.last().unwrap();
        assert!(last.contains("interrupted") && last.contains("of 500 files"), "{last}");
        assert_all_whole(&target);
    }

    #[test]
    fn a_signal_during_the_load_ends_the_process_in_good_order() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source.txt");
        fs::write(&source, "A small tool.").unwrap();
        for milliseconds in (0..100).step_by(2) {
            let mut command = summarize();
            let time = Duration::from_millis(milliseconds);
            let output = terminated_after(command.arg(&source), time);
            let (status, said) = (output.status, text(&output.stderr));
            // The program may end before the signal comes, or before it handles signals.
            let early = status.success() || status.signal() == Some(libc::SIGTERM);
            assert!(early || status.code() == Some(130), "{status}: {said}");
            // The signal may also come after the load, when a text was read.
            let is_ours = |line: &str| {
                line.starts_with("epitome: interrupted") || line.contains("source.txt: read ")
            };
            assert!(status.success() || said.lines().all(is_ours), "{status}: {said}");
        }
    }

    fn assert_all_whole(target: &Path) {
        let files: Vec<_> =
            fs::read_dir(target).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty() && files.len() < 500, "{}", files.len());
        for file in files {
            let summary = fs::read_to_string(&file).unwrap();
            assert!(summary.starts_with("# ") && summary.ends_with("*\n"), "{file:?}: {summary}");
        }
    }
}
