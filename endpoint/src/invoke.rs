//! `POST /invocations`: from a request to its answer.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use epitome_runtime::Summary;
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::app::App;
use crate::body;
use crate::contract::{self, Answer, Answers, Format, Invocation, Item};
use crate::error::ApiError;
use crate::model::Model;
use crate::scheduler::{Event, Work};
use crate::stream;

/// Comes in from the client, and goes back.
pub(crate) const CUSTOM_ATTRIBUTES: HeaderName =
    HeaderName::from_static("x-amzn-sagemaker-custom-attributes");
/// How many texts were longer than the model reads, where any was.
const TRUNCATED: HeaderName = HeaderName::from_static("x-epitome-truncated");
/// Where the time went, as browsers show it.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Bodies above this are read as JSON or CSV on a thread that may block.
const LARGE: usize = 256 << 10;

/// Answers an invocation of a model.
pub(crate) async fn invoke(
    app: &App,
    model: &Model,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let received = Instant::now();
    let (parts, body) = request.into_parts();
    let attributes = parts.headers.get(CUSTOM_ATTRIBUTES).cloned();
    let call = Call {
        app,
        model,
        headers: parts.headers,
        received,
    };
    let mut response = call
        .answer(body)
        .await
        .unwrap_or_else(IntoResponse::into_response);
    if let Some(attributes) = attributes {
        response.headers_mut().insert(CUSTOM_ATTRIBUTES, attributes);
    }
    Ok(response)
}

/// One invocation.
struct Call<'a> {
    app: &'a App,
    model: &'a Model,
    headers: HeaderMap,
    received: Instant,
}

/// Where the summaries of an item come from: its work's channel, and its texts' numbers there.
struct Place {
    work: usize,
    first_text: usize,
}

impl Call<'_> {
    async fn answer(&self, body: Body) -> Result<Response, ApiError> {
        let settings = &self.app.settings.contract;
        let deadline = self.received + self.app.settings.scheduling.deadline;
        // The body is read whatever is wrong with the headers: who is cut off while sending sees no answer.
        let body = body::read(body, settings.max_body, deadline).await?;
        let format = contract::sent(&self.headers)?;
        let preferred = settings.default_accept.unwrap_or(match format {
            Format::Csv => Format::Json,
            other => other,
        });
        let accept = contract::accepted(&self.headers, preferred)?;
        let invocation = parse(format, body).await?;
        if self.app.settings.server.log_text {
            for text in invocation.items.iter().flat_map(|item| &item.texts) {
                tracing::info!(text, "asked to summarize");
            }
        }
        if invocation.stream || accept == Format::EventStream {
            self.stream(invocation, accept).await
        } else {
            self.collect(invocation, accept, deadline).await
        }
    }

    async fn stream(&self, invocation: Invocation, accept: Format) -> Result<Response, ApiError> {
        let [item] = <[Item; 1]>::try_from(invocation.items)
            .map_err(|_| ApiError::BadRequest("JSON lines cannot be streamed".into()))?;
        if item.texts.len() != 1 {
            let count = item.texts.len();
            return Err(ApiError::BadRequest(format!(
                "a stream takes one text, not {count}"
            )));
        }
        let deadline = self.received + self.app.settings.scheduling.stream_deadline;
        let mut work = self.work(item, deadline)?;
        work.stream = true;
        let mut receivers = self.model.submit(vec![work])?;
        let mut events = receivers.remove(0);
        // What fails before the first token can still be told by the status code.
        let first = self.wait(deadline, events.recv()).await?;
        let first = first.ok_or_else(|| self.abandoned())?;
        if let Event::Failed(error) = first {
            return Err(error);
        }
        Ok(stream::respond(
            first,
            events,
            accept,
            &self.app.settings.contract,
        ))
    }

    async fn collect(
        &self,
        invocation: Invocation,
        accept: Format,
        deadline: Instant,
    ) -> Result<Response, ApiError> {
        let layout = invocation.layout;
        let shapes: Vec<_> = invocation
            .items
            .iter()
            .map(|item| (item.texts.len(), item.is_list))
            .collect();
        let (work, places) = self.group(invocation.items, deadline)?;
        let sizes: Vec<usize> = work.iter().map(|work| work.texts.len()).collect();
        let receivers = if sizes.iter().all(|&size| size == 0) {
            Vec::new()
        } else {
            self.model.submit(work)?
        };
        let mut waited = Duration::ZERO;
        let mut finished = Vec::new();
        for (events, size) in receivers.into_iter().zip(sizes) {
            let summaries = self
                .wait(deadline, self.gather(events, size, &mut waited))
                .await??;
            finished.push(summaries);
        }
        let mut items = Vec::with_capacity(shapes.len());
        for ((count, is_list), place) in shapes.into_iter().zip(places) {
            let texts = place.first_text..place.first_text + count;
            let summaries = finished.get_mut(place.work).map_or_else(Vec::new, |work| {
                work[texts].iter_mut().filter_map(Option::take).collect()
            });
            items.push(Answer { summaries, is_list });
        }
        Ok(self.render(&Answers { items, layout }, accept, waited))
    }

    /// Items that ask for the same become one work.
    fn group(
        &self,
        items: Vec<Item>,
        deadline: Instant,
    ) -> Result<(Vec<Work>, Vec<Place>), ApiError> {
        let mut groups: Vec<Work> = Vec::new();
        let mut places = Vec::with_capacity(items.len());
        for mut item in items {
            // An empty list is answered without any work, and has no group of its own.
            let same = groups
                .iter()
                .position(|work| work.parameters == item.parameters || item.texts.is_empty());
            match same {
                Some(work) => {
                    places.push(Place {
                        work,
                        first_text: groups[work].texts.len(),
                    });
                    groups[work].texts.append(&mut item.texts);
                }
                None => {
                    places.push(Place {
                        work: groups.len(),
                        first_text: 0,
                    });
                    groups.push(self.work(item, deadline)?);
                }
            }
        }
        Ok((groups, places))
    }

    fn work(&self, item: Item, deadline: Instant) -> Result<Work, ApiError> {
        Ok(Work {
            rows_per_text: self.model.rows_per_text(&item.parameters)?,
            texts: item.texts,
            parameters: item.parameters,
            deadline,
            stream: false,
        })
    }

    /// Waits for all texts of a work.
    async fn gather(
        &self,
        mut events: UnboundedReceiver<Event>,
        size: usize,
        waited: &mut Duration,
    ) -> Result<Vec<Option<Summary>>, ApiError> {
        let mut summaries: Vec<Option<Summary>> = (0..size).map(|_| None).collect();
        let mut missing = size;
        while missing > 0 {
            match events.recv().await {
                Some(Event::Finished {
                    text,
                    summary,
                    waited: queued,
                }) => {
                    summaries[text] = Some(*summary);
                    missing -= 1;
                    *waited = queued.max(*waited);
                }
                Some(Event::Token(_)) => {}
                Some(Event::Failed(error)) => return Err(error),
                None => return Err(self.abandoned()),
            }
        }
        Ok(summaries)
    }

    /// Waits no longer than the deadline, or than the server lives.
    async fn wait<T>(
        &self,
        deadline: Instant,
        future: impl Future<Output = T>,
    ) -> Result<T, ApiError> {
        tokio::select! {
            result = future => Ok(result),
            () = tokio::time::sleep_until(deadline.into()) => Err(ApiError::Deadline(deadline - self.received)),
            () = self.app.shutdown.given_up() => Err(ApiError::ShuttingDown),
        }
    }

    /// Why work can end without a word: its deadline passed while it waited, or no worker is left.
    fn abandoned(&self) -> ApiError {
        use crate::scheduler::Health;
        match self.model.health() {
            Health::Failed(reason) => ApiError::NotReady(reason),
            _ => ApiError::Deadline(self.received.elapsed()),
        }
    }

    fn render(&self, answers: &Answers, accept: Format, waited: Duration) -> Response {
        let settings = &self.app.settings;
        if settings.server.log_text {
            for summary in answers.summaries() {
                tracing::info!(summary = summary.text(), "summarized");
            }
        }
        let body = answers.render(accept, &settings.contract);
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(accept.content_type()),
        );
        let truncated = answers
            .summaries()
            .filter(|summary| summary.truncated)
            .count();
        if truncated > 0 {
            headers.insert(TRUNCATED, truncated.into());
        }
        let timing = server_timing(answers, waited, self.received.elapsed());
        if let Ok(timing) = HeaderValue::from_str(&timing) {
            headers.insert(SERVER_TIMING, timing);
        }
        response
    }
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
        "queue;dur={:.1}, tokenize;dur={:.1}, encode;dur={:.1}, decode;dur={:.1}, total;dur={:.1}, tokens;desc=\"{tokens}\"",
        milliseconds(waited),
        sum(|summary| summary.timing.tokenize),
        sum(|summary| summary.timing.encode),
        sum(|summary| summary.timing.decode),
        milliseconds(total),
    )
}

async fn parse(format: Format, body: Bytes) -> Result<Invocation, ApiError> {
    if body.len() <= LARGE {
        return contract::parse(format, &body);
    }
    let parsing = tokio::task::spawn_blocking(move || contract::parse(format, &body));
    parsing.await.unwrap_or(Err(ApiError::WorkerFailed))
}
