//! The tools: their descriptions and their work.

use std::path::{Path, PathBuf};

use epitome_runtime::{
    GenerationParameters, Length, LongDocument, LongOptions, Progress, Reading, Summarizer, Summary,
};
use serde_json::{Map, Value, json};

use crate::inputs::{Document, Found, Input, Reader};

const TEXT: &str = "summarize_text";
const FILE: &str = "summarize_file";
/// The names of all tools.
pub(super) const NAMES: [&str; 2] = [TEXT, FILE];
/// Largest number of documents in a file. A table may have millions.
const MAX_DOCUMENTS: usize = 100;

/// The result of a call: the summaries, or an error message.
pub(super) type Outcome = Result<Value, String>;

/// State of the tools.
pub(super) struct Tools {
    pub(super) summarizer: Summarizer,
    pub(super) reader: Reader,
    /// Folders that files may lie in. Empty: any folder.
    pub(super) folders: Vec<PathBuf>,
}

/// Descriptions of all tools.
pub(super) fn list() -> Vec<Value> {
    let text = json!({"type": "string", "description": "The text to summarize, of any length"});
    let path = json!({
        "type": "string",
        "description": "Path of the file: PDF, Word, ODT, RTF, EPUB, HTML, Markdown, e-mail, \
                        subtitles, CSV, JSON lines or text",
    });
    let tool = |name: &str, title: &str, description: &str, field: &str, of: Value| {
        json!({
            "name": name,
            "title": title,
            "description": description,
            "inputSchema": {
                "type": "object",
                "properties": {field: of, "length": length(), "parameters": parameters()},
                "required": [field],
                "additionalProperties": false,
            },
            "outputSchema": output(),
            "annotations": {
                "readOnlyHint": true, "idempotentHint": true, "openWorldHint": false,
            },
        })
    };
    let text_says = "Summarizes a text with a summarization model on this machine. A text that is \
                     longer than the model reads at once is read in parts.";
    let file_says = "Summarizes a file of this machine: its text is read, and summarized by a \
                     model on this machine. A table gives a summary for each row.";
    vec![
        tool(TEXT, "Summarize a text", text_says, "text", text),
        tool(FILE, "Summarize a file", file_says, "path", path),
    ]
}

fn length() -> Value {
    json!({
        "type": "string",
        "description": "Most words of the summary: short (60), medium (150), long (400), or as \
                        '120 words' or '10%'",
    })
}

fn parameters() -> Value {
    json!({
        "type": "object",
        "description": "Generation parameters of transformers, such as num_beams, length_penalty \
                        and max_new_tokens",
    })
}

fn output() -> Value {
    json!({
        "type": "object",
        "properties": {"summaries": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "summary": {"type": "string"},
                    "source": {"type": ["string", "null"]},
                    "title": {"type": ["string", "null"]},
                    "words": {"type": "integer", "description": "Words of the document"},
                    "words_read": {"type": "integer", "description": "Words that were read"},
                    "parts": {"type": "integer", "description": "Parts that it was read in"},
                },
                "required": ["summary"],
            },
        }},
        "required": ["summaries"],
    })
}

impl Tools {
    /// Calls a tool.
    pub(super) fn call(
        &mut self,
        name: &str,
        arguments: &Map<String, Value>,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Outcome {
        let field = if name == TEXT { "text" } else { "path" };
        if let Some(other) =
            arguments.keys().find(|name| ![field, "length", "parameters"].contains(&name.as_str()))
        {
            return Err(format!(
                "`{other}` is no argument of {name}: give `{field}`, `length` or `parameters`"
            ));
        }
        let given = arguments.get(field).and_then(Value::as_str);
        let given = given.ok_or_else(|| format!("`{field}` must be a text"))?;
        let options = LongOptions { reading: Reading::Parts, length: read_length(arguments)? };
        let generation = match arguments.get("parameters") {
            None | Some(Value::Null) => GenerationParameters::default(),
            Some(Value::Object(map)) => GenerationParameters::from_json(map).map_err(said)?,
            Some(_) => return Err("`parameters` must be an object".into()),
        };
        let documents = match name {
            TEXT => {
                let text = LongDocument::new(given.to_owned());
                vec![Document { source: String::new(), title: None, text }]
            }
            _ => self.read(Path::new(given))?,
        };
        let mut summaries = Vec::new();
        for document in &documents {
            summaries.push(self.summarize(document, &options, &generation, cancelled)?);
        }
        Ok(json!({"summaries": summaries}))
    }

    fn summarize(
        &mut self,
        document: &Document,
        options: &LongOptions,
        generation: &GenerationParameters,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Outcome {
        let mut one = One { cancelled, summary: None };
        let texts = std::slice::from_ref(&document.text);
        self.summarizer.summarize_long_each(texts, options, generation, &mut one).map_err(said)?;
        let summary = one.summary.ok_or("the document has no summary")?;
        let mut entry = json!({"summary": summary.text()});
        if !document.source.is_empty() {
            entry["source"] = document.source.clone().into();
            entry["title"] = document.title.clone().into();
        }
        if let Some(read) = summary.read {
            entry["words"] = read.words.into();
            entry["words_read"] = read.words_read.into();
            entry["parts"] = read.parts.into();
        }
        Ok(entry)
    }

    /// The documents of a file.
    fn read(&self, path: &Path) -> Result<Vec<Document>, String> {
        let shown = path.display();
        // Resolves links, so that they cannot lead out of the folders.
        let real = path.canonicalize().map_err(|error| format!("'{shown}': {error}"))?;
        let is_allowed = |folder: &PathBuf| real.starts_with(folder);
        if !self.folders.is_empty() && !self.folders.iter().any(is_allowed) {
            return Err(format!("'{shown}' lies in none of the folders that may be read"));
        }
        if !real.is_file() {
            return Err(format!("'{shown}' is not a file"));
        }
        match self.reader.read(&Input::named(&real)).map_err(|error| format!("{error:#}"))? {
            Found::NoDocument => Err(format!("'{shown}' has no text")),
            Found::Documents(documents) if documents.len() > MAX_DOCUMENTS => Err(format!(
                "'{shown}' holds {} documents, and at most {MAX_DOCUMENTS} are summarized in a \
                 call: use the command epitome summarize",
                documents.len()
            )),
            Found::Documents(documents) => Ok(documents),
        }
    }
}

fn read_length(arguments: &Map<String, Value>) -> Result<Option<Length>, String> {
    let wrong = "`length` must be \"short\", \"medium\", \"long\", or as \"120 words\" or \"10%\"";
    match arguments.get("length") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| wrong.to_owned()),
        Some(_) => Err(wrong.into()),
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Collects the summary of one document, and checks whether the call was cancelled.
struct One<'a> {
    cancelled: &'a (dyn Fn() -> bool + Sync),
    summary: Option<Summary>,
}

impl Progress for One<'_> {
    fn cancelled(&self) -> bool {
        (self.cancelled)()
    }

    fn summarized(&mut self, _document: usize, summary: Summary) {
        self.summary = Some(summary);
    }
}
