//! Reads a body in the format that its headers name.

use bytes::Bytes;

use super::invocation::{Invocation, Layout, Reading, Rules, Shape, bad};
use super::json::chat::{ChatRequest, Style};
use super::{csv, json, npy};
use crate::error::ApiError;
use crate::media::Format;
use crate::scheduler::DocumentParameters;

/// Reads a body in time and memory linear in its size.
pub(crate) fn parse(
    format: Format,
    body: &Bytes,
    rules: &Rules<'_>,
) -> Result<Invocation, ApiError> {
    let mut reading = Reading::new(body, rules);
    let many_records = rules.transform.is_some_and(|job| job.many_records);
    match format {
        Format::Json if many_records && json::are_lines(utf8(body)?) => {
            json::lines(utf8(body)?, &mut reading)?;
        }
        Format::Json if rules.transform.is_some() => {
            reading.record(1, |reading| json::value(utf8(body)?, reading))?;
        }
        Format::Json => json::value(utf8(body)?, &mut reading)?,
        Format::JsonLines => json::lines(utf8(body)?, &mut reading)?,
        Format::Csv => csv::read(utf8(body)?, &mut reading)?,
        Format::Npy => npy::read(body, &mut reading)?,
        Format::Text | Format::EventStream if many_records => {
            for (index, line) in utf8(body)?.lines().enumerate() {
                reading.record(index + 1, |reading| record(line, reading))?;
            }
        }
        Format::Text | Format::EventStream if rules.transform.is_some() => {
            reading.record(1, |reading| record(utf8(body)?, reading))?;
        }
        Format::Text | Format::EventStream => text(utf8(body)?, &mut reading)?,
    }
    let mut invocation = reading.invocation;
    if rules.transform.is_some() && !matches!(invocation.layout, Layout::Records { .. }) {
        invocation.layout = Layout::Records { header: false };
    }
    Ok(invocation)
}

/// Reads a body of `POST /v1/chat/completions` or `/v1/completions`.
pub(crate) fn parse_chat(
    style: Style,
    body: &Bytes,
    rules: &Rules<'_>,
) -> Result<(Invocation, ChatRequest), ApiError> {
    let mut reading = Reading::new(body, rules);
    let chat = json::chat::read(style, utf8(body)?, &mut reading)?;
    Ok((reading.invocation, chat))
}

/// The body as text, without a byte order mark.
fn utf8(body: &[u8]) -> Result<&str, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        bad(format!("the body is not UTF-8: byte {at} starts no character"))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Reads a record of a transform job, which may be blank.
fn record(line: &str, reading: &mut Reading<'_>) -> Result<(), ApiError> {
    match line.trim().is_empty() {
        true => reading.nothing(),
        false => text(line, reading),
    }
}

/// Reads the body as one text.
fn text(text: &str, reading: &mut Reading<'_>) -> Result<(), ApiError> {
    reading.document(reading.part(text), None)?;
    reading.inputs(DocumentParameters::default(), Shape::default(), false)
}

#[cfg(test)]
mod tests {
    use epitome_runtime::batching::Demand;
    use epitome_runtime::{Length, LongOptions, Reading};

    use super::*;
    use crate::blocking_pool::Stop;
    use crate::contract::Layout;
    use crate::contract::invocation::{MAX_GROUPS, TransformJob};

    fn read_in(
        transform: Option<TransformJob>,
        format: Format,
        body: &[u8],
    ) -> Result<Invocation, ApiError> {
        let rules = Rules {
            stop: &Stop::never(),
            max_documents: 5000,
            demand: &|parameters| match parameters.num_beams {
                Some(7) => Err(bad("not seven")),
                beams => Ok(Demand { rows: beams.unwrap_or(1), tokens: 0, longest: 20 }),
            },
            first_token: &|text| Ok(text.chars().next().map(u32::from)),
            transform,
        };
        parse(format, &Bytes::copy_from_slice(body), &rules)
    }

    fn read(format: Format, body: &[u8]) -> Result<Invocation, ApiError> {
        read_in(None, format, body)
    }

    fn message(format: Format, body: &[u8]) -> String {
        let error = read(format, body).expect_err("an error");
        assert_eq!(error.status(), 400, "{error}");
        error.to_string()
    }

    /// The texts in the order of their numbers.
    fn texts(invocation: &Invocation) -> Vec<&str> {
        let documents = invocation.groups.iter().flat_map(|group| &group.documents);
        let mut documents: Vec<_> = documents.collect();
        documents.sort_by_key(|document| document.number);
        assert_eq!(documents.len(), invocation.documents);
        documents.iter().map(|document| document.text.as_str()).collect()
    }

    #[test]
    fn every_format_is_read() {
        let read = |format, body: &str| read(format, body.as_bytes()).unwrap();
        let one =
            read(Format::Json, r#"{"inputs":"a","parameters":{"num_beams":2},"stream":true}"#);
        assert_eq!(texts(&one), ["a"]);
        assert_eq!(one.groups[0].parameters.generation.num_beams, Some(2));
        assert!(one.stream && !one.inputs[0].is_list);
        let list = read(Format::Json, "\u{feff}{\"inputs\":[\"a\",\"b\\n\"],\"extra\":1}");
        assert!(list.inputs[0].is_list);
        assert_eq!(texts(&list), ["a", "b\n"]);
        let lines = read(
            Format::JsonLines,
            "{\"inputs\":\"a\"}\n\n\"b\"\r\n\
             {\"parameters\":{\"num_beams\":2},\"inputs\":[\"c\"]}\n",
        );
        assert_eq!(lines.layout, Layout::Lines);
        // A blank line is answered by a blank line.
        let documents: Vec<usize> = lines.inputs.iter().map(|inputs| inputs.documents).collect();
        assert_eq!((documents.as_slice(), lines.groups.len()), (&[1, 0, 1, 1][..], 2));
        assert_eq!(texts(&lines), ["a", "b", "c"]);
        let csv = read(Format::Csv, "id,inputs\n1,\"a, \"\"b\"\"\"\n2,c\n");
        assert_eq!(texts(&csv), ["a, \"b\"", "c"]);
        assert_eq!(texts(&read(Format::Text, "a\nb")), ["a\nb"]);
        assert_eq!(texts(&read(Format::Json, "{\"inputs\":[]}")), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (format, body, part) in [
            (Format::Json, &b"{"[..], "not JSON"),
            (Format::Json, b"\xff", "byte 0"),
            (Format::Json, b"{}", "no `inputs`"),
            (Format::Json, b"[1]", "a list"),
            (Format::Json, b"3", "a number"),
            (Format::Json, br#"{"inputs":3}"#, "a number"),
            (Format::Json, br#"{"inputs":{}}"#, "an object"),
            (Format::Json, br#"{"inputs":["a",null]}"#, "null"),
            (Format::Json, br#"{"inputs":["a",["b"]]}"#, "a list"),
            (Format::Json, br#"{"inputs":"a","inputs":"b"}"#, "twice"),
            (Format::Json, br#"{"inputs":" "}"#, "empty"),
            (Format::Json, br#"{"inputs":["a",""]}"#, "text 2 is empty"),
            (Format::Json, br#"{"inputs":"a","parameters":[]}"#, "`parameters`"),
            (Format::Json, br#"{"inputs":"a","parameters":{"num_beam":1}}"#, "`num_beam`"),
            (Format::Json, br#"{"inputs":"a","parameters":{"num_beams":7}}"#, "not seven"),
            (Format::Json, br#"{"inputs":"a","stream":1}"#, "`stream`"),
            (Format::Json, b"{\"inputs\":\"a\"}\n{\"inputs\":\"b\"}", "application/jsonlines"),
            (Format::JsonLines, b"\n", "no line"),
            (Format::JsonLines, b"{\"inputs\":\"a\"}\n{", "line 2"),
            (Format::JsonLines, b"\n{\"inputs\":\"\"}", "line 2: the text is empty"),
            (Format::JsonLines, br#"{"inputs":"a","stream":true}"#, "cannot be streamed"),
            (Format::JsonLines, b"\"a\"\n{\"inputs\":\"a\",\"parameters\":{\"x\":1}}", "line 2: "),
            (Format::Csv, b"text\nabc\n", "`inputs`"),
            (Format::Csv, b"inputs,b\nabc\n", "row 2 has 1 field, and the first row has 2"),
            (Format::Csv, b"inputs\n\"\"\n", "text 1 is empty"),
            (Format::Text, b"  ", "empty"),
        ] {
            let message = message(format, body);
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn what_a_client_wrote_is_not_in_the_log() {
        for body in [
            &br#"{"inputs":"a","parameters":{"stop_strings":["secret",3]}}"#[..],
            br#"{"inputs":"a","parameters":{"secret":3}}"#,
            br#"{"inputs":"a","parameters":"secret"}"#,
            br#"{"inputs":"a","stream":"secret"}"#,
            br#"{"inputs":"a"} secret"#,
        ] {
            let error = read(Format::Json, body).unwrap_err().without_texts();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn parameters_beside_the_inputs_are_refused_and_other_fields_named() {
        let said = message(Format::Json, br#"{"inputs":"a","max_length":5}"#);
        assert!(said.contains("{\"parameters\": {\"max_length\": ...}}"), "{said}");
        message(Format::JsonLines, br#"{"inputs":"a","num_beams":2}"#);
        let body = br#"{"inputs":"a","options":{"use_cache":true},"id":7,"tags":[1,{"x":null}]}"#;
        let read = read(Format::Json, body).unwrap();
        assert_eq!(read.ignored, ["id", "tags"]);
    }

    #[test]
    fn long_texts_are_read_as_asked() {
        let long = |parameters: &str| {
            let body = format!("{{\"inputs\":\"a\",\"parameters\":{parameters}}}");
            read(Format::Json, body.as_bytes()).unwrap().groups[0].parameters.long
        };
        assert_eq!(long("{}"), None);
        assert_eq!(long("{\"long\":null}"), None);
        let options = LongOptions { reading: Reading::Parts, length: None };
        assert_eq!(long("{\"long\":\"parts\",\"num_beams\":2}"), Some(options));
        let options = LongOptions { reading: Reading::Lexrank, length: Some(Length::Words(90)) };
        assert_eq!(long("{\"long\":\"lexrank\",\"length\":\"90 words\"}"), Some(options));
        for (parameters, part) in [
            ("{\"long\":\"secret\"}", "`long` must be \"parts\", \"first\" or \"lexrank\""),
            ("{\"long\":true}", "`long` must be"),
            ("{\"long\":\"parts\",\"length\":9}", "`length` must be"),
            ("{\"length\":\"short\"}", "`length` goes with `long`"),
        ] {
            let body = format!("{{\"inputs\":\"a\",\"parameters\":{parameters}}}");
            let said = message(Format::Json, body.as_bytes());
            assert!(said.contains(part) && !said.contains("secret"), "{said}");
        }
        // Lines with different values are not decoded together.
        let lines = "{\"inputs\":\"a\"}\n{\"inputs\":\"b\",\"parameters\":{\"long\":\"parts\"}}\n";
        assert_eq!(read(Format::JsonLines, lines.as_bytes()).unwrap().groups.len(), 2);
    }

    #[test]
    fn what_clients_of_pipelines_and_of_tgi_send_is_taken() {
        let with = |parameters: &str| {
            let body = format!("{{\"inputs\":\"a\",\"parameters\":{parameters}}}");
            read(Format::Json, body.as_bytes()).unwrap()
        };
        let hub = with(
            r#"{"clean_up_tokenization_spaces":true,"truncation":"longest_first",
                "generate_parameters":{"num_beams":2,"length_penalty":0.6}}"#,
        );
        assert_eq!(hub.groups[0].parameters.generation.num_beams, Some(2));
        assert_eq!(hub.inputs[0].shape, Shape { clean_up: true, ..Shape::default() });
        let pipeline = with(
            r#"{"truncation":false,"return_tensors":true,"return_text":false,"batch_size":8,
                "num_workers":2,"stop_sequence":"b."}"#,
        );
        let shape = Shape { token_ids: true, whole: true, ..Shape::default() };
        assert_eq!(pipeline.inputs[0].shape, shape);
        assert_eq!(pipeline.groups[0].parameters.generation.eos_token_id, Some(vec![98]));
        assert!(!with(r#"{"return_tensors":true,"return_type":"text"}"#).inputs[0].shape.token_ids);
        let tgi = with(
            r#"{"details":true,"stop":["."],"return_full_text":false,"watermark":false,
                "best_of":1,"decoder_input_details":false,"top_n_tokens":null,"truncate":null}"#,
        );
        let stops = &tgi.groups[0].parameters.generation.stop_strings;
        assert_eq!(stops.as_deref(), Some(&[".".to_owned()][..]));
        assert!(tgi.inputs[0].shape.details);
        with(r#"{"stop":[],"generate_parameters":null}"#);
        for (parameters, part) in [
            (r#"{"num_beams":2,"generate_parameters":{"num_beams":2}}"#, "both in and beside"),
            (r#"{"generate_parameters":[]}"#, "must be an object"),
            (r#"{"generate_parameters":{"num_beam":2}}"#, "`num_beams`"),
            (r#"{"truncation":"secret"}"#, "`truncation` must be"),
            (r#"{"return_type":"secret"}"#, "`return_type` must be"),
            (r#"{"return_text":false}"#, "\"return_tensors\""),
            (r#"{"clean_up_tokenization_spaces":1}"#, "true or false"),
            (r#"{"stop":["a"],"stop_strings":["b"]}"#, "stands for `stop_strings`"),
            (r#"{"stop_sequence":""}"#, "no token"),
            (r#"{"stop_sequence":5}"#, "must be a text"),
            (r#"{"grammar":{"type":"secret"}}"#, "`grammar` is not supported"),
            (r#"{"best_of":2}"#, "`best_of` is not supported"),
        ] {
            let body = format!("{{\"inputs\":\"a\",\"parameters\":{parameters}}}");
            let said = message(Format::Json, body.as_bytes());
            assert!(said.contains(part) && !said.contains("secret"), "{said}");
        }
    }

    fn read_chat(body: &str) -> Result<(Invocation, ChatRequest), ApiError> {
        let rules = Rules {
            stop: &Stop::never(),
            max_documents: 10,
            demand: &|_| Ok(Demand { rows: 1, tokens: 0, longest: 20 }),
            first_token: &|_| Ok(None),
            transform: None,
        };
        let style = if body.contains("prompt") { Style::Text } else { Style::Chat };
        parse_chat(style, &Bytes::copy_from_slice(body.as_bytes()), &rules)
    }

    #[test]
    fn the_last_message_of_the_user_is_the_document() {
        let (read, chat) = read_chat(
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},
                "messages":[{"role":"system","content":"Be short."},
                    {"role":"user","content":[{"type":"image_url","image_url":{}}]},
                    {"role":"assistant","content":null,"tool_calls":[]},
                    {"role":"user","content":[{"type":"text","text":"a"},
                        {"text":"b","type":"text"}]},
                    {"role":"assistant","content":"A summary."}],
                "max_tokens":9,"temperature":0.1,"tools":[],"tool_choice":"auto","user":"x",
                "response_format":{"type":"text"},"logprobs":false,"stop":"z","num_beams":2,
                "frequency_penalty":0,"seed":5}"#,
        )
        .unwrap();
        assert_eq!(texts(&read), ["a\nb"]);
        assert!(read.stream && chat.include_usage);
        assert_eq!(chat.model.as_deref(), Some("m"));
        let generation = &read.groups[0].parameters.generation;
        assert_eq!((generation.max_new_tokens, generation.num_beams), (Some(9), Some(2)));
        assert_eq!(generation.stop_strings.as_deref(), Some(&["z".to_owned()][..]));
        let (prompt, _) = read_chat(r#"{"model":"m","prompt":"a b","max_tokens":3}"#).unwrap();
        assert_eq!(texts(&prompt), ["a b"]);
        let (prompt, _) = read_chat(r#"{"prompt":["a b"]}"#).unwrap();
        assert_eq!(texts(&prompt), ["a b"]);
        let (plain, _) = read_chat(r#"{"messages":[{"content":"a","role":"user"}]}"#).unwrap();
        assert_eq!((texts(&plain), plain.stream), (vec!["a"], false));
    }

    #[test]
    fn what_a_summarizer_cannot_do_is_said() {
        let message = |fields: &str| {
            let body =
                format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"a\"}}],{fields}}}");
            read_chat(&body).map(drop).unwrap_err().to_string()
        };
        for (fields, part) in [
            (r#""tools":[{"type":"function"}]"#, "`tools` is not possible"),
            (r#""tool_choice":"required""#, "`tool_choice` is not possible"),
            (r#""logprobs":true"#, "`logprobs` is not possible"),
            (r#""response_format":{"type":"json_object"}"#, "`response_format`"),
            (r#""modalities":["text","audio"]"#, "`modalities`"),
            (r#""logit_bias":{"5":100}"#, "`sequence_bias`"),
            (r#""n":2,"num_beams":2,"stream":true"#, "cannot be streamed"),
            (r#""presence_penalty":1"#, "`presence_penalty` is not supported"),
            (r#""num_beam":2"#, "`num_beams`"),
            (r#""max_tokens":1,"max_completion_tokens":2"#, "stands for `max_new_tokens`"),
            (r#""return_tensors":true"#, "`return_tensors`"),
            (r#""model":5"#, "must be texts"),
        ] {
            let said = message(fields);
            assert!(said.contains(part), "{fields}: {said}");
        }
        for (body, part) in [
            ("{}", "no `messages`"),
            ("[]", "found a list"),
            ("{", "not JSON"),
            (r#"{"prompt":5}"#, "`prompt` must be a text, or a list of one, not a number"),
            (r#"{"prompt":null}"#, "no text"),
            (r#"{"prompt":[]}"#, "not an empty list"),
            (r#"{"prompt":["a","b"]}"#, "not a list of several"),
            (r#"{"prompt":[["a"]]}"#, "not a list of lists"),
            (r#"{"prompt":[5]}"#, "not a number"),
            (r#"{"prompt":[{"type":"text","text":"a"}]}"#, "not an object"),
            (r#"{"prompt":["a"#, "not JSON"),
            (r#"{"prompt":"a","echo":true}"#, "`echo` is not possible"),
            (r#"{"prompt":"a","messages":[]}"#, "`messages`"),
            (r#"{"messages":[]}"#, "no message of the role \"user\""),
            (r#"{"messages":"a"}"#, "must be a list"),
            (r#"{"messages":[{"role":"secret","content":"a"}]}"#, "the `role`"),
            (r#"{"messages":[{"role":"user","content":5}]}"#, "must be a text"),
            (r#"{"messages":[{"role":"user"}]}"#, "no text"),
            (r#"{"messages":[{"role":"user","content":" "}]}"#, "empty"),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"input_audio"}]}]}"#,
                "neither images nor sounds",
            ),
        ] {
            let said = read_chat(body).map(drop).unwrap_err().to_string();
            assert!(said.contains(part) && !said.contains("secret"), "{body}: {said}");
        }
    }

    /// For each record, its number of documents, and whether it was bad.
    fn records(job: TransformJob, format: Format, body: &str) -> Vec<(usize, bool)> {
        let read = read_in(Some(job), format, body.as_bytes()).unwrap();
        assert!(matches!(read.layout, Layout::Records { .. }));
        assert_eq!(texts(&read).len(), read.documents);
        read.inputs.iter().map(|inputs| (inputs.documents, inputs.error.is_some())).collect()
    }

    #[test]
    fn a_transform_job_loses_no_record() {
        let many = TransformJob { many_records: true, answers_errors: true };
        let one = TransformJob { many_records: false, ..many };
        let (good, bad, blank) = ((1, false), (0, true), (0, false));
        assert_eq!(records(many, Format::Text, "a b\n\nc\r\n"), [good, blank, good]);
        assert_eq!(records(one, Format::Text, "a b\nc\n"), [good]);
        assert_eq!(records(one, Format::Text, " "), [blank]);
        assert_eq!(records(one, Format::Json, " \n"), [blank]);
        let lines = "{\"inputs\":\"a\"}\n\n{\"inputs\":[\"b\",\"\"]}\n{\n\"c\"\n\
                     {\"inputs\":\"d\",\"parameters\":{\"num_beams\":7}}\n";
        assert_eq!(records(many, Format::JsonLines, lines), [good, blank, bad, bad, good, bad]);
        // A transform job that splits JSON by lines sends lines.
        assert_eq!(records(many, Format::Json, "{\"inputs\":\"a\"}\n\"b\"\n"), [good, good]);
        assert_eq!(records(many, Format::Json, "{\n\"inputs\":\n\"a\"\n}\n"), [good]);
        assert_eq!(records(one, Format::Json, "{"), [bad]);
        assert_eq!(records(many, Format::Json, "{\n{\"inputs\":\"a\"}\n"), [bad, good]);
        assert_eq!(records(many, Format::Json, "\n\"a\"\n\"b\"\n"), [blank, good, good]);
        // An answer to a record is not streamed.
        let streamed = "{\"inputs\":\"a\",\"stream\":true}";
        let read = read_in(Some(one), Format::Json, streamed.as_bytes()).unwrap();
        assert!(!read.stream);
        let two = format!("{streamed}\n{streamed}\n");
        assert_eq!(records(many, Format::JsonLines, &two), [good, good]);
        // Only the first request of a file has the header row.
        assert_eq!(records(many, Format::Csv, "id,inputs\n1,a\n2\n3,\n"), [good, bad, blank]);
        assert_eq!(records(many, Format::Csv, "a\n\"b, c\"\n"), [good, good]);
        let blanks = [good, blank, good, blank, good];
        assert_eq!(records(many, Format::Csv, "a\n\nb\r\n\r\nc\n"), blanks);
        assert_eq!(records(many, Format::Csv, "inputs\r\na\r\n\r\nb\n\nc\r\n"), blanks);
        assert_eq!(records(many, Format::Csv, "\n\"a\n\nb\"\n\n"), [blank, good, blank]);
        let header = |body: &[u8]| read_in(Some(many), Format::Csv, body).unwrap().layout;
        assert_eq!(header(b"inputs\na\n"), Layout::Records { header: true });
        assert_eq!(header(b"a\nb\n"), Layout::Records { header: false });
        let columns = read_in(Some(many), Format::Csv, b"1,a\n").unwrap_err().to_string();
        assert!(columns.contains("InputFilter"), "{columns}");
        // Here a bad record fails the request.
        let strict = TransformJob { answers_errors: false, ..many };
        let error = read_in(Some(strict), Format::JsonLines, lines.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 3: "), "{error}");
        for (body, place) in [("inputs,b\nc,d\ne\n", 3), ("a\n\n\"b\",c\n", 3)] {
            let said = read_in(Some(strict), Format::Csv, body.as_bytes()).unwrap_err().to_string();
            let prefix = format!("line {place}: the body is not CSV: row {place} has ");
            assert!(said.starts_with(&prefix), "{said}");
        }
    }

    #[test]
    fn documents_and_parameters_of_a_request_are_bounded() {
        let list = |count| format!("{{\"inputs\":{:?}}}", vec!["a"; count]);
        assert!(read(Format::Json, list(5000).as_bytes()).is_ok());
        let error = read(Format::Json, list(5001).as_bytes()).unwrap_err();
        assert_eq!(error.status(), 413, "{error}");
        let blank = format!("\"a\"{}", "\n".repeat(6000));
        let error = read(Format::JsonLines, blank.as_bytes()).unwrap_err();
        assert_eq!(error.status(), 413, "{error}");
        let line = |seed| format!("{{\"inputs\":\"a\",\"parameters\":{{\"seed\":{seed}}}}}\n");
        let lines = |count| (0..count).map(line).collect::<String>();
        let read_lines = read(Format::JsonLines, lines(MAX_GROUPS).as_bytes()).unwrap();
        assert_eq!(read_lines.groups.len(), MAX_GROUPS);
        let said = message(Format::JsonLines, lines(MAX_GROUPS + 1).as_bytes());
        assert!(said.contains("different `parameters`"), "{said}");
        let ids = format!("{:?}", vec![1; 1 << 17]);
        let body = format!("{{\"inputs\":\"a\",\"parameters\":{{\"suppress_tokens\":{ids}}}}}");
        let said = message(Format::Json, body.as_bytes());
        assert!(said.contains("values"), "{said}");
    }

    #[test]
    fn grouping_compares_no_line_with_all_others() {
        // Every second line has its own parameters, so that no line has those of the line before.
        let line = |number: usize| {
            let seed = if number.is_multiple_of(2) { 0 } else { number % 1001 };
            format!("{{\"inputs\":\"a\",\"parameters\":{{\"seed\":{seed}}}}}\n")
        };
        let body: String = (0..4000).map(line).collect();
        let read = read(Format::JsonLines, body.as_bytes()).unwrap();
        assert_eq!((read.documents, read.inputs.len()), (4000, 4000));
        assert!(read.groups.len() <= MAX_GROUPS);
    }

    #[test]
    fn reading_ends_where_nobody_waits() {
        let rules = Rules {
            stop: &Stop::stopped(),
            max_documents: 10,
            demand: &|_| Ok(Demand { rows: 1, tokens: 0, longest: 20 }),
            first_token: &|_| Ok(None),
            transform: None,
        };
        let body = Bytes::from_static(br#"{"inputs":"a"}"#);
        let read = parse(Format::Json, &body, &rules);
        assert!(matches!(read, Err(ApiError::Deadline(_))));
    }
}
