//! The content of a body, collected while it is read.

use std::collections::HashMap;

use bytes::Bytes;
use epitome_runtime::GenerationParameters;
use epitome_runtime::batching::Demand;

use crate::blocking_pool::Stop;
use crate::error::ApiError;
use crate::scheduler::{Document, DocumentParameters, Group, key};
use crate::text::Text;

/// Name of the CSV column, or of the JSON field, that holds the texts.
pub(super) const INPUTS: &str = "inputs";
/// Largest number of different parameter sets in one request. Each set takes memory.
pub(super) const MAX_GROUPS: usize = 1024;
/// Number of unknown field names that are kept, and characters of each.
const MAX_IGNORED: (usize, usize) = (8, 64);

/// The content of a request.
#[derive(Debug, Default)]
pub(crate) struct Invocation {
    /// The documents, grouped by their parameters.
    pub(crate) groups: Vec<Group>,
    /// Number of documents.
    pub(crate) documents: usize,
    /// One entry for the request, or one for each line.
    pub(crate) inputs: Vec<Inputs>,
    /// The form of the inputs.
    pub(crate) layout: Layout,
    /// Whether the answer is streamed token by token.
    pub(crate) stream: bool,
    /// Names of unknown fields.
    pub(crate) ignored: Vec<String>,
}

/// The form of the inputs of a request, and of their answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One `inputs` with an answer of its own.
    #[default]
    Single,
    /// JSON lines: each line is answered by a line.
    Lines,
    /// Records of a transform job: each record is answered by a line, in every format. The CSV
    /// answer has a header row if the records had one.
    Records { header: bool },
}

/// One `inputs`: a text or a list of texts.
#[derive(Debug, PartialEq)]
pub(crate) struct Inputs {
    /// Number of documents. They are numbered after those of the previous inputs.
    pub(crate) documents: usize,
    /// Whether the texts came as a list. A list of one text is answered as a list.
    pub(crate) is_list: bool,
    /// The form of the answer.
    pub(crate) shape: Shape,
    /// The error of a bad record.
    pub(crate) error: Option<Box<ApiError>>,
}

/// The form of the answer to one `inputs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Answer with token ids in place of texts.
    pub(crate) token_ids: bool,
    /// Remove blanks before punctuation.
    pub(crate) clean_up: bool,
    /// Refuse a text that is longer than the model's window.
    pub(crate) whole: bool,
    /// Add TGI's details to each text.
    pub(crate) details: bool,
}

impl Shape {
    /// Whether the answer needs the complete texts and the finished summaries.
    pub(crate) fn needs_whole_texts(self) -> bool {
        self.token_ids || self.clean_up || self.whole
    }
}

/// Rules for reading requests.
pub(crate) struct Rules<'a> {
    /// Checked after each document.
    pub(crate) stop: &'a Stop,
    /// Largest number of documents in a request.
    pub(crate) max_documents: usize,
    /// The demand of a document, without its tokens; refuses parameters that the model cannot
    /// follow.
    pub(crate) demand: &'a dyn Fn(&GenerationParameters) -> Result<Demand, ApiError>,
    /// The first token of a text within a summary.
    pub(crate) first_token: &'a dyn Fn(&str) -> Result<Option<u32>, ApiError>,
    /// Set in a transform job.
    pub(crate) transform: Option<TransformJob>,
}

/// Rules for the requests of a transform job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransformJob {
    /// Whether a request holds many records, one per line.
    pub(crate) many_records: bool,
    /// Whether a bad record is answered by its error. Otherwise it fails the request.
    pub(crate) answers_errors: bool,
}

pub(super) fn bad(message: impl Into<String>) -> ApiError {
    ApiError::BadRequest(message.into())
}

/// State while a request is read.
pub(super) struct Reading<'a> {
    body: &'a Bytes,
    pub(super) rules: &'a Rules<'a>,
    pub(super) invocation: Invocation,
    /// Documents of the current inputs.
    pending: Vec<Document>,
    groups_by_key: HashMap<u64, usize>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(body: &'a Bytes, rules: &'a Rules<'a>) -> Self {
        Self {
            body,
            rules,
            invocation: Invocation::default(),
            pending: Vec::new(),
            groups_by_key: HashMap::new(),
        }
    }

    /// A text that the body holds without escapes.
    pub(super) fn part(&self, text: &str) -> Text {
        Text::part_of(self.body, text)
    }

    /// Adds a text. `place` is its index in a list, from 0.
    pub(super) fn document(&mut self, text: Text, place: Option<usize>) -> Result<(), ApiError> {
        self.rules.stop.check()?;
        if text.as_str().trim().is_empty() {
            return Err(bad(match place {
                Some(place) => format!("text {} is empty", place + 1),
                None => "the text is empty".into(),
            }));
        }
        let number = self.invocation.documents;
        if number == self.rules.max_documents {
            return Err(ApiError::TooManyRows { rows: number + 1, max: number });
        }
        self.invocation.documents += 1;
        self.pending.push(Document { number, text });
        Ok(())
    }

    /// Adds the name of an unknown field.
    pub(super) fn ignored(&mut self, name: &str) {
        let (max_names, max_characters) = MAX_IGNORED;
        let ignored = &mut self.invocation.ignored;
        let name: String = name.chars().take(max_characters).collect();
        if ignored.len() < max_names && !ignored.contains(&name) {
            ignored.push(name);
        }
    }

    /// Reads one of many records. A bad record fails the request, or is answered by its error.
    pub(super) fn record(
        &mut self,
        number: usize,
        read: impl FnOnce(&mut Self) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let (inputs, documents) = (self.invocation.inputs.len(), self.invocation.documents);
        let Err(error) = read(self) else {
            return Ok(());
        };
        let is_the_records = |error: &ApiError| {
            matches!(error, ApiError::BadRequest(_) | ApiError::BadParameter { .. })
        };
        let answers = self.rules.transform.is_some_and(|job| job.answers_errors);
        if answers && is_the_records(&error) {
            self.take_back(inputs, documents);
            return self.answered(Inputs {
                documents: 0,
                is_list: false,
                shape: Shape::default(),
                error: Some(Box::new(error)),
            });
        }
        Err(match error {
            ApiError::BadRequest(message) => bad(format!("line {number}: {message}")),
            ApiError::BadParameter { error, .. } => {
                ApiError::BadParameter { line: Some(number), error }
            }
            other => other,
        })
    }

    /// Removes everything after this many inputs and documents.
    fn take_back(&mut self, inputs: usize, documents: usize) {
        self.pending.clear();
        self.invocation.documents = documents;
        if self.invocation.inputs.len() > inputs {
            self.invocation.inputs.truncate(inputs);
            for group in &mut self.invocation.groups {
                while group.documents.last().is_some_and(|last| last.number >= documents) {
                    group.documents.pop();
                }
            }
        }
    }

    /// Adds a blank record, whose answer is blank.
    pub(super) fn nothing(&mut self) -> Result<(), ApiError> {
        self.inputs(DocumentParameters::default(), Shape::default(), true)
    }

    fn answered(&mut self, inputs: Inputs) -> Result<(), ApiError> {
        let count = self.invocation.inputs.len();
        if count == self.rules.max_documents {
            return Err(ApiError::TooManyRows { rows: count + 1, max: count });
        }
        self.invocation.inputs.push(inputs);
        Ok(())
    }

    /// Ends the current inputs.
    pub(super) fn inputs(
        &mut self,
        parameters: DocumentParameters,
        shape: Shape,
        is_list: bool,
    ) -> Result<(), ApiError> {
        self.rules.stop.check()?;
        // An empty list is answered without a group.
        let group = if self.pending.is_empty() { None } else { Some(self.group(parameters)?) };
        let documents = self.pending.len();
        self.answered(Inputs { documents, is_list, shape, error: None })?;
        if let Some(group) = group {
            self.invocation.groups[group].documents.append(&mut self.pending);
        }
        Ok(())
    }

    /// Index of the group with these parameters.
    fn group(&mut self, parameters: DocumentParameters) -> Result<usize, ApiError> {
        let groups = &mut self.invocation.groups;
        // Most lines have the same parameters as the line before.
        if groups.last().is_some_and(|last| *last.parameters == parameters) {
            return Ok(groups.len() - 1);
        }
        let key = key(&parameters);
        if let Some(&group) = self.groups_by_key.get(&key)
            && *groups[group].parameters == parameters
        {
            return Ok(group);
        }
        if groups.len() == MAX_GROUPS {
            return Err(bad(format!(
                "one request takes at most {MAX_GROUPS} different `parameters`: send fewer lines"
            )));
        }
        let demand = (self.rules.demand)(&parameters.generation)?;
        groups.push(Group::new(parameters, demand));
        self.groups_by_key.insert(key, groups.len() - 1);
        Ok(groups.len() - 1)
    }
}
