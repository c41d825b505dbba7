//! `POST /invocations` and `POST /v1/chat/completions`: from a request to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use epitome_runtime::Summary;
use epitome_runtime::long_document::Read;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::blocking_pool::{self, Stop};
use crate::body;
use crate::completion::{Chunks, Completion};
use crate::context::Context;
use crate::contract::{
    self, Answer, Answers, Coding, Inputs, Invocation, IsSpecial, Layout, Rules, Style,
    TransformJob,
};
use crate::error::ApiError;
use crate::in_flight::Charge;
use crate::media::{self, Format, MediaType};
use crate::models::Model;
use crate::scheduler::{Event, Health, Request};
use crate::settings::ContractSettings;
use crate::stream::{self, Writer};

/// Header that is copied from the request to the answer.
pub(crate) const CUSTOM_ATTRIBUTES: HeaderName =
    HeaderName::from_static("x-amzn-sagemaker-custom-attributes");
/// Header with the number of truncated texts, if there are any.
pub(crate) const TRUNCATED: HeaderName = HeaderName::from_static("x-epitome-truncated");
/// Header with the numbers of words and parts that were read, if the request says how to read long
/// texts.
pub(crate) const READ: HeaderName = HeaderName::from_static("x-epitome-read");
/// Header with the names of unknown fields.
pub(crate) const IGNORED: HeaderName = HeaderName::from_static("x-epitome-ignored");
/// Header with the timing, which browsers show.
pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Time to write an answer after its deadline.
const RENDER_TIME: Duration = Duration::from_secs(5);

/// Answers an invocation of a model.
pub(crate) async fn invoke(
    context: &Arc<Context>,
    model: &Arc<Model>,
    request: hyper::Request<Body>,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let attributes = parts.headers.get(CUSTOM_ATTRIBUTES).cloned();
    let answer = async {
        let incoming = Incoming::read(context, parts.headers, body).await?;
        Call { context, model, incoming }.invocation().await
    };
    let mut response = answer.await.unwrap_or_else(IntoResponse::into_response);
    if let Some(attributes) = attributes {
        response.headers_mut().insert(CUSTOM_ATTRIBUTES, attributes);
    }
    Ok(response)
}

/// Answers a chat completion of a model. The client knows the model by this name.
pub(crate) async fn complete(
    context: &Arc<Context>,
    model: &Arc<Model>,
    name: String,
    style: Style,
    incoming: Incoming,
) -> Result<Response, ApiError> {
    Call { context, model, incoming }.complete(name, style).await
}

/// A request with its complete body.
pub(crate) struct Incoming {
    headers: HeaderMap,
    body: Bytes,
    charge: Charge,
    received: Instant,
    deadline: Instant,
}

impl Incoming {
    /// Reads the body even if a header is wrong: a client that is cut off while it sends never
    /// reads the answer.
    pub(crate) async fn read(
        context: &Context,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Self, ApiError> {
        let received = Instant::now();
        let deadline = context.deadline();
        let mut charge = context.in_flight.open();
        let limit = context.settings.contract.max_body;
        let body = body::read(body, limit, deadline, &mut charge).await?;
        Ok(Self { headers, body, charge, received, deadline })
    }

    /// Decompresses the body if it has a content coding.
    async fn decode(&mut self, context: &Context) -> Result<(), ApiError> {
        let Some(coding) = Coding::of(&self.headers)? else {
            return Ok(());
        };
        let body = std::mem::take(&mut self.body);
        let mut charge = std::mem::replace(&mut self.charge, context.in_flight.open());
        let limit = context.settings.contract.max_body;
        let decode = move |stop: &Stop| {
            let decoded = coding.decode(&body, limit, &mut charge, stop)?;
            Ok((Bytes::from(decoded), charge))
        };
        (self.body, self.charge) = blocking_pool::run(usize::MAX, self.deadline, decode).await?;
        self.headers.remove(CONTENT_ENCODING);
        Ok(())
    }

    /// The model that the body of a chat completion names.
    pub(crate) async fn model_name(
        &mut self,
        context: &Context,
    ) -> Result<Option<String>, ApiError> {
        self.decode(context).await?;
        let body = self.body.clone();
        let find = move |_: &Stop| Ok(contract::model_name(&body));
        blocking_pool::run(self.body.len(), self.deadline, find).await
    }
}

/// A request for summaries.
struct Call<'a> {
    context: &'a Arc<Context>,
    model: &'a Arc<Model>,
    incoming: Incoming,
}

/// The results of a request.
struct Collected {
    /// Results by the numbers of the documents; `None` while they are missing.
    summaries: Vec<Option<Result<Summary, ApiError>>>,
    /// The longest time that a document waited for a worker.
    waited: Duration,
}

impl Call<'_> {
    async fn invocation(mut self) -> Result<Response, ApiError> {
        let format = media::sent(&self.incoming.headers)?;
        let settings = &self.context.settings.contract;
        let preferred = settings.default_accept.unwrap_or(match format {
            // The stock container also answers these in JSON.
            Format::Csv | Format::Npy if self.transform().is_none() => Format::Json,
            Format::Npy => Format::JsonLines,
            other => other,
        });
        let accept = media::accepted(&self.incoming.headers, preferred)?;
        let transform = self.transform();
        let read = move |body: &Bytes, rules: &Rules<'_>| {
            contract::parse(format, body, rules).map(|invocation| (invocation, ()))
        };
        let (mut invocation, (), charge) = self.parse(transform, read).await?;
        let ignored = ignored(&std::mem::take(&mut invocation.ignored));
        let mut response = if invocation.stream || accept.format == Format::EventStream {
            // A streaming request that accepts anything gets events.
            let preferred = settings.default_accept.unwrap_or(Format::EventStream);
            let accept = media::accepted(&self.incoming.headers, preferred)?;
            let (content_type, writer) = stream::of_invocation(accept);
            self.stream(invocation, charge, content_type, writer).await
        } else {
            let body = move |answers: &Answers, settings: &ContractSettings| {
                answers.render(accept.format, settings)
            };
            self.collect(invocation, charge, accept.name, body).await
        }?;
        if let Some(ignored) = ignored {
            response.headers_mut().insert(IGNORED, ignored);
        }
        Ok(response)
    }

    async fn complete(mut self, name: String, style: Style) -> Result<Response, ApiError> {
        if media::sent(&self.incoming.headers)? != Format::Json {
            return Err(ApiError::BadRequest("send a completion as application/json".into()));
        }
        let read = move |body: &Bytes, rules: &Rules<'_>| contract::parse_chat(style, body, rules);
        let (invocation, request, charge) = self.parse(None, read).await?;
        let completion = Completion::new(name, style, &request);
        if invocation.stream {
            let content_type = MediaType::from(Format::EventStream).name;
            let writer = Box::new(Chunks::new(completion));
            return self.stream(invocation, charge, content_type, writer).await;
        }
        let body = move |answers: &Answers, _: &ContractSettings| {
            let texts = answers.texts().collect();
            let whole = answers.summaries().next().map(|summary| completion.whole(summary, texts));
            whole.unwrap_or_default().to_string().into_bytes()
        };
        self.collect(invocation, charge, MediaType::from(Format::Json).name, body).await
    }

    /// The rules of the transform job, if this is one.
    fn transform(&self) -> Option<TransformJob> {
        let settings = &self.context.settings.batch_transform;
        settings.is_job.then(|| TransformJob {
            many_records: settings.is_multi_record(),
            answers_errors: settings.answers_errors,
        })
    }

    /// Reads the content of the body, once the model is loaded.
    async fn parse<T: Send + 'static>(
        &mut self,
        transform: Option<TransformJob>,
        read: impl FnOnce(&Bytes, &Rules<'_>) -> Result<(Invocation, T), ApiError> + Send + 'static,
    ) -> Result<(Invocation, T, Charge), ApiError> {
        let deadline = self.incoming.deadline;
        let loaded = self.context.before(deadline, self.model.loaded()).await??;
        self.incoming.decode(self.context).await?;
        let context = self.context.clone();
        let body = std::mem::take(&mut self.incoming.body);
        let bytes = body.len();
        let mut charge = std::mem::replace(&mut self.incoming.charge, context.in_flight.open());
        let parse = move |stop: &Stop| {
            let settings = &context.settings;
            let rules = Rules {
                stop,
                max_documents: settings.scheduling.queue_rows.get(),
                demand: &|parameters| loaded.demand(parameters),
                first_token: &|text| loaded.first_token(text),
                transform,
            };
            let (invocation, more) = read(&body, &rules)?;
            charge.body_is_read();
            if settings.server.log_text {
                let documents = invocation.groups.iter().flat_map(|group| &group.documents);
                for document in documents {
                    tracing::info!(text = document.text.as_str(), "asked to summarize");
                }
            }
            Ok((invocation, more, charge))
        };
        blocking_pool::run(bytes, deadline, parse).await
    }

    async fn stream(
        &self,
        invocation: Invocation,
        charge: Charge,
        content_type: &'static str,
        writer: Box<dyn Writer>,
    ) -> Result<Response, ApiError> {
        if invocation.layout != Layout::Single {
            return Err(ApiError::BadRequest("JSON lines cannot be streamed".into()));
        }
        if invocation.documents != 1 {
            return Err(ApiError::BadRequest(format!(
                "a stream takes one text, not {}",
                invocation.documents
            )));
        }
        if invocation.inputs.iter().any(|inputs| inputs.shape.needs_whole_texts()) {
            return Err(ApiError::BadRequest(
                "`truncation` false, `return_tensors` and `clean_up_tokenization_spaces` cannot be \
                 streamed: leave them out, or `stream`"
                    .into(),
            ));
        }
        let deadline = self.incoming.received + self.context.settings.scheduling.stream_deadline;
        let request = Request { groups: invocation.groups, deadline, stream: true, charge };
        let mut events = self.model.submit(request)?;
        // An error before the first token still gets its status code.
        let first = self.context.before(deadline, events.recv()).await?;
        let first = first.ok_or_else(|| self.abandoned())?;
        if let Event::Failed(error) | Event::DocumentFailed { error, .. } = first {
            return Err(error);
        }
        Ok(stream::respond(first, events, content_type, writer))
    }

    async fn collect(
        &self,
        invocation: Invocation,
        charge: Charge,
        content_type: &'static str,
        body: impl FnOnce(&Answers, &ContractSettings) -> Vec<u8> + Send + 'static,
    ) -> Result<Response, ApiError> {
        let deadline = self.incoming.deadline;
        let documents = invocation.documents;
        let mut collected =
            Collected { summaries: (0..documents).map(|_| None).collect(), waited: Duration::ZERO };
        if documents > 0 {
            let events = self.model.submit(Request {
                groups: invocation.groups,
                deadline,
                stream: false,
                charge,
            })?;
            let gathered = self.gather(events, &mut collected);
            let gathered = self.context.before(deadline, gathered).await.flatten();
            match gathered {
                // Summaries that are ready are answered, and the rest with errors.
                Err(ApiError::Deadline(_)) if self.answers_errors() => {}
                gathered => gathered?,
            }
        }
        let (context, received) = (self.context.clone(), self.incoming.received);
        let (inputs, layout) = (invocation.inputs, invocation.layout);
        let late = ApiError::Deadline(self.context.settings.scheduling.deadline);
        let loaded = self.model.describe();
        let is_special: IsSpecial = Box::new(move |id| {
            let tokenizer = loaded.as_ref().and_then(|loaded| loaded.tokenizer());
            tokenizer.is_none_or(|tokenizer| tokenizer.is_special(id))
        });
        // An answer takes a few hundred bytes per document.
        let bytes = documents.saturating_mul(256);
        let render = move |_: &Stop| {
            let answers = answers(inputs, layout, collected.summaries, &late)?;
            let answers = Answers { answers, layout, is_special };
            let settings = &context.settings;
            if settings.server.log_text {
                for summary in answers.summaries() {
                    tracing::info!(summary = summary.text(), "summarized");
                }
            }
            let mut response = body(&answers, &settings.contract).into_response();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            describe(&answers, collected.waited, received, headers);
            Ok(response)
        };
        // Rendering takes a moment, and must also run after the deadline.
        let deadline = deadline.max(Instant::now() + RENDER_TIME);
        blocking_pool::run(bytes, deadline, render).await
    }

    /// Whether a bad record is answered by its error.
    fn answers_errors(&self) -> bool {
        self.transform().is_some_and(|job| job.answers_errors)
    }

    /// Waits for all documents of a request.
    async fn gather(
        &self,
        mut events: UnboundedReceiver<Event>,
        collected: &mut Collected,
    ) -> Result<(), ApiError> {
        let answers_errors = self.answers_errors();
        let mut missing = collected.summaries.len();
        while missing > 0 {
            match events.recv().await {
                Some(Event::Finished { document, summary, waited }) => {
                    collected.summaries[document] = Some(Ok(*summary));
                    collected.waited = waited.max(collected.waited);
                    missing -= 1;
                }
                Some(Event::DocumentFailed { document, error }) if answers_errors => {
                    collected.summaries[document] = Some(Err(error));
                    missing -= 1;
                }
                Some(Event::Token(_)) => {}
                Some(Event::Failed(error) | Event::DocumentFailed { error, .. }) => {
                    return Err(error);
                }
                None => return Err(self.abandoned()),
            }
        }
        Ok(())
    }

    /// The reason why a request ended without a result: its deadline passed while it waited, or all
    /// workers are gone.
    fn abandoned(&self) -> ApiError {
        match self.model.health() {
            Health::Failed(reason) => ApiError::NotReady(reason),
            _ => ApiError::Deadline(self.incoming.received.elapsed()),
        }
    }
}

/// The summaries by inputs; `late` is the error of missing summaries.
///
/// # Errors
/// Outside of a transform job, if a text was truncated against the request.
fn answers(
    inputs: Vec<Inputs>,
    layout: Layout,
    summaries: Vec<Option<Result<Summary, ApiError>>>,
    late: &ApiError,
) -> Result<Vec<Answer>, ApiError> {
    let is_records = matches!(layout, Layout::Records { .. });
    let mut summaries = summaries.into_iter().map(|one| one.unwrap_or_else(|| Err(late.clone())));
    let answer = |inputs: Inputs| {
        // Takes all of them even if one is an error, because the next inputs begin after them.
        let all: Vec<_> = summaries.by_ref().take(inputs.documents).collect();
        let all = match inputs.error {
            Some(error) => Err(*error),
            None => all.into_iter().collect::<Result<_, _>>().and_then(|all| uncut(all, &inputs)),
        };
        let summaries = if is_records { all } else { Ok(all?) };
        Ok(Answer { summaries, is_list: inputs.is_list, shape: inputs.shape })
    };
    let answers = inputs.into_iter().map(answer).collect::<Result<Vec<_>, ApiError>>()?;
    let failed = answers.iter().filter(|answer| answer.summaries.is_err()).count();
    if failed > 0 {
        tracing::warn!(failed, records = answers.len(), "records are answered by their errors");
    }
    Ok(answers)
}

/// Refuses summaries of texts that were truncated against the request.
fn uncut(summaries: Vec<Summary>, inputs: &Inputs) -> Result<Vec<Summary>, ApiError> {
    match summaries.iter().position(|summary| inputs.shape.whole && summary.truncated) {
        None => Ok(summaries),
        Some(place) => Err(ApiError::BadRequest(format!(
            "text {} is longer than the {} tokens that the model reads: shorten it, or leave \
             `truncation` out",
            place + 1,
            summaries[place].input_tokens
        ))),
    }
}

/// Adds headers that say how the answer was made.
fn describe(answers: &Answers, waited: Duration, received: Instant, headers: &mut HeaderMap) {
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
}

/// The names as a header value. Characters other than visible ASCII become question marks.
fn ignored(names: &[String]) -> Option<HeaderValue> {
    let visible = |c: char| {
        if c.is_ascii_graphic() && c != ',' { c } else { '?' }
    };
    let names: Vec<String> = names.iter().map(|name| name.chars().map(visible).collect()).collect();
    HeaderValue::try_from(names.join(", ")).ok().filter(|value| !value.is_empty())
}

/// Counts of words and parts that were read, summed over all texts.
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

#[cfg(test)]
mod tests {
    use epitome_runtime::generation::StopReason;

    use super::*;
    use crate::stream::tests::summary;

    #[test]
    fn a_record_after_a_bad_one_gets_its_own_summary() {
        let inputs =
            |documents| Inputs { documents, is_list: true, shape: Default::default(), error: None };
        let bad = ApiError::BadRequest("bad".into());
        let good = |text| Some(Ok(summary(text, &[0, 1], StopReason::Finished)));
        let summaries = vec![Some(Err(bad.clone())), good("b"), good("c")];
        let layout = Layout::Records { header: false };
        let answers = answers(vec![inputs(2), inputs(1)], layout, summaries, &bad).unwrap();
        assert!(answers[0].summaries.is_err());
        assert_eq!(answers[1].summaries.as_ref().unwrap()[0].text(), "c");
    }
}
