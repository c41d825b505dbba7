//! `POST /invocations`: from a request to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use epitome_runtime::Summary;
use epitome_runtime::long_document::Read;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::body;
use crate::context::Context;
use crate::contract::{self, Answer, Answers, Coding, Inputs, Invocation, Layout, Rules};
use crate::error::ApiError;
use crate::in_flight::Charge;
use crate::media::{self, Format};
use crate::models::Model;
use crate::off_sockets::{self, Stop};
use crate::scheduler::{Event, Health, Request};
use crate::stream;

/// Comes in from the client, and goes back.
pub(crate) const CUSTOM_ATTRIBUTES: HeaderName =
    HeaderName::from_static("x-amzn-sagemaker-custom-attributes");
/// How many texts were longer than the model reads, where any was.
pub(crate) const TRUNCATED: HeaderName = HeaderName::from_static("x-epitome-truncated");
/// How many words were read in how many parts, where the request says how to read long texts.
pub(crate) const READ: HeaderName = HeaderName::from_static("x-epitome-read");
/// Names of the request's fields that mean nothing here.
pub(crate) const IGNORED: HeaderName = HeaderName::from_static("x-epitome-ignored");
/// Where the time went, as browsers show it.
pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Answers an invocation of a model.
pub(crate) async fn invoke(
    context: &Arc<Context>,
    model: &Arc<Model>,
    request: hyper::Request<Body>,
) -> Result<Response, ApiError> {
    let received = Instant::now();
    let (parts, body) = request.into_parts();
    let attributes = parts.headers.get(CUSTOM_ATTRIBUTES).cloned();
    let call =
        Call { context, model, headers: parts.headers, received, deadline: context.deadline() };
    let mut response = call.answer(body).await.unwrap_or_else(IntoResponse::into_response);
    if let Some(attributes) = attributes {
        response.headers_mut().insert(CUSTOM_ATTRIBUTES, attributes);
    }
    Ok(response)
}

/// One invocation.
struct Call<'a> {
    context: &'a Arc<Context>,
    model: &'a Arc<Model>,
    headers: HeaderMap,
    received: Instant,
    deadline: Instant,
}

/// What was collected of a request.
struct Collected {
    summaries: Vec<Option<Summary>>,
    /// The longest wait for a worker.
    waited: Duration,
}

impl Call<'_> {
    async fn answer(&self, body: Body) -> Result<Response, ApiError> {
        let settings = &self.context.settings.contract;
        let mut charge = self.context.in_flight.open();
        // The body is read whatever is wrong with the headers: who is cut off while sending sees no
        // answer.
        let body = body::read(body, settings.max_body, self.deadline, &mut charge).await?;
        let coding = Coding::of(&self.headers)?;
        let format = media::sent(&self.headers)?;
        let preferred = settings.default_accept.unwrap_or(match format {
            Format::Csv => Format::Json,
            other => other,
        });
        let accept = media::accepted(&self.headers, preferred)?;
        let (mut invocation, charge) = self.parse(format, coding, body, charge).await?;
        let ignored = ignored(&std::mem::take(&mut invocation.ignored));
        let mut response = if invocation.stream || accept == Format::EventStream {
            self.stream(invocation, accept, charge).await
        } else {
            self.collect(invocation, accept, charge).await
        }?;
        if let Some(ignored) = ignored {
            response.headers_mut().insert(IGNORED, ignored);
        }
        Ok(response)
    }

    /// Reads what the body asks for, once the model is loaded.
    async fn parse(
        &self,
        format: Format,
        coding: Option<Coding>,
        body: Bytes,
        mut charge: Charge,
    ) -> Result<(Invocation, Charge), ApiError> {
        let loaded = self.context.before(self.deadline, self.model.loaded()).await??;
        let context = self.context.clone();
        let bytes = if coding.is_some() { usize::MAX } else { body.len() };
        let parse = move |stop: &Stop| {
            let settings = &context.settings;
            let rules = Rules {
                stop,
                max_documents: settings.scheduling.queue_rows.get(),
                rows_per_document: &|parameters| loaded.rows_per_document(parameters),
            };
            let invocation = match coding {
                None => contract::parse(format, &body, &rules)?,
                Some(coding) => {
                    let limit = settings.contract.max_body;
                    let decoded = coding.decode(&body, limit, &mut charge, stop)?;
                    drop(body);
                    contract::parse(format, &decoded.into(), &rules)?
                }
            };
            charge.body_is_read();
            if settings.server.log_text {
                let documents = invocation.jobs.iter().flat_map(|job| &job.documents);
                for document in documents {
                    tracing::info!(text = document.text.as_str(), "asked to summarize");
                }
            }
            Ok((invocation, charge))
        };
        off_sockets::run(bytes, self.deadline, parse).await
    }

    async fn stream(
        &self,
        invocation: Invocation,
        accept: Format,
        charge: Charge,
    ) -> Result<Response, ApiError> {
        if invocation.layout == Layout::Lines {
            return Err(ApiError::BadRequest("JSON lines cannot be streamed".into()));
        }
        if invocation.documents != 1 {
            return Err(ApiError::BadRequest(format!(
                "a stream takes one text, not {}",
                invocation.documents
            )));
        }
        let deadline = self.received + self.context.settings.scheduling.stream_deadline;
        let mut events =
            self.model.submit(Request { jobs: invocation.jobs, deadline, stream: true, charge })?;
        // What fails before the first token can still be told by the status code.
        let first = self.context.before(deadline, events.recv()).await?;
        let first = first.ok_or_else(|| self.abandoned())?;
        if let Event::Failed(error) = first {
            return Err(error);
        }
        Ok(stream::respond(first, events, accept, &self.context.settings.contract))
    }

    async fn collect(
        &self,
        invocation: Invocation,
        accept: Format,
        charge: Charge,
    ) -> Result<Response, ApiError> {
        let collected = if invocation.documents == 0 {
            Collected { summaries: Vec::new(), waited: Duration::ZERO }
        } else {
            let events = self.model.submit(Request {
                jobs: invocation.jobs,
                deadline: self.deadline,
                stream: false,
                charge,
            })?;
            let gathered = self.gather(events, invocation.documents);
            self.context.before(self.deadline, gathered).await??
        };
        let (context, received) = (self.context.clone(), self.received);
        let (inputs, layout) = (invocation.inputs, invocation.layout);
        // An answer is a few hundred bytes a document.
        let bytes = invocation.documents.saturating_mul(256);
        let render = move |_: &Stop| {
            let answers = answers(&inputs, layout, collected.summaries);
            Ok(render(&context, &answers, accept, collected.waited, received))
        };
        off_sockets::run(bytes, self.deadline, render).await
    }

    /// Waits for all documents of a request.
    async fn gather(
        &self,
        mut events: UnboundedReceiver<Event>,
        documents: usize,
    ) -> Result<Collected, ApiError> {
        let mut collected =
            Collected { summaries: (0..documents).map(|_| None).collect(), waited: Duration::ZERO };
        let mut missing = documents;
        while missing > 0 {
            match events.recv().await {
                Some(Event::Finished { document, summary, waited }) => {
                    collected.summaries[document] = Some(*summary);
                    collected.waited = waited.max(collected.waited);
                    missing -= 1;
                }
                Some(Event::Token(_)) => {}
                Some(Event::Failed(error)) => return Err(error),
                None => return Err(self.abandoned()),
            }
        }
        Ok(collected)
    }

    /// Why a request can end without a word: its deadline passed while it waited, or no worker is
    /// left.
    fn abandoned(&self) -> ApiError {
        match self.model.health() {
            Health::Failed(reason) => ApiError::NotReady(reason),
            _ => ApiError::Deadline(self.received.elapsed()),
        }
    }
}

/// The summaries by the inputs that they answer.
fn answers(inputs: &[Inputs], layout: Layout, summaries: Vec<Option<Summary>>) -> Answers {
    let mut summaries = summaries.into_iter().flatten();
    let answers = inputs
        .iter()
        .map(|inputs| Answer {
            summaries: summaries.by_ref().take(inputs.documents).collect(),
            is_list: inputs.is_list,
        })
        .collect();
    Answers { answers, layout }
}

fn render(
    context: &Context,
    answers: &Answers,
    accept: Format,
    waited: Duration,
    received: Instant,
) -> Response {
    let settings = &context.settings;
    if settings.server.log_text {
        for summary in answers.summaries() {
            tracing::info!(summary = summary.text(), "summarized");
        }
    }
    let body = answers.render(accept, &settings.contract);
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(accept.content_type()));
    let truncated = answers.summaries().filter(|summary| summary.truncated).count();
    if truncated > 0 {
        headers.insert(TRUNCATED, truncated.into());
    }
    if let Some(read) = read(answers).and_then(|read| HeaderValue::from_str(&read).ok()) {
        headers.insert(READ, read);
    }
    let timing = server_timing(answers, waited, received.elapsed());
    if let Ok(timing) = HeaderValue::from_str(&timing) {
        headers.insert(SERVER_TIMING, timing);
    }
    response
}

/// The names as a header's value: what is not visible ASCII becomes a question mark.
fn ignored(names: &[String]) -> Option<HeaderValue> {
    let visible = |c: char| {
        if c.is_ascii_graphic() && c != ',' { c } else { '?' }
    };
    let names: Vec<String> = names.iter().map(|name| name.chars().map(visible).collect()).collect();
    HeaderValue::try_from(names.join(", ")).ok().filter(|value| !value.is_empty())
}

/// What was read of all texts together.
fn read(answers: &Answers) -> Option<String> {
    let reads: Vec<_> = answers.summaries().filter_map(|summary| summary.read).collect();
    let sum = |of: fn(&Read) -> usize| reads.iter().map(of).sum::<usize>();
    let (words, words_read) = (sum(|read| read.words), sum(|read| read.words_read));
    let parts = sum(|read| read.parts);
    (!reads.is_empty()).then(|| format!("words={words}, words_read={words_read}, parts={parts}"))
}

fn server_timing(answers: &Answers, waited: Duration, total: Duration) -> String {
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    let sum = |part: fn(&Summary) -> Duration| milliseconds(answers.summaries().map(part).sum());
    let tokens: usize = answers
        .summaries()
        .filter_map(|summary| summary.sequences.first())
        .map(|sequence| sequence.token_ids.len().saturating_sub(1))
        .sum();
    format!(
        "queue;dur={:.1}, tokenize;dur={:.1}, encode;dur={:.1}, decode;dur={:.1}, \
         total;dur={:.1}, tokens;desc=\"{tokens}\"",
        milliseconds(waited),
        sum(|summary| summary.timing.tokenize),
        sum(|summary| summary.timing.encode),
        sum(|summary| summary.timing.decode),
        milliseconds(total),
    )
}
