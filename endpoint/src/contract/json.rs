//! JSON bodies: `{"inputs": ..., "parameters": {...}, "stream": ...}`, or just a text. A body holds
//! one value, or one per line.
//!
//! Only texts and parameters are kept. Everything else is skipped and takes no memory.

use std::cell::{Cell, RefCell};
use std::fmt;

use epitome_runtime::GenerationParameters;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Map;

use super::bounded_value::BoundedValue;
use super::invocation::{INPUTS, Layout, Reading, Shape, bad};
use super::parameters;
use crate::error::ApiError;
use crate::scheduler::DocumentParameters;
use crate::text::Text;

/// Largest number of JSON values in the `parameters` of one `inputs`. Lists of token ids are much
/// shorter.
const MAX_PARAMETER_VALUES: usize = 1 << 14;

/// Reads one JSON value.
pub(super) fn value(text: &str, reading: &mut Reading<'_>) -> Result<(), ApiError> {
    if reading.rules.transform.is_some() && text.trim().is_empty() {
        return reading.nothing();
    }
    let (rest, stream) = object(text, reading)?;
    // An answer to a record of a transform job is not streamed.
    reading.invocation.stream = stream && reading.rules.transform.is_none();
    if text[rest..].trim_start().is_empty() {
        return Ok(());
    }
    Err(bad("the body goes on after its JSON value: send JSON lines as application/jsonlines"))
}

/// Reads one JSON value from each line. A blank line holds no texts.
pub(super) fn lines(text: &str, reading: &mut Reading<'_>) -> Result<(), ApiError> {
    reading.invocation.layout = Layout::Lines;
    for (index, line) in text.lines().enumerate() {
        reading.record(index + 1, |reading| self::line(line, reading))?;
    }
    if reading.invocation.documents == 0 && text.trim().is_empty() {
        return Err(bad("the body holds no line"));
    }
    Ok(())
}

fn line(line: &str, reading: &mut Reading<'_>) -> Result<(), ApiError> {
    if line.trim().is_empty() {
        return reading.nothing();
    }
    let (rest, stream) = object(line, reading)?;
    if !line[rest..].trim_start().is_empty() {
        return Err(bad("the line goes on after its JSON value"));
    }
    if stream && reading.rules.transform.is_none() {
        return Err(bad("JSON lines cannot be streamed"));
    }
    Ok(())
}

/// Whether the body has several lines that are not one JSON value together.
pub(super) fn are_lines(text: &str) -> bool {
    text.trim().contains('\n') && serde_json::from_str::<IgnoredAny>(text).is_err()
}

/// Reads the JSON value at the start of the text. Returns its length, and whether to stream.
fn object(text: &str, reading: &mut Reading<'_>) -> Result<(usize, bool), ApiError> {
    let shared = Shared { reading: RefCell::new(reading), refusal: Cell::default() };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Request(&shared).deserialize(&mut deserializer);
    let refusal = shared.refusal.take();
    match read {
        Ok(stream) => {
            let end = deserializer.into_iter::<IgnoredAny>().byte_offset();
            Ok((end, stream))
        }
        Err(error) => Err(refusal.unwrap_or_else(|| bad(format!("the body is not JSON: {error}")))),
    }
}

/// State that the readers of a value's parts share.
struct Shared<'a, 'b> {
    reading: RefCell<&'a mut Reading<'b>>,
    /// The reason of a refusal, if the value is well-formed JSON.
    refusal: Cell<Option<ApiError>>,
}

impl Shared<'_, '_> {
    /// A text that the body holds without escapes.
    fn part(&self, text: &str) -> Text {
        self.reading.borrow().part(text)
    }

    /// Adds a text. `place` is its index in a list, from 0.
    fn document<E: serde::de::Error>(&self, text: Text, place: Option<usize>) -> Result<(), E> {
        let taken = self.reading.borrow_mut().document(text, place);
        taken.map_err(|error| self.refuse(error))
    }

    /// Refuses the value. Returns an error of serde, and keeps the actual error.
    fn refuse<E: serde::de::Error>(&self, error: ApiError) -> E {
        self.refusal.set(Some(error));
        E::custom("refused")
    }
}

/// Refuses kinds of JSON values. The message names the kind and never the value.
macro_rules! refuse {
    ($($kind:ident),*) => { $( refuse!(@ $kind); )* };
    (@ null) => {
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Err(self.wrong("null"))
        }
    };
    (@ boolean) => {
        fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Self::Value, E> {
            Err(self.wrong("a boolean"))
        }
    };
    (@ number) => {
        fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Self::Value, E> {
            Err(self.wrong("a number"))
        }
        fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Self::Value, E> {
            Err(self.wrong("a number"))
        }
        fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Self::Value, E> {
            Err(self.wrong("a number"))
        }
    };
    (@ text) => {
        fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(self.wrong("a text"))
        }
    };
    (@ list) => {
        fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(self.wrong("a list"))
        }
    };
    (@ object) => {
        fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
            Err(self.wrong("an object"))
        }
    };
}

/// Receives texts with a visitor's method `text`. Texts without escapes are not copied.
macro_rules! take_text {
    () => {
        fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
            let text = self.0.part(text);
            self.text(text)
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            self.text(Text::from(text.to_owned()))
        }
    };
}

/// Implements `DeserializeSeed` by the visitor itself.
macro_rules! seed {
    ($name:ident, $value:ty) => {
        impl<'de> DeserializeSeed<'de> for $name<'_, '_, '_> {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<$value, D::Error> {
                from.deserialize_any(self)
            }
        }
    };
}

/// The whole value. Returns whether to stream.
struct Request<'s, 'a, 'b>(&'s Shared<'a, 'b>);

seed!(Request, bool);

impl Request<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(&self, kind: &str) -> E {
        let message = format!("expected an object with `{INPUTS}`, found {kind}");
        self.0.refuse(bad(message))
    }

    fn text<E: serde::de::Error>(&self, text: Text) -> Result<bool, E> {
        self.0.document(text, None)?;
        self.end(Default::default(), false)?;
        Ok(false)
    }

    fn end<E: serde::de::Error>(
        &self,
        (parameters, shape): (DocumentParameters, Shape),
        is_list: bool,
    ) -> Result<(), E> {
        let taken = self.0.reading.borrow_mut().inputs(parameters, shape, is_list);
        taken.map_err(|error| self.0.refuse(error))
    }
}

impl<'de> Visitor<'de> for Request<'_, '_, '_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    take_text!();

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<bool, A::Error> {
        let (mut is_list, mut parameters, mut stream) = (None, None, None);
        while let Some(field) = fields.next_key_seed(FieldName(self.0))? {
            let is_first = match field {
                Field::Inputs => {
                    is_list.replace(fields.next_value_seed(InputTexts(self.0))?).is_none()
                }
                Field::Parameters => {
                    parameters.replace(fields.next_value_seed(Parameters(self.0))?).is_none()
                }
                Field::Stream => stream.replace(fields.next_value_seed(Stream(self.0))?).is_none(),
                Field::Other => {
                    fields.next_value::<IgnoredAny>()?;
                    true
                }
            };
            if !is_first {
                return Err(self.0.refuse(bad("a field of the request is given twice")));
            }
        }
        let Some(is_list) = is_list else {
            return Err(self.0.refuse(bad(format!(
                "the request has no `{INPUTS}`: give a text or a list of texts"
            ))));
        };
        self.end(parameters.unwrap_or_default(), is_list)?;
        Ok(stream.unwrap_or(false))
    }

    refuse!(null, boolean, number, list);
}

/// The fields of a request.
enum Field {
    Inputs,
    Parameters,
    Stream,
    Other,
}

/// The name of a field.
struct FieldName<'s, 'a, 'b>(&'s Shared<'a, 'b>);

seed!(FieldName, Field);

impl<'de> Visitor<'de> for FieldName<'_, '_, '_> {
    type Value = Field;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Field, E> {
        Ok(match name {
            INPUTS => Field::Inputs,
            "parameters" => Field::Parameters,
            "stream" => Field::Stream,
            // Clients of the hub send options of the hub's own servers here.
            "options" => Field::Other,
            name => {
                let known = [
                    GenerationParameters::names(),
                    GenerationParameters::refused_names(),
                    GenerationParameters::harmless_names(),
                ];
                if let Some(known) = known.into_iter().flatten().find(|known| **known == name) {
                    return Err(self.0.refuse(bad(format!(
                        "`{known}` is a generation parameter: give it as \
                         {{\"parameters\": {{\"{known}\": ...}}}}"
                    ))));
                }
                self.0.reading.borrow_mut().ignored(name);
                Field::Other
            }
        })
    }
}

/// The texts. Returns whether they are a list.
struct InputTexts<'s, 'a, 'b>(&'s Shared<'a, 'b>);

seed!(InputTexts, bool);

impl InputTexts<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(&self, kind: &str) -> E {
        let message = format!("`{INPUTS}` must be a text or a list of texts, not {kind}");
        self.0.refuse(bad(message))
    }

    fn text<E: serde::de::Error>(&self, text: Text) -> Result<bool, E> {
        self.0.document(text, None).map(|()| false)
    }
}

impl<'de> Visitor<'de> for InputTexts<'_, '_, '_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text or a list of texts")
    }

    take_text!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<bool, A::Error> {
        let mut place = 0;
        while texts.next_element_seed(ListText(self.0, place))?.is_some() {
            place += 1;
        }
        Ok(true)
    }

    refuse!(null, boolean, number, object);
}

/// A text in a list, and its index.
struct ListText<'s, 'a, 'b>(&'s Shared<'a, 'b>, usize);

seed!(ListText, ());

impl ListText<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(&self, kind: &str) -> E {
        let message = format!("the list `{INPUTS}` must hold texts only, not {kind}");
        self.0.refuse(bad(message))
    }

    fn text<E: serde::de::Error>(&self, text: Text) -> Result<(), E> {
        self.0.document(text, Some(self.1))
    }
}

impl<'de> Visitor<'de> for ListText<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    take_text!();

    refuse!(null, boolean, number, list, object);
}

/// Whether to stream.
struct Stream<'s, 'a, 'b>(&'s Shared<'a, 'b>);

seed!(Stream, bool);

impl Stream<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(&self, kind: &str) -> E {
        let message = format!("`stream` must be true or false, not {kind}");
        self.0.refuse(bad(message))
    }
}

impl<'de> Visitor<'de> for Stream<'_, '_, '_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("true or false")
    }

    fn visit_bool<E: serde::de::Error>(self, stream: bool) -> Result<bool, E> {
        Ok(stream)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    refuse!(number, text, list, object);
}

/// The generation parameters, and the parameters for long texts.
struct Parameters<'s, 'a, 'b>(&'s Shared<'a, 'b>);

seed!(Parameters, (DocumentParameters, Shape));

impl Parameters<'_, '_, '_> {
    fn wrong<E: serde::de::Error>(&self, kind: &str) -> E {
        let message = format!("`parameters` must be an object, not {kind}");
        self.0.refuse(bad(message))
    }
}

impl<'de> Visitor<'de> for Parameters<'_, '_, '_> {
    type Value = (DocumentParameters, Shape);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(Default::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let left = Cell::new(MAX_PARAMETER_VALUES);
        let mut parameters = Map::new();
        let read = (|| {
            while let Some(name) = fields.next_key()? {
                parameters.insert(name, fields.next_value_seed(BoundedValue(&left))?);
            }
            Ok(())
        })();
        if left.get() == 0 {
            return Err(self.0.refuse(bad(format!(
                "`parameters` holds more than {MAX_PARAMETER_VALUES} values"
            ))));
        }
        read?;
        let read = parameters::read(parameters, self.0.reading.borrow().rules);
        read.map_err(|error| self.0.refuse(error))
    }

    refuse!(boolean, number, text, list);
}

pub(crate) mod chat;
