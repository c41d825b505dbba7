//! Tables and JSON lines: a document for each row.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::builder::{single_spaced, too_much_text};
use crate::detect::{TEXT_COLUMNS, delimiter};
use crate::document::{Document, Format, Section};
use crate::error::ErrorKind;
use crate::options::Options;

/// Names of title columns.
const TITLE_COLUMNS: [&str; 4] = ["title", "headline", "subject", "name"];
/// Memory of a document besides its text, in bytes.
const OVERHEAD: usize = 256;

/// Collects rows as documents.
struct Rows<'o> {
    documents: Vec<Document>,
    format: Format,
    left: usize,
    options: &'o Options,
}

impl<'o> Rows<'o> {
    fn new(format: Format, options: &'o Options) -> Self {
        Self { documents: Vec::new(), format, left: options.max_text, options }
    }

    /// Adds a row, unless its text is empty.
    fn push(&mut self, title: Option<&str>, text: &str) -> Result<(), ErrorKind> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        let title = title.map(single_spaced).filter(|title| !title.is_empty());
        let size = text.len() + title.as_ref().map_or(0, String::len) + OVERHEAD;
        let too_much = || too_much_text(self.options.max_text);
        self.left = self.left.checked_sub(size).ok_or_else(too_much)?;
        let sections = vec![Section { text: text.to_owned(), ..Section::default() }];
        self.documents.push(Document { format: self.format, title, sections });
        Ok(())
    }

    fn finish(self) -> Result<Vec<Document>, ErrorKind> {
        if self.documents.is_empty() {
            return Err(ErrorKind::NoText(self.format));
        }
        Ok(self.documents)
    }
}

/// The column with the text.
fn text_column(names: &[String], options: &Options) -> Result<usize, ErrorKind> {
    let position = |wanted: &str| {
        let exact = names.iter().position(|name| name == wanted);
        exact.or_else(|| names.iter().position(|name| name.eq_ignore_ascii_case(wanted)))
    };
    if let Some(wanted) = &options.text_column {
        let missing = || ErrorKind::NoColumn { wanted: wanted.clone(), columns: names.to_vec() };
        return position(wanted).ok_or_else(missing);
    }
    if names.len() == 1 {
        return Ok(0);
    }
    let known = TEXT_COLUMNS.iter().find_map(|name| position(name));
    known.ok_or_else(|| ErrorKind::NoTextColumn(names.to_vec()))
}

fn title_column(names: &[String], text: usize) -> Option<usize> {
    let position = |wanted: &&str| names.iter().position(|name| name.eq_ignore_ascii_case(wanted));
    TITLE_COLUMNS.iter().find_map(position).filter(|column| *column != text)
}

/// The rows of a table with a header.
pub(crate) fn csv(text: &str, options: &Options) -> Result<Vec<Document>, ErrorKind> {
    let header = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(header))
        .flexible(true)
        .from_reader(text.as_bytes());
    let damaged = |error: csv::Error| ErrorKind::damaged(Format::Csv, error);
    let names = reader.headers().map_err(damaged)?;
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    let text = text_column(&names, options)?;
    let title = title_column(&names, text);
    let mut rows = Rows::new(Format::Csv, options);
    for row in reader.records() {
        let row = row.map_err(damaged)?;
        rows.push(title.and_then(|at| row.get(at)), row.get(text).unwrap_or_default())?;
    }
    rows.finish()
}

/// The objects of a file: one per line, or in an array.
pub(crate) fn json(text: &str, options: &Options) -> Result<Vec<Document>, ErrorKind> {
    let mut rows = Rows::new(Format::JsonLines, options);
    let start = text.trim_start();
    let damaged = |error: &serde_json::Error| {
        ErrorKind::damaged(Format::JsonLines, format!("line {}: {error}", error.line()))
    };
    let mut refused = None;
    if start.starts_with('[') {
        let mut json = serde_json::Deserializer::from_str(text);
        let array = Array { rows: &mut rows, refused: &mut refused };
        let read = json.deserialize_seq(array).and_then(|()| json.end());
        if let Some(refused) = refused {
            return Err(refused);
        }
        read.map_err(|error| damaged(&error))?;
        return rows.finish();
    }
    let mut json = serde_json::Deserializer::from_str(text);
    // Objects may be separated by any white space.
    while json.end().is_err() {
        let fields = (Object { options }).deserialize(&mut json);
        fields.map_err(|error| damaged(&error))?.add_to(&mut rows)?;
    }
    rows.finish()
}

/// The text fields of an object that could be needed.
struct Fields {
    names: Vec<String>,
    texts: Vec<Option<String>>,
}

impl Fields {
    fn add_to(&self, rows: &mut Rows<'_>) -> Result<(), ErrorKind> {
        let text = text_column(&self.names, rows.options)?;
        let title = title_column(&self.names, text).and_then(|at| self.texts[at].as_deref());
        rows.push(title, self.texts[text].as_deref().unwrap_or_default())
    }
}

/// Reads an object, and keeps only the needed fields.
struct Object<'o> {
    options: &'o Options,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Fields;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields { names: Vec::new(), texts: Vec::new() };
        while let Some(name) = map.next_key::<String>()? {
            let is_known = |of: &[&str]| of.iter().any(|known| name.eq_ignore_ascii_case(known));
            let is_wanted = self.options.text_column.as_ref().is_some_and(|it| *it == name);
            let text = if is_wanted || is_known(&TEXT_COLUMNS) || is_known(&TITLE_COLUMNS) {
                let value: serde_json::Value = map.next_value()?;
                value.as_str().map(str::to_owned)
            } else {
                map.next_value::<IgnoredAny>()?;
                None
            };
            fields.names.push(name);
            fields.texts.push(text);
        }
        Ok(fields)
    }
}

struct Array<'r, 'o> {
    rows: &'r mut Rows<'o>,
    refused: &'r mut Option<ErrorKind>,
}

impl<'de> Visitor<'de> for Array<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(fields) = seq.next_element_seed(Object { options: self.rows.options })? {
            if let Err(kind) = fields.add_to(self.rows) {
                *self.refused = Some(kind);
                return Err(serde::de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{csv, json};
    use crate::error::ErrorKind;
    use crate::options::Options;

    fn texts(
        read: fn(&str, &Options) -> Result<Vec<crate::Document>, ErrorKind>,
        file: &str,
        column: Option<&str>,
    ) -> Result<Vec<String>, ErrorKind> {
        let options = Options { text_column: column.map(str::to_owned), ..Options::default() };
        let documents = read(file, &options)?;
        Ok(documents.into_iter().map(|document| document.text()).collect())
    }

    #[test]
    fn each_row_is_a_document() {
        let table = "id,Title,text\n1,T,\"a, \"\"b\"\"\"\n2,,\n3,U,c\n";
        assert_eq!(texts(csv, table, None).unwrap(), ["a, \"b\"", "c"]);
        assert_eq!(csv(table, &Options::default()).unwrap()[0].title.as_deref(), Some("T"));
        assert_eq!(texts(csv, "a;b\n1;2\n", Some("b")).unwrap(), ["2"]);
        assert_eq!(texts(csv, "only\nx\ny\n", None).unwrap(), ["x", "y"]);
        let lines = "{\"id\": 1, \"text\": \"a\"}\n{\"text\": \"b\", \"x\": [1]}\n";
        assert_eq!(texts(json, lines, None).unwrap(), ["a", "b"]);
        assert_eq!(
            texts(json, "[{\"body\": \"a\"},\n{\"body\": \"b\"}]", None).unwrap(),
            ["a", "b"]
        );
        assert_eq!(texts(json, "{\n \"t\": \"a\"\n}\n", Some("t")).unwrap(), ["a"]);
    }

    #[test]
    fn a_missing_column_is_named() {
        let missing = texts(csv, "a,b\n1,2\n", Some("c")).unwrap_err();
        assert_eq!(missing.to_string(), "has no column 'c': its columns are 'a', 'b'");
        let unknown = texts(json, "{\"a\": 1, \"b\": 2}\n", None).unwrap_err();
        assert!(matches!(unknown, ErrorKind::NoTextColumn(_)), "{unknown}");
    }

    #[test]
    fn what_is_cut_is_damaged() {
        for file in
            ["{\"text\": \"a\"}\n{\"text\": \"b", "[{\"text\": \"a\"},", "{\"text\": \"a\"}\n{"]
        {
            let error = texts(json, file, None).unwrap_err();
            assert!(matches!(error, ErrorKind::Damaged { .. }), "{file}: {error:?}");
        }
        let deep = format!("{{\"text\": \"a\", \"x\": {}", "[".repeat(100_000));
        assert!(texts(json, &deep, None).is_err());
    }
}
