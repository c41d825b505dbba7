//! What a body asks for, collected while it is read.

use std::collections::HashMap;

use bytes::Bytes;
use epitome_runtime::GenerationParameters;

use crate::error::ApiError;
use crate::off_sockets::Stop;
use crate::scheduler::{Demand, Document, Job, JobParameters, key};
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
    /// Records of a transform job: each is answered by a line, in every format. CSV has a header
    /// row where the records had one.
    Records { header: bool },
}

/// One `inputs`: a text or a list of texts.
#[derive(Debug, PartialEq)]
pub(crate) struct Inputs {
    /// How many documents they are, numbered after those of the inputs before.
    pub(crate) documents: usize,
    /// Whether they came as a list: a list of one is answered as a list.
    pub(crate) is_list: bool,
    /// What the answer looks like.
    pub(crate) shape: Shape,
    /// Why there are none, where the record was bad.
    pub(crate) error: Option<Box<ApiError>>,
}

/// What the answer to one `inputs` looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Token ids in place of texts.
    pub(crate) token_ids: bool,
    /// Texts without the blanks before punctuation.
    pub(crate) clean_up: bool,
    /// No answer where a text was longer than the model reads.
    pub(crate) whole: bool,
    /// TGI's details with each text.
    pub(crate) details: bool,
}

impl Shape {
    /// Whether nothing can be answered before the texts are read and the summaries are finished.
    pub(crate) fn needs_whole_texts(self) -> bool {
        self.token_ids || self.clean_up || self.whole
    }
}

/// What requests are held to.
pub(crate) struct Rules<'a> {
    /// Looked at after each document.
    pub(crate) stop: &'a Stop,
    /// Documents that one request may hold.
    pub(crate) max_documents: usize,
    /// What a document asks of the decoder; refuses parameters that the model cannot follow.
    pub(crate) demand: &'a dyn Fn(&GenerationParameters) -> Result<Demand, ApiError>,
    /// The token with which a text begins in a summary.
    pub(crate) first_token: &'a dyn Fn(&str) -> Result<Option<u32>, ApiError>,
    /// Set in a transform job.
    pub(crate) transform: Option<TransformJob>,
}

/// How a transform job's requests are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransformJob {
    /// Whether a request holds many records, one a line.
    pub(crate) many_records: bool,
    /// Whether a bad record is answered by its error, and not the whole request.
    pub(crate) answers_errors: bool,
}

pub(super) fn bad(message: impl Into<String>) -> ApiError {
    ApiError::BadRequest(message.into())
}

/// A request that is being read.
pub(super) struct Reading<'a> {
    body: &'a Bytes,
    pub(super) rules: &'a Rules<'a>,
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

    /// Reads a record of many. One that is bad fails the request, or is answered by its error.
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

    /// Forgets what came after so many inputs and documents.
    fn take_back(&mut self, inputs: usize, documents: usize) {
        self.pending.clear();
        self.invocation.documents = documents;
        if self.invocation.inputs.len() > inputs {
            self.invocation.inputs.truncate(inputs);
            for job in &mut self.invocation.jobs {
                while job.documents.last().is_some_and(|last| last.number >= documents) {
                    job.documents.pop();
                }
            }
        }
    }

    /// Takes a blank record: its answer keeps its place.
    pub(super) fn nothing(&mut self) -> Result<(), ApiError> {
        self.inputs(JobParameters::default(), Shape::default(), true)
    }

    fn answered(&mut self, inputs: Inputs) -> Result<(), ApiError> {
        let count = self.invocation.inputs.len();
        if count == self.rules.max_documents {
            return Err(ApiError::TooManyRows { rows: count + 1, max: count });
        }
        self.invocation.inputs.push(inputs);
        Ok(())
    }

    /// Ends the inputs whose documents were taken.
    pub(super) fn inputs(
        &mut self,
        parameters: JobParameters,
        shape: Shape,
        is_list: bool,
    ) -> Result<(), ApiError> {
        self.rules.stop.check()?;
        // An empty list is answered without a job.
        let job = if self.pending.is_empty() { None } else { Some(self.job(parameters)?) };
        let documents = self.pending.len();
        self.answered(Inputs { documents, is_list, shape, error: None })?;
        if let Some(job) = job {
            self.invocation.jobs[job].documents.append(&mut self.pending);
        }
        Ok(())
    }

    /// The job with these parameters.
    fn job(&mut self, parameters: JobParameters) -> Result<usize, ApiError> {
        let jobs = &mut self.invocation.jobs;
        // Lines mostly ask for what the line before asked for.
        if jobs.last().is_some_and(|last| *last.parameters == parameters) {
            return Ok(jobs.len() - 1);
        }
        let key = key(&parameters);
        if let Some(&job) = self.jobs_by_key.get(&key)
            && *jobs[job].parameters == parameters
        {
            return Ok(job);
        }
        if jobs.len() == MAX_JOBS {
            return Err(bad(format!(
                "one request takes at most {MAX_JOBS} different `parameters`: send fewer lines"
            )));
        }
        let demand = (self.rules.demand)(&parameters.generation)?;
        jobs.push(Job::new(parameters, demand));
        self.jobs_by_key.insert(key, jobs.len() - 1);
        Ok(jobs.len() - 1)
    }
}
