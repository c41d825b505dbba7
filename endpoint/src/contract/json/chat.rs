//! Bodies of `POST /v1/chat/completions` and `/v1/completions`, as OpenAI's clients send them. The
//! last message of the user, or the prompt, is the document. Parameters of `generate` are further
//! fields.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::super::bounded_value::BoundedValue;
use super::super::invocation::{Reading, bad};
use super::super::parameters;
use super::{MAX_PARAMETER_VALUES, Shared, Stream};
use crate::error::ApiError;
use crate::text::Text;

/// Longest kept name of a model, in characters.
const MAX_MODEL: usize = 256;
/// Parameters that concern OpenAI's own servers, or have no effect here.
const WITHOUT_EFFECT: [&str; 11] = [
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "user",
    "verbosity",
];
/// Parameters that a summarizer cannot follow, and their meaning. Values that turn them off are
/// accepted.
const IMPOSSIBLE: [(&str, &str); 14] = [
    ("audio", "does not speak"),
    ("echo", "answers with the summary alone"),
    ("function_call", "calls no functions"),
    ("functions", "calls no functions"),
    ("logit_bias", "takes biases by `sequence_bias` only"),
    ("logprobs", "gives log-probabilities by POST /invocations only"),
    ("modalities", "answers in text only"),
    ("prediction", "takes no predicted output"),
    ("response_format", "answers in text only"),
    ("suffix", "completes no text"),
    ("tool_choice", "calls no tools"),
    ("tools", "calls no tools"),
    ("top_logprobs", "gives log-probabilities by POST /invocations only"),
    ("web_search_options", "searches nothing"),
];

/// The field with the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `messages` of a chat.
    Chat,
    /// A `prompt`.
    Text,
}

impl Style {
    fn field(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Text => "prompt",
        }
    }
}

/// The content of a request beside its documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChatRequest {
    /// Name of the model.
    pub(crate) model: Option<String>,
    /// Whether a stream ends with the token counts.
    pub(crate) include_usage: bool,
}

/// Reads a body.
pub(in crate::contract) fn read(
    style: Style,
    text: &str,
    reading: &mut Reading<'_>,
) -> Result<ChatRequest, ApiError> {
    let shared = Shared { reading: RefCell::new(reading), refusal: Cell::default() };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Chat(&shared, style).deserialize(&mut deserializer);
    let refusal = shared.refusal.take();
    let (fields, documents) = read.map_err(|error| {
        refusal.unwrap_or_else(|| bad(format!("the body is not JSON: {error}")))
    })?;
    deserializer.end().map_err(|_| bad("the body goes on after its JSON value"))?;
    let Some(document) = documents else {
        return Err(bad("`messages` holds no message of the role \"user\", the text to summarize"));
    };
    take(fields, document, reading)
}

/// The name of the model in a body with any content.
pub(crate) fn model_name(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        model: Option<Cow<'a, str>>,
    }
    // Skips a byte order mark.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let named: Named<'_> = serde_json::from_slice(body).ok()?;
    named.model.map(|name| name.chars().take(MAX_MODEL).collect())
}

/// Adds the fields to the invocation.
fn take(
    mut fields: Fields,
    document: Content,
    reading: &mut Reading<'_>,
) -> Result<ChatRequest, ApiError> {
    for (name, does) in IMPOSSIBLE {
        let value = fields.rest.shift_remove(name);
        if value.is_some_and(|value| !asks_for_nothing(name, &value)) {
            return Err(bad(format!("`{name}` is not possible: a summarizer {does}")));
        }
    }
    let include_usage =
        fields.rest.get("stream_options").is_some_and(|options| options["include_usage"] == true);
    for name in WITHOUT_EFFECT {
        fields.rest.shift_remove(name);
    }
    rename(&mut fields.rest, "max_completion_tokens", "max_new_tokens")?;
    rename(&mut fields.rest, "max_tokens", "max_new_tokens")?;
    rename(&mut fields.rest, "n", "num_return_sequences")?;
    let (parameters, shape) = parameters::read(fields.rest, reading.rules)?;
    if shape.token_ids {
        return Err(bad("`return_tensors` is not possible: a message is text"));
    }
    if fields.stream && parameters.generation.num_return_sequences.unwrap_or(1) > 1 {
        return Err(bad("`n` above 1 cannot be streamed: ask for one, or without `stream`"));
    }
    let text = match document {
        Content::Text(text) => text,
        Content::Missing => {
            return Err(bad("the last message of the user, or prompt, has no text"));
        }
        Content::Other => {
            return Err(bad(
                "the last message of the user holds more than text: a summarizer reads \
                             neither images nor sounds nor files",
            ));
        }
    };
    reading.document(text, None)?;
    reading.inputs(parameters, shape, false)?;
    reading.invocation.stream = fields.stream;
    Ok(ChatRequest { model: fields.model, include_usage })
}

/// Whether a value turns the parameter off.
fn asks_for_nothing(name: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(items) => {
            items.is_empty() || (name == "modalities" && items.iter().all(|item| item == "text"))
        }
        Value::Object(fields) => {
            fields.is_empty()
                || (name == "response_format" && fields.get("type").is_some_and(|of| of == "text"))
        }
        Value::String(choice) => {
            ["tool_choice", "function_call"].contains(&name)
                && ["none", "auto"].contains(&choice.as_str())
        }
        Value::Bool(true) => false,
    }
}

/// Renames a parameter to its name in `generate`.
fn rename(given: &mut Map<String, Value>, from: &str, to: &str) -> Result<(), ApiError> {
    let Some(value) = given.shift_remove(from).filter(|value| !value.is_null()) else {
        return Ok(());
    };
    match given.get(to) {
        Some(other) if !other.is_null() && *other != value => {
            Err(bad(format!("`{from}` stands for `{to}`: give one of them")))
        }
        _ => {
            given.insert(to.into(), value);
            Ok(())
        }
    }
}

/// All fields except the messages.
#[derive(Default)]
struct Fields {
    model: Option<String>,
    stream: bool,
    rest: Map<String, Value>,
}

/// The whole value. Returns its fields, and the last message of the user.
struct Chat<'s, 'a, 'b>(&'s Shared<'a, 'b>, Style);

seed!(Chat, (Fields, Option<Content>));

impl Chat<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(&self, kind: &str) -> E {
        self.0.refuse(bad(format!("expected an object with `{}`, found {kind}", self.1.field())))
    }
}

impl<'de> Visitor<'de> for Chat<'_, '_, '_> {
    type Value = (Fields, Option<Content>);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let left = Cell::new(MAX_PARAMETER_VALUES);
        let (mut fields, mut messages) = (Fields::default(), None);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                name if name == self.1.field() => {
                    let content = match self.1 {
                        Style::Chat => map.next_value_seed(Messages(self.0))?,
                        Style::Text => Some(map.next_value_seed(Prompt(self.0, false))?),
                    };
                    if messages.replace(content).is_some() {
                        return Err(self.0.refuse(bad(format!("`{name}` is given twice"))));
                    }
                }
                "model" => fields.model = map.next_value_seed(Name(self.0))?,
                "stream" => fields.stream = map.next_value_seed(Stream(self.0))?,
                _ => {
                    let value = map.next_value_seed(BoundedValue(&left));
                    if left.get() == 0 {
                        return Err(self.0.refuse(bad(format!(
                            "the fields beside the text hold more than {MAX_PARAMETER_VALUES} \
                             values"
                        ))));
                    }
                    fields.rest.insert(name, value?);
                }
            }
        }
        match messages {
            Some(document) => Ok((fields, document)),
            None => Err(self.0.refuse(bad(format!("the request has no `{}`", self.1.field())))),
        }
    }

    refuse!(null, boolean, number, text, list);
}

/// The name of the model.
struct Name<'s, 'a, 'b>(&'s Shared<'a, 'b>);

seed!(Name, Option<String>);

impl Name<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(&self, kind: &str) -> E {
        self.0.refuse(bad(format!("`model`, `role` and `type` must be texts, not {kind}")))
    }
}

impl<'de> Visitor<'de> for Name<'_, '_, '_> {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Some(name.chars().take(MAX_MODEL).collect()))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    refuse!(boolean, number, list, object);
}

/// The messages. Returns the content of the user's last message.
struct Messages<'s, 'a, 'b>(&'s Shared<'a, 'b>);

seed!(Messages, Option<Content>);

impl Messages<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(&self, kind: &str) -> E {
        self.0.refuse(bad(format!("`messages` must be a list, not {kind}")))
    }
}

impl<'de> Visitor<'de> for Messages<'_, '_, '_> {
    type Value = Option<Content>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<Self::Value, A::Error> {
        let mut last = None;
        while let Some(message) = messages.next_element_seed(Message(self.0))? {
            if let Some(content) = message {
                last = Some(content);
            }
        }
        Ok(last)
    }

    refuse!(null, boolean, number, text, object);
}

/// A message. Returns its content if it is the user's.
struct Message<'s, 'a, 'b>(&'s Shared<'a, 'b>);

seed!(Message, Option<Content>);

impl Message<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(&self, kind: &str) -> E {
        self.0.refuse(bad(format!("a message must be an object, not {kind}")))
    }
}

impl<'de> Visitor<'de> for Message<'_, '_, '_> {
    type Value = Option<Content>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut role, mut content) = (None, Content::Missing);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "role" => role = map.next_value_seed(Name(self.0))?,
                "content" => content = map.next_value_seed(MessageContent(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match role.as_deref() {
            Some("user") => Ok(Some(content)),
            Some("system" | "developer" | "assistant" | "tool" | "function") => Ok(None),
            _ => Err(self.0.refuse(bad(
                "the `role` of a message must be \"user\", \"system\", \"developer\", \
                 \"assistant\" or \"tool\"",
            ))),
        }
    }

    refuse!(null, boolean, number, text, list);
}

/// The content of a message.
enum Content {
    Text(Text),
    Missing,
    /// Content of another type, such as images.
    Other,
}

/// The content: a text, or a list of parts.
struct MessageContent<'s, 'a, 'b>(&'s Shared<'a, 'b>);

seed!(MessageContent, Content);

impl MessageContent<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(&self, kind: &str) -> E {
        self.0.refuse(bad(format!("the `content` of a message must be a text, not {kind}")))
    }

    fn text<E: serde::de::Error>(&self, text: Text) -> Result<Content, E> {
        Ok(Content::Text(text))
    }
}

impl<'de> Visitor<'de> for MessageContent<'_, '_, '_> {
    type Value = Content;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    take_text!();

    fn visit_unit<E: serde::de::Error>(self) -> Result<Content, E> {
        Ok(Content::Missing)
    }

    /// Joins the texts of all parts with line breaks.
    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content, A::Error> {
        let mut all: Option<Text> = None;
        let mut others = false;
        let mut joined = String::new();
        while let Some(part) = parts.next_element_seed(Part(self.0))? {
            let Some(part) = part else {
                others = true;
                continue;
            };
            // A single part, the usual case, is not copied.
            if let Some(first) = all.replace(part) {
                joined.push_str(first.as_str());
                joined.push('\n');
            }
        }
        Ok(match all {
            _ if others => Content::Other,
            None => Content::Missing,
            Some(only) if joined.is_empty() => Content::Text(only),
            Some(last) => Content::Text((joined + last.as_str()).into()),
        })
    }

    refuse!(boolean, number, object);
}

/// A prompt: a text, or a list of one text. The flag tells whether it is inside the list.
struct Prompt<'s, 'a, 'b>(&'s Shared<'a, 'b>, bool);

seed!(Prompt, Content);

impl Prompt<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(&self, kind: &str) -> E {
        self.0.refuse(bad(format!("`prompt` must be a text, or a list of one, not {kind}")))
    }

    fn text<E: serde::de::Error>(&self, text: Text) -> Result<Content, E> {
        Ok(Content::Text(text))
    }
}

impl<'de> Visitor<'de> for Prompt<'_, '_, '_> {
    type Value = Content;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    take_text!();

    fn visit_unit<E: serde::de::Error>(self) -> Result<Content, E> {
        if self.1 { Err(self.wrong("a list of null")) } else { Ok(Content::Missing) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Content, A::Error> {
        if self.1 {
            return Err(self.wrong("a list of lists"));
        }
        let Some(text) = texts.next_element_seed(Prompt(self.0, true))? else {
            return Err(self.wrong("an empty list"));
        };
        match texts.next_element::<IgnoredAny>()? {
            None => Ok(text),
            Some(_) => Err(self.wrong("a list of several")),
        }
    }

    refuse!(boolean, number, object);
}

/// A part of a content. Returns its text.
struct Part<'s, 'a, 'b>(&'s Shared<'a, 'b>);

seed!(Part, Option<Text>);

impl Part<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(&self, kind: &str) -> E {
        self.0.refuse(bad(format!("a part of a message must be an object, not {kind}")))
    }
}

impl<'de> Visitor<'de> for Part<'_, '_, '_> {
    type Value = Option<Text>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a part")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut kind, mut text) = (None, None);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "type" => kind = map.next_value_seed(Name(self.0))?,
                "text" => {
                    if let Content::Text(part) = map.next_value_seed(MessageContent(self.0))? {
                        text = Some(part);
                    }
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(text.filter(|_| kind.as_deref() == Some("text")))
    }

    refuse!(null, boolean, number, text, list);
}
