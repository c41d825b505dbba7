use std::fs;
use std::path::{Path, PathBuf};

use super::lengths::{LengthOptions, measure};
use super::*;

fn options() -> PrepareOptions<'static> {
    PrepareOptions {
        text_column: "text",
        summary_column: "summary",
        validation: 0.15,
        seed: 42,
        progress: &(),
    }
}

fn rows(path: &Path) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    assert_eq!(reader.headers().unwrap(), COLUMNS.as_slice());
    let records = reader.records().map(|record| record.unwrap());
    records.map(|record| Row { text: record[0].into(), summary: record[1].into() }).collect()
}

/// All rows that were written, sorted.
fn written(output: &Path) -> Vec<Row> {
    let mut all = rows(&output.join(TRAIN));
    all.extend(rows(&output.join(VALIDATION)));
    all.sort_by(|a, b| a.text.cmp(&b.text));
    all
}

fn xsum(summary: &str, text: &str) -> String {
    format!(
        "[SN]URL[SN]\nhttp://example.org/1\n\n[SN]TITLE[SN]\nA title\n\n\
         [SN]FIRST-SENTENCE[SN]\n{summary}\n\n[SN]RESTBODY[SN]\n{text}\n"
    )
}

#[test]
fn the_xsum_distribution_is_read_file_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("bbc-summary-data");
    fs::create_dir(&data).unwrap();
    for number in 0..200 {
        let file = xsum(
            &format!("Summary {number}."),
            &format!("Text \"{number}\",\n\n  with two lines.  "),
        );
        fs::write(data.join(format!("{number:04}.summary")), file).unwrap();
    }
    for (name, content) in [
        ("a", xsum("", "Text.").into_bytes()),
        ("b", xsum("Summary.", " \n").into_bytes()),
        ("c", b"nothing of it".to_vec()),
        ("d", b"[SN]RESTBODY[SN]\n\xff\xfe".to_vec()),
        ("e", b"[SN]RESTBODY[SN]\nText alone".to_vec()),
    ] {
        fs::write(data.join(name).with_extension("summary"), content).unwrap();
    }
    fs::write(data.join("README"), "no data").unwrap();

    let output = folder.path().join("out");
    let prepared = prepare(folder.path(), &output, &options()).unwrap();
    assert_eq!((prepared.train, prepared.validation), (170, 30));
    let dropped: Vec<_> = prepared.dropped.iter().map(|(why, count)| (*why, *count)).collect();
    assert_eq!(
        dropped,
        [
            (LeftOut::EmptyText, 1),
            (LeftOut::EmptySummary, 2),
            (LeftOut::NoSections, 1),
            (LeftOut::NotText, 1)
        ]
    );
    let written = written(&output);
    assert_eq!(written.len(), 200);
    assert!(written.contains(&Row {
        text: "Text \"7\",\nwith two lines.".into(),
        summary: "Summary 7.".into()
    }));
    // No other file is left.
    assert_eq!(fs::read_dir(&output).unwrap().count(), 2);
}

fn file(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn tables_give_the_same_rows_whatever_their_form() {
    let folder = tempfile::tempdir().unwrap();
    let mut csv = "\u{feff}id,article,highlights\n".to_owned();
    let mut json = String::new();
    for number in 0..20 {
        csv.push_str(&format!("{number},\"A text, {number}\nof two lines\",Short {number}\n"));
        json.push_str(&format!(
            "{{\"highlights\":\"Short {number}\",\
             \"article\":\"A text, {number}\\nof two lines\"}}\n"
        ));
    }
    csv.push_str("x,,Short\nx,Long,\n");
    json.push_str("\n{\"article\":null,\"highlights\":\"Short\"}\n{\"article\":\"Long\"}\n");
    let options =
        PrepareOptions { text_column: "article", summary_column: "highlights", ..options() };
    let mut outputs = Vec::new();
    for (name, content) in [("data.csv", &csv), ("data.jsonl", &json)] {
        let source = file(folder.path(), name, content);
        let output = folder.path().join(format!("{name}.out"));
        let prepared = prepare(&source, &output, &options).unwrap();
        assert_eq!(prepared.written(), 20);
        assert_eq!(prepared.dropped.values().sum::<u64>(), 2);
        outputs.push((
            fs::read(output.join(TRAIN)).unwrap(),
            fs::read(output.join(VALIDATION)).unwrap(),
        ));
    }
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn what_cannot_be_data_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("empty")).unwrap();
    for (source, words) in [
        (folder.join("gone.csv"), "does not exist"),
        (folder.join("empty"), "holds no file NAME.summary"),
        (file(folder, "a.parquet", "PAR1"), "unknown kind"),
        (file(folder, "a.csv", "text,other\na,b\n"), "no column 'summary': it has text, other"),
        (file(folder, "b.csv", "text,summary\na,b\nc\n"), "cannot be read as CSV"),
        (file(folder, "c.csv", "text,summary\na,b\n"), "1 rows"),
        (
            file(folder, "d.jsonl", "{\"text\":\"a\",\"summary\":\"b\"}\n{\"text\":\n"),
            "line 2 is not a JSON object",
        ),
        (file(folder, "e.jsonl", "{\"text\":\"a\"}\n"), "no column 'summary': it has text"),
        (
            file(folder, "f.jsonl", "{\"text\":1,\"summary\":\"b\"}\n"),
            "line 1: 'text' is not a text",
        ),
    ] {
        let output = folder.join("out");
        let error = prepare(&source, &output, &options()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        if let Ok(mut left) = fs::read_dir(&output) {
            assert!(left.next().is_none(), "{source:?} left something");
        }
    }
}

fn words(count: usize) -> String {
    vec!["word"; count].join(" ")
}

#[test]
fn lengths_are_the_tokenizers() {
    let folder = tempfile::tempdir().unwrap();
    let mut json = String::new();
    for number in 1..=40 {
        let row = serde_json::json!({"text": words(number), "summary": "a few words"});
        json.push_str(&format!("{row}\n"));
    }
    let source = file(folder.path(), "data.jsonl", &json);
    let prepared = prepare(&source, folder.path(), &options()).unwrap();
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tiny/pegasus-relu");
    let tokenizer = crate::tokenizer::open(&checkpoint).unwrap();
    let length = |text: &str| tokenizer.encode(text, true).unwrap().len() as u32;
    let limit = length(&words(30)) as usize;
    let measure = |rows| {
        let options = LengthOptions { rows, max_source: limit, max_target: 2, progress: &() };
        measure(folder.path(), prepared.written(), &checkpoint, &options).unwrap()
    };
    let all = measure(None);
    assert_eq!((all.rows, all.of), (40, 40));
    assert_eq!(all.text.quantile(1.0), length(&words(40)));
    assert_eq!(all.text.truncated, 10);
    assert_eq!(all.summary.truncated, 40);
    assert_eq!(all.summary.mean(), f64::from(length("a few words")));
    let some = measure(Some(10));
    assert_eq!((some.rows, some.of), (10, 40));
}
