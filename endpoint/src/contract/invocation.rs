//! What a body asks for, collected while it is read.

use std::collections::HashMap;

use bytes::Bytes;
use epitome_runtime::GenerationParameters;

use crate::error::ApiError;
use crate::off_sockets::Stop;
use crate::scheduler::{Document, Job, JobParameters, key};
use crate::text::Text;

/// The column of a CSV body that holds the texts, and the field of a JSON one.
pub(super) const INPUTS: &str = "inputs";
/// Different parameters in one request: each set of them takes memory of its own.
pub(super) const MAX_JOBS: usize = 1024;
/// Names of unknown fields that are kept, and the characters kept of each.
const MAX_IGNORED: (usize, usize) = (8, 64);

/// What a request asks for.
#[derive(Debug, Default)]
pub(crate) struct Invocation {
    /// The documents, by their parameters.
    pub(crate) jobs: Vec<Job>,
    /// How many documents there are.
    pub(crate) documents: usize,
    /// One for the request, or one for each line.
    pub(crate) inputs: Vec<Inputs>,
    /// How the inputs came.
    pub(crate) layout: Layout,
    /// Whether the answer shall come token by token.
    pub(crate) stream: bool,
    /// Names of fields that mean nothing.
    pub(crate) ignored: Vec<String>,
}

/// How the inputs of a request came, and how they are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One `inputs`, answered by itself.
    #[default]
    Single,
    /// JSON lines: each is answered by a line.
    Lines,
}

/// One `inputs`: a text or a list of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// How many documents they are, numbered after those of the inputs before.
    pub(crate) documents: usize,
    /// Whether they came as a list: a list of one is answered as a list.
    pub(crate) is_list: bool,
}

/// What requests are held to.
pub(crate) struct Rules<'a> {
    /// Looked at after each document.
    pub(crate) stop: &'a Stop,
    /// Documents that one request may hold.
    pub(crate) max_documents: usize,
    /// Decoder rows of a document; refuses parameters that the model cannot follow.
    pub(crate) rows_per_document: &'a dyn Fn(&GenerationParameters) -> Result<usize, ApiError>,
}

pub(super) fn bad(message: impl Into<String>) -> ApiError {
    ApiError::BadRequest(message.into())
}

/// A request that is being read.
pub(super) struct Reading<'a> {
    body: &'a Bytes,
    rules: &'a Rules<'a>,
    pub(super) invocation: Invocation,
    /// Documents of the inputs that are being read.
    pending: Vec<Document>,
    jobs_by_key: HashMap<u64, usize>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(body: &'a Bytes, rules: &'a Rules<'a>) -> Self {
        Self {
            body,
            rules,
            invocation: Invocation::default(),
            pending: Vec::new(),
            jobs_by_key: HashMap::new(),
        }
    }

    /// A text that the body holds as it is.
    pub(super) fn part(&self, text: &str) -> Text {
        Text::part_of(self.body, text)
    }

    /// Takes a text. `place` is its place in a list, from 0.
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

    /// Takes the name of a field that means nothing.
    pub(super) fn ignored(&mut self, name: &str) {
        let (max_names, max_characters) = MAX_IGNORED;
        let ignored = &mut self.invocation.ignored;
        let name: String = name.chars().take(max_characters).collect();
        if ignored.len() < max_names && !ignored.contains(&name) {
            ignored.push(name);
        }
    }

    /// Ends the inputs whose documents were taken.
    pub(super) fn inputs(
        &mut self,
        parameters: JobParameters,
        is_list: bool,
    ) -> Result<(), ApiError> {
        self.rules.stop.check()?;
        let mut documents = std::mem::take(&mut self.pending);
        self.invocation.inputs.push(Inputs { documents: documents.len(), is_list });
        // An empty list is answered without a job.
        if documents.is_empty() {
            return Ok(());
        }
        let job = self.job(parameters)?;
        self.invocation.jobs[job].documents.append(&mut documents);
        Ok(())
    }

    /// The job with these parameters.
    fn job(&mut self, parameters: JobParameters) -> Result<usize, ApiError> {
        let jobs = &mut self.invocation.jobs;
        // Lines mostly ask for what the line before asked for.
        if jobs.last().is_some_and(|last| last.parameters == parameters) {
            return Ok(jobs.len() - 1);
        }
        let key = key(&parameters);
        if let Some(&job) = self.jobs_by_key.get(&key)
            && jobs[job].parameters == parameters
        {
            return Ok(job);
        }
        if jobs.len() == MAX_JOBS {
            return Err(bad(format!(
                "one request takes at most {MAX_JOBS} different `parameters`: send fewer lines"
            )));
        }
        let rows_per_document = (self.rules.rows_per_document)(&parameters.generation)?;
        jobs.push(Job::new(parameters, rows_per_document));
        self.jobs_by_key.insert(key, jobs.len() - 1);
        Ok(jobs.len() - 1)
    }
}
