//! The part of JSON-RPC 2.0 that the Model Context Protocol needs: one message per line.

use std::collections::HashMap;
use std::io::{BufRead, Read, Write, stdout};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::tools::{self, Outcome};

/// Supported versions of the protocol, the newest first. They differ here only in 2025-03-26, whose
/// clients may send several messages in a list.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Longest message in bytes, enough for a book.
const MAX_MESSAGE: u64 = 32 << 20;
/// Longest queue of calls.
const MAX_WAITING: usize = 64;

/// Error codes of JSON-RPC.
const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const TOO_MANY: i64 = -32000;

/// A call of a tool.
pub(super) struct Call {
    /// The id of the request.
    pub(super) id: Value,
    pub(super) name: String,
    pub(super) arguments: Map<String, Value>,
}

/// Reads messages, answers those that take no time, and queues calls of tools.
pub(super) struct Server {
    calls: Sender<Call>,
    answers: Answers,
}

/// Sends answers, and knows the calls that have none yet.
#[derive(Clone, Default)]
pub(super) struct Answers {
    /// For each open call, by its id, whether it was cancelled.
    open: Arc<Mutex<HashMap<String, bool>>>,
}

impl Server {
    pub(super) fn new(calls: Sender<Call>) -> Self {
        Self { calls, answers: Answers::default() }
    }

    pub(super) fn answers(&self) -> Answers {
        self.answers.clone()
    }

    /// Reads until the client closes the connection.
    pub(super) fn read(self, mut input: impl BufRead) {
        loop {
            let mut line = Vec::new();
            match (&mut input).take(MAX_MESSAGE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line.len() as u64 == MAX_MESSAGE && line.last() != Some(&b'\n') => {
                    let message = format!("a message has at most {MAX_MESSAGE} bytes");
                    send(&failure(&Value::Null, INVALID_REQUEST, &message));
                    if !skip_line(&mut input) {
                        return;
                    }
                }
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => self.line(&line).for_each(|answer| send(&answer)),
            }
        }
    }

    /// The answers to a message, or to a list of them.
    fn line(&self, line: &[u8]) -> impl Iterator<Item = Value> {
        let (messages, error) = match serde_json::from_slice(line) {
            Ok(Value::Array(messages)) if !messages.is_empty() => (messages, None),
            Ok(message) => (vec![message], None),
            Err(error) => {
                let message = format!("the message is not JSON: {error}");
                (Vec::new(), Some(failure(&Value::Null, PARSE_ERROR, &message)))
            }
        };
        messages.into_iter().filter_map(|message| self.message(message)).chain(error)
    }

    /// The answer to a message, if the message is a request that takes no time.
    fn message(&self, mut message: Value) -> Option<Value> {
        let id = message.get("id").cloned();
        let method = message.get("method").and_then(Value::as_str).map(str::to_owned);
        let mut params = message.get_mut("params").map(Value::take).unwrap_or_default();
        let Some(method) = method else {
            // Ignores answers to requests that were never sent, and malformed messages.
            let is_answer = message.get("result").or(message.get("error")).is_some();
            return (!is_answer).then(|| {
                failure(&id.unwrap_or_default(), INVALID_REQUEST, "the message has no `method`")
            });
        };
        let Some(id) = id else {
            if method == "notifications/cancelled" {
                self.answers.cancel(&params["requestId"]);
            }
            return None;
        };
        if !(id.is_string() || id.is_number()) {
            let message = "`id` must be a text or a number";
            return Some(failure(&Value::Null, INVALID_REQUEST, message));
        }
        let result = match method.as_str() {
            "initialize" => initialize(&params),
            "ping" => json!({}),
            "tools/list" => json!({"tools": tools::list()}),
            "tools/call" => {
                let name = params["name"].as_str().unwrap_or_default().to_owned();
                if !tools::NAMES.contains(&name.as_str()) {
                    let message =
                        format!("`name` must be one of the tools {}", tools::NAMES.join(", "));
                    return Some(failure(&id, INVALID_PARAMS, &message));
                }
                let arguments = match params.get_mut("arguments").map(Value::take) {
                    None | Some(Value::Null) => Map::new(),
                    Some(Value::Object(arguments)) => arguments,
                    Some(_) => {
                        let message = "`arguments` must be an object";
                        return Some(failure(&id, INVALID_PARAMS, message));
                    }
                };
                return self.pass_on(Call { id, name, arguments });
            }
            _ => {
                let message = "there is no such method: this server has tools only";
                return Some(failure(&id, METHOD_NOT_FOUND, message));
            }
        };
        Some(json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }

    fn pass_on(&self, call: Call) -> Option<Value> {
        let mut open = self.answers.open();
        if open.len() >= MAX_WAITING {
            let message = format!("{MAX_WAITING} calls are waiting: try again later");
            return Some(failure(&call.id, TOO_MANY, &message));
        }
        if open.contains_key(&call.id.to_string()) {
            let message = "a call with this `id` is being worked on";
            return Some(failure(&call.id, INVALID_REQUEST, message));
        }
        open.insert(call.id.to_string(), false);
        drop(open);
        // Sending fails only while the process ends.
        let _ = self.calls.send(call);
        None
    }
}

impl Answers {
    fn open(&self) -> MutexGuard<'_, HashMap<String, bool>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self, id: &Value) {
        if let Some(is_cancelled) = self.open().get_mut(&id.to_string()) {
            *is_cancelled = true;
        }
    }

    /// Whether the call was cancelled.
    fn is_cancelled(&self, id: &Value) -> bool {
        self.open().get(&id.to_string()).is_some_and(|is_cancelled| *is_cancelled)
    }

    /// Answers calls with the outcome of `work`. Skips calls that are cancelled while they wait.
    pub(super) fn answer_all(
        &self,
        calls: impl IntoIterator<Item = Call>,
        mut work: impl FnMut(&Call, &(dyn Fn() -> bool + Sync)) -> Outcome,
    ) {
        for call in calls {
            let cancelled = || self.is_cancelled(&call.id);
            if cancelled() {
                self.forget(&call.id);
            } else {
                let outcome = work(&call, &cancelled);
                self.finish(&call.id, &outcome);
            }
        }
    }

    fn forget(&self, id: &Value) {
        self.open().remove(&id.to_string());
    }

    /// Answers a call, unless it was cancelled.
    fn finish(&self, id: &Value, outcome: &Outcome) {
        if self.open().remove(&id.to_string()) == Some(false) {
            send(&json!({"jsonrpc": "2.0", "id": id, "result": tool_result(outcome)}));
        }
    }
}

fn initialize(params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let version = VERSIONS.iter().find(|version| **version == asked).unwrap_or(&VERSIONS[0]);
    json!({
        "protocolVersion": version,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "epitome", "version": env!("CARGO_PKG_VERSION")},
        "instructions": "Summarizes texts and files with a model on this machine.",
    })
}

/// The result of a call: texts for the model, and the same content as structured data.
fn tool_result(outcome: &Outcome) -> Value {
    match outcome {
        Err(message) => {
            json!({"content": [{"type": "text", "text": message}], "isError": true})
        }
        Ok(data) => {
            let texts = data["summaries"].as_array().into_iter().flatten();
            let content: Vec<Value> =
                texts.map(|one| json!({"type": "text", "text": one["summary"]})).collect();
            json!({"content": content, "structuredContent": data, "isError": false})
        }
    }
}

fn failure(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

/// Writes a message on one line. JSON has no line breaks.
fn send(message: &Value) {
    let mut out = stdout().lock();
    // Writing fails where the client is gone; then reading ends too.
    let _ = writeln!(out, "{message}").and_then(|()| out.flush());
}

/// Skips the rest of a line; returns `false` at the end of the input.
fn skip_line(input: &mut impl BufRead) -> bool {
    loop {
        let Ok(buffer) = input.fill_buf() else {
            return false;
        };
        let (length, is_end) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(place) => (place + 1, true),
            None => (buffer.len(), false),
        };
        if length == 0 {
            return false;
        }
        input.consume(length);
        if is_end {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn error(answer: Option<Value>) -> i64 {
        answer.expect("an answer")["error"]["code"].as_i64().expect("an error")
    }

    #[test]
    fn messages_are_answered() {
        let (calls, waiting) = channel();
        let server = Server::new(calls);
        let ask = |message: Value| server.message(message);
        let version = |asked: &str| {
            let params = json!({"protocolVersion": asked, "capabilities": {}});
            let answer = ask(json!({"id": 1, "method": "initialize", "params": params}));
            answer.unwrap()["result"]["protocolVersion"].clone()
        };
        assert_eq!(version("2025-03-26"), "2025-03-26");
        assert_eq!(version("1999-01-01"), VERSIONS[0]);
        assert_eq!(ask(json!({"id": "a", "method": "ping"})).unwrap()["result"], json!({}));
        let list = ask(json!({"id": 2, "method": "tools/list"})).unwrap();
        let names: Vec<&str> = list["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, tools::NAMES);
        assert_eq!(ask(json!({"method": "notifications/initialized"})), None);
        assert_eq!(ask(json!({"id": 5, "result": {}})), None);
        assert_eq!(error(ask(json!({"id": 3, "method": "prompts/list"}))), METHOD_NOT_FOUND);
        assert_eq!(error(ask(json!([]))), INVALID_REQUEST);
        assert_eq!(error(ask(json!({"id": {}, "method": "ping"}))), INVALID_REQUEST);
        let call = |id: u32, params: Value| {
            ask(json!({"id": id, "method": "tools/call", "params": params}))
        };
        assert_eq!(error(call(4, json!({"name": "other"}))), INVALID_PARAMS);
        assert_eq!(
            error(call(4, json!({"name": "summarize_text", "arguments": 1}))),
            INVALID_PARAMS
        );
        assert_eq!(call(4, json!({"name": "summarize_text"})), None);
        assert_eq!(error(call(4, json!({"name": "summarize_text"}))), INVALID_REQUEST);
        for id in 5..5 + MAX_WAITING as u32 - 1 {
            assert_eq!(call(id, json!({"name": "summarize_text"})), None);
        }
        assert_eq!(error(call(999, json!({"name": "summarize_text"}))), TOO_MANY);
        let first = waiting.recv().unwrap();
        let answers = server.answers();
        assert!(!answers.is_cancelled(&first.id));
        ask(json!({"method": "notifications/cancelled", "params": {"requestId": 4}}));
        assert!(answers.is_cancelled(&first.id));
    }

    #[test]
    fn cancelled_calls_make_room_for_others() {
        let (calls, waiting) = channel();
        let server = Server::new(calls);
        let call = |id: usize| {
            let params = json!({"name": "summarize_text"});
            server.message(json!({"id": id, "method": "tools/call", "params": params}))
        };
        for id in 0..MAX_WAITING {
            assert_eq!(call(id), None);
            let params = json!({"requestId": id});
            server.message(json!({"method": "notifications/cancelled", "params": params}));
        }
        assert_eq!(error(call(MAX_WAITING)), TOO_MANY);
        server.answers().answer_all(waiting.try_iter(), |_, _| panic!("it was cancelled"));
        assert_eq!(call(MAX_WAITING), None);
    }

    #[test]
    fn each_message_of_a_list_is_answered() {
        let server = Server::new(channel().0);
        let ask = |line: &str| server.line(line.as_bytes()).collect::<Vec<_>>();
        let answers = ask(r#"[{"id":1,"method":"ping"},{"method":"notifications/initialized"},
                {"id":2,"method":"other"},5]"#);
        assert_eq!(answers.len(), 3, "{answers:?}");
        assert_eq!((&answers[0]["id"], &answers[0]["result"]), (&json!(1), &json!({})));
        assert_eq!(
            (&answers[1]["id"], error(Some(answers[1].clone()))),
            (&json!(2), METHOD_NOT_FOUND)
        );
        assert_eq!(error(Some(answers[2].clone())), INVALID_REQUEST);
        assert_eq!(error(ask("[]").pop()), INVALID_REQUEST);
        assert_eq!(error(ask("[").pop()), PARSE_ERROR);
    }

    #[test]
    fn a_long_line_is_passed_over() {
        let mut input = std::io::Cursor::new(b"abc\ndef".to_vec());
        assert!(skip_line(&mut input));
        assert!(!skip_line(&mut input));
    }
}
