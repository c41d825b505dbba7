//! Tests of `epitome serve`: the real binary over real sockets.

mod access;
pub(crate) mod client;
mod hostile;
mod load;
mod recovery;
mod sdk;

use std::time::{Duration, Instant};

use crate::common;
use client::{Server, bundle, text_of};
use serde_json::{Value, json};

const TEXT: &str = "The river rose after a week of rain and the town opened its gates. \
                    Farmers moved the cattle to the hills.";

fn summary_of(body: &Value) -> &str {
    body[0]["generated_text"].as_str().unwrap_or_else(|| panic!("{body}"))
}

#[test]
fn json_is_answered_as_the_stock_container_answers() {
    let server = Server::tiny(&[]);
    let one = server.invoke(&json!({"inputs": TEXT}));
    assert_eq!(one.status, 200, "{}", one.text());
    assert_eq!(one.header("content-type"), Some("application/json"));
    let body = one.json();
    assert_eq!(body.as_array().unwrap().len(), 1);
    assert_eq!(body[0].as_object().unwrap().len(), 1);
    let summary = summary_of(&body).to_owned();

    let list = server.invoke(&json!({"inputs": [TEXT, "Another text."]})).json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(summary_of(&list), summary);

    let parameters = json!({"num_beams": 3, "num_return_sequences": 2});
    let several = server.invoke(&json!({"inputs": TEXT, "parameters": parameters})).json();
    assert_eq!(several.as_array().unwrap().len(), 2);
    assert!(several[1]["generated_text"].is_string());
    let nested = server.invoke(&json!({"inputs": [TEXT, TEXT], "parameters": parameters})).json();
    assert_eq!(nested.as_array().unwrap().len(), 2);
    assert_eq!(nested[0], several);
    assert_eq!(server.invoke(&json!({"inputs": []})).json(), json!([]));
}

#[test]
fn every_format_comes_in_and_goes_out() {
    let server = Server::tiny(&[]);
    let summary = summary_of(&server.invoke(&json!({"inputs": TEXT})).json()).to_owned();
    let json_body = json!({"inputs": TEXT}).to_string();
    let charset = server.post(
        "/invocations",
        &[("Content-Type", "application/json; charset=utf-8")],
        json_body.as_bytes(),
    );
    assert_eq!(summary_of(&charset.json()), summary);
    let untyped = server.post("/invocations", &[], json_body.as_bytes());
    assert_eq!(summary_of(&untyped.json()), summary);

    let lines = format!("{json_body}\n{}\n", json!({"inputs": [TEXT, TEXT]}));
    let lines =
        server.post("/invocations", &[("Content-Type", "application/jsonlines")], lines.as_bytes());
    assert_eq!(lines.header("content-type"), Some("application/jsonlines"));
    let answers: Vec<Value> =
        lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(summary_of(&answers[0]), summary);
    assert_eq!(answers[1].as_array().unwrap().len(), 2);

    let csv = format!("inputs\n\"{TEXT}\"\n\"{TEXT}\"\n");
    let as_json = server.post("/invocations", &[("Content-Type", "text/csv")], csv.as_bytes());
    assert_eq!(as_json.json().as_array().unwrap().len(), 2);
    let as_csv = server.post(
        "/invocations",
        &[("Content-Type", "text/csv"), ("Accept", "text/csv")],
        csv.as_bytes(),
    );
    assert!(as_csv.text().starts_with("generated_text\n"), "{}", as_csv.text());

    let plain = server.post("/invocations", &[("Content-Type", "text/plain")], TEXT.as_bytes());
    assert_eq!(plain.text(), summary.clone() + "\n");
    assert_eq!(plain.header("content-type"), Some("text/plain; charset=utf-8"));
    let as_accepted = |accept: &str| {
        let answer = server.post("/invocations", &[("Accept", accept)], json_body.as_bytes());
        assert_eq!(answer.header("content-type"), Some(accept));
        answer
    };
    assert_eq!(as_accepted("text/plain").text(), summary.clone() + "\n");
    assert!(as_accepted("text/csv").text().ends_with('\n'));
    assert!(as_accepted("application/x-ndjson").text().ends_with('\n'));

    // An array of one text, as `numpy.save` writes it.
    let header = format!(
        "{{'descr': '<U{}', 'fortran_order': False, 'shape': (1,), }}\n",
        TEXT.chars().count()
    );
    let mut array = b"\x93NUMPY\x01\x00".to_vec();
    array.extend((header.len() as u16).to_le_bytes());
    array.extend(header.bytes());
    array.extend(TEXT.chars().flat_map(|c| u32::from(c).to_le_bytes()));
    let numpy = [("Content-Type", "application/x-npy"), ("Accept", "application/x-npy")];
    let answer = server.post("/invocations", &numpy, &array);
    assert_eq!(answer.header("content-type"), Some("application/x-npy"));
    assert!(answer.body.starts_with(b"\x93NUMPY"));
    assert!(String::from_utf8_lossy(&answer.body).contains(&summary));
    let from_numpy = server.post("/invocations", &numpy[..1], &array);
    assert_eq!(summary_of(&from_numpy.json()), summary);
}

#[test]
fn what_the_hubs_clients_send_is_answered() {
    let server = Server::tiny(&[("HF_TASK", "summarization")]);
    let json_type = [("Content-Type", "application/json")];
    let ask = |body: &Value| server.post("/", &json_type, body.to_string().as_bytes());
    let parameters = json!({
        "clean_up_tokenization_spaces": true, "truncation": "longest_first",
        "generate_parameters": {"num_beams": 2},
    });
    let body = json!({"inputs": TEXT, "parameters": parameters, "options": {"use_cache": false}});
    let answer = ask(&body);
    assert_eq!(answer.header("x-epitome-ignored"), None);
    let beams = ask(&json!({"inputs": TEXT, "parameters": {"num_beams": 2}})).json();
    assert_eq!(answer.json(), beams);
    let ids = ask(&json!({"inputs": TEXT, "parameters": {"return_tensors": true}})).json();
    assert!(ids[0]["summary_token_ids"][0].is_u64(), "{ids}");
    let long = json!({"inputs": TEXT.repeat(200), "parameters": {"truncation": false}});
    let refused = ask(&long);
    let error = refused.json();
    assert_eq!(refused.status, 400, "{error}");
    assert!(error["error"].as_str().unwrap().contains("longer than the"), "{error}");
    assert_eq!(error["error_type"], "validation");
}

#[test]
fn a_transform_job_gets_a_line_for_each_record() {
    let server = Server::tiny(&[("SAGEMAKER_BATCH", "true")]);
    let ask = |content_type: &str, accept: &str, body: &str| {
        let headers = [("Content-Type", content_type), ("Accept", accept)];
        let answer = server.post("/invocations", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    };
    let twelve = format!("{TEXT}\n").repeat(12);
    for accept in ["text/plain", "application/json", "application/jsonlines", "text/csv"] {
        let lines = ask("text/plain", accept, &twelve);
        assert_eq!((lines.lines().count(), lines.ends_with('\n')), (12, true), "{accept}: {lines}");
    }
    let mixed = format!("{}\n\n{{\n{}\n", json!({"inputs": TEXT}), json!({"inputs": ""}));
    let answers = ask("application/jsonlines", "application/jsonlines", &mixed);
    let answers: Vec<Value> =
        answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 4);
    assert!(answers[0][0]["generated_text"].is_string());
    assert_eq!(answers[1], json!([]));
    assert_eq!((&answers[2]["code"], &answers[3]["code"]), (&json!(400), &json!(400)));
    let first = ask("text/csv", "text/csv", &format!("inputs\n\"{TEXT}\"\n"));
    let next = ask("text/csv", "text/csv", &format!("\"{TEXT}\"\n"));
    assert_eq!(first, format!("generated_text\n{next}"));
    let parameters = server.get("/execution-parameters").json();
    assert_eq!(
        parameters,
        json!({"MaxConcurrentTransforms": 2, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 1})
    );

    let strict = [("SAGEMAKER_BATCH", "true"), ("EPITOME_BATCH_ERRORS", "fail")];
    let server = Server::tiny(&strict);
    let lines = [("Content-Type", "application/jsonlines")];
    assert_eq!(server.post("/invocations", &lines, mixed.as_bytes()).status, 400);
    let single = [("SAGEMAKER_BATCH", "true"), ("SAGEMAKER_BATCH_STRATEGY", "SINGLE_RECORD")];
    let server = Server::tiny(&single);
    let plain = [("Content-Type", "text/plain")];
    assert_eq!(server.post("/invocations", &plain, twelve.as_bytes()).text().lines().count(), 1);
    // A transform job may hold more records than other requests, whichever variable reveals it.
    let server = Server::tiny(&[("SAGEMAKER_BATCH", "yes")]);
    let blank = "\n".repeat((1 << 16) + 1);
    let answer = server.post("/invocations", &plain, blank.as_bytes());
    assert_eq!(text_of(&answer), blank);
}

#[test]
fn length_penalty_and_custom_attributes_as_the_tutorials_client_sends_them() {
    let server = Server::tiny(&[]);
    for penalty in [0.6, 1.5] {
        let body =
            json!({"inputs": TEXT, "parameters": {"length_penalty": penalty, "num_beams": 4}})
                .to_string();
        let headers = [
            ("Content-Type", "application/json"),
            ("X-Amzn-SageMaker-Custom-Attributes", "c000b4f9"),
        ];
        let answer = server.post("/invocations", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-amzn-sagemaker-custom-attributes"), Some("c000b4f9"));
        assert!(answer.header("x-amzn-requestid").is_some());
        assert!(answer.header("server-timing").unwrap().contains("encode;dur="));
    }
}

type Headers<'a> = &'a [(&'a str, &'a str)];

#[test]
fn errors_have_the_stock_containers_shape_and_honest_codes() {
    let server = Server::tiny(&[]);
    let json_type = [("Content-Type", "application/json")];
    let cases: [(Headers, &str, u16, &str); 10] = [
        (&json_type, "{", 400, "not JSON"),
        (&json_type, "{}", 400, "`inputs`"),
        (
            &json_type,
            r#"{"inputs":"a","parameters":{"num_beam":4}}"#,
            400,
            "did you mean `num_beams`",
        ),
        (&json_type, r#"{"inputs":"a","parameters":{"num_beams":0}}"#, 400, "`num_beams`"),
        (
            &json_type,
            r#"{"inputs":"a","parameters":{"max_length":9999999,"min_length":9999999}}"#,
            400,
            "max_length",
        ),
        (&json_type, r#"{"inputs":""}"#, 400, "empty"),
        (&[("Content-Type", "application/xml")], "<a/>", 415, "application/xml"),
        (&[("Accept", "image/png")], r#"{"inputs":"a"}"#, 406, "image/png"),
        (&[("Content-Type", "application/jsonlines")], "{\"inputs\":\"a\"}\n[", 400, "line 2"),
        (&[("Content-Type", "text/csv")], "text\na\n", 400, "`inputs`"),
    ];
    for (headers, body, code, part) in cases {
        let answer = server.post("/invocations", headers, body.as_bytes());
        let error = answer.json();
        assert_eq!(answer.status, code, "{body}: {error}");
        assert_eq!(error["code"], code);
        assert!(error["type"].as_str().unwrap().ends_with("Exception"));
        assert!(error["message"].as_str().unwrap().contains(part), "{error}");
    }
    assert_eq!(server.get("/nowhere").json()["code"], 404);
    assert_eq!(server.get("/invocations").json()["code"], 405);
    let latin1 = server.post("/invocations", &json_type, b"{\"inputs\":\"\xe9\"}");
    assert_eq!(latin1.status, 400, "{}", latin1.text());
}

#[test]
fn bodies_are_bounded() {
    let server = Server::tiny(&[("SAGEMAKER_MAX_PAYLOAD_IN_MB", "1")]);
    let large = vec![b'a'; (1 << 20) + 1];
    let answer = server.post("/invocations", &[("Content-Type", "text/plain")], &large);
    assert_eq!((answer.status, &answer.json()["code"]), (413, &json!(413)));
    let parameters = server.get("/execution-parameters").json();
    assert_eq!(
        parameters,
        json!({"MaxConcurrentTransforms": 2, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 1})
    );
}

#[test]
fn long_texts_are_cut_and_that_is_said() {
    let answer = Server::tiny(&[]).invoke(&json!({"inputs": TEXT.repeat(200)}));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-epitome-truncated"), Some("1"));
}

#[test]
fn settings_of_the_tutorial_and_of_sagemaker() {
    let server = Server::tiny(&[
        ("HF_TASK", "summarization"),
        ("EPITOME_ANSWER", "object"),
        ("SAGEMAKER_PROGRAM", ""),
        ("SAGEMAKER_SUBMIT_DIRECTORY", ""),
        ("SAGEMAKER_CONTAINER_LOG_LEVEL", "20"),
        ("EPITOME_QUEUE", ""),
    ]);
    let body = server.invoke(&json!({"inputs": TEXT})).json();
    assert!(body["summary_text"].is_string(), "{body}");
}

#[test]
fn openais_clients_are_answered() {
    let server = Server::tiny(&[]);
    let json_type = [("Content-Type", "application/json")];
    let ask = |more: Value| {
        let mut body = json!({"model": "any", "messages": [{"role": "user", "content": TEXT}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.post("/v1/chat/completions", &json_type, body.to_string().as_bytes())
    };
    let greedy = json!({"num_beams": 1, "max_new_tokens": 12});
    let whole = server.invoke(&json!({"inputs": TEXT, "parameters": greedy})).json();
    let answer = ask(json!({"num_beams": 1, "max_tokens": 12})).json();
    assert_eq!(answer["choices"][0]["message"]["content"], summary_of(&whole));
    let name = server.get("/v1/models").json()["data"][0]["id"].clone();
    assert_eq!(answer["model"], name);
    let model = server.get(&format!("/v1/models/{}", name.as_str().unwrap()));
    assert_eq!(model.json()["object"], "model");
    assert_eq!(server.get("/v1/models/other").json()["error"]["type"], "not_found_error");

    let stream = ask(json!({"num_beams": 1, "max_tokens": 12, "stream": true}));
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let text = stream.text();
    let events = text.strip_suffix("data: [DONE]\n\n").expect("it is done");
    let content = |event: &str| {
        let chunk: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    };
    let joined: String = events.split_terminator("\n\n").map(content).collect();
    assert_eq!(joined, summary_of(&whole));

    let refused = ask(json!({"tools": [{"type": "function"}]}));
    let error = refused.json();
    assert_eq!((refused.status, &error["error"]["type"]), (400, &json!("invalid_request_error")));
    assert!(error["error"]["message"].as_str().unwrap().contains("`tools`"), "{error}");
}

#[test]
fn probes_need_no_key() {
    let server = Server::tiny(&[("EPITOME_API_KEY", "secret")]);
    for path in ["/ping", "/health/live", "/health/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let body = json!({"inputs": TEXT}).to_string();
    for path in ["/", "/invocations", "/v1/chat/completions"] {
        assert_eq!(server.post(path, &[], body.as_bytes()).status, 401, "{path}");
    }
}

/// Reads events like clients of TGI, and counts them. Each has a token, and the last one also has
/// the summary.
fn check_events(text: &str, whole: &str) -> usize {
    let read = |event: &str| -> Value {
        serde_json::from_str(event.strip_prefix("data: ").expect("an event")).unwrap()
    };
    let events: Vec<Value> = text.split_terminator("\n\n").map(read).collect();
    let token_text = |event: &Value| event["token"]["text"].as_str().unwrap().to_owned();
    assert_eq!(events.iter().map(token_text).collect::<String>(), whole);
    for (place, event) in events.iter().enumerate() {
        let is_last = place + 1 == events.len();
        assert_eq!(event["index"], place + 1);
        assert!(event["token"]["id"].is_u64(), "{event}");
        // Clients skip the texts of special tokens.
        assert!(!event["token"]["special"].as_bool().unwrap() || token_text(event).is_empty());
        assert_eq!(event["generated_text"].is_null(), !is_last, "{event}");
    }
    let last = events.last().unwrap();
    assert_eq!(last["generated_text"], whole);
    assert_eq!(last["details"]["generated_tokens"], events.len());
    events.len()
}

#[test]
fn tokens_are_streamed_and_join_to_the_summary() {
    let server = Server::tiny(&[]);
    let greedy = json!({"num_beams": 1, "max_new_tokens": 12});
    let whole = server.invoke(&json!({"inputs": TEXT, "parameters": greedy})).json();
    let whole = summary_of(&whole).to_owned();
    let body = json!({"inputs": TEXT, "parameters": greedy, "stream": true}).to_string();
    let stream = |accept| {
        server.post(
            "/invocations",
            &[("Content-Type", "application/json"), ("Accept", accept)],
            body.as_bytes(),
        )
    };

    let text = stream("text/plain");
    assert_eq!(text.header("transfer-encoding"), Some("chunked"));
    assert_eq!(text.header("content-type"), Some("text/plain"));
    assert_eq!(text.text(), whole.clone() + "\n");
    // A request without `Accept` gets events, as from TGI.
    let events = stream("*/*");
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    assert_eq!(events.text(), stream("text/event-stream").text());
    let silent = server.post("/invocations", &[], body.as_bytes());
    assert_eq!(silent.text(), events.text());
    let tokens = check_events(&events.text(), &whole);
    assert!(tokens > 1);
    let lines = stream("application/json");
    assert_eq!(lines.header("content-type"), Some("application/jsonlines"));
    assert_eq!(lines.text().lines().count(), tokens);

    let beams = json!({"num_beams": 2, "max_new_tokens": 12});
    let whole = server.invoke(&json!({"inputs": TEXT, "parameters": beams})).json();
    let body = json!({"inputs": TEXT, "parameters": beams, "stream": true});
    let events = server.invoke(&body);
    assert!(check_events(&events.text(), summary_of(&whole)) > 1, "{}", events.text());
    let two = json!({"inputs": [TEXT, TEXT], "stream": true});
    assert_eq!(server.invoke(&two).status, 400);
    for (name, value) in [
        ("truncation", json!(false)),
        ("return_tensors", json!(true)),
        ("clean_up_tokenization_spaces", json!(true)),
    ] {
        let body = json!({"inputs": TEXT, "parameters": {name: value}, "stream": true});
        let refused = server.invoke(&body);
        assert_eq!(refused.status, 400, "{name}");
        assert!(refused.text().contains("cannot be streamed"), "{}", refused.text());
    }
}

#[test]
fn local_mode_answers_as_aws_does() {
    let server = Server::tiny(&[]);
    let body = json!({"inputs": TEXT}).to_string();
    let headers =
        [("Content-Type", "application/json"), ("X-Amzn-SageMaker-Custom-Attributes", "a=b")];
    let answer = server.post("/endpoints/my-endpoint/invocations", &headers, body.as_bytes());
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-amzn-invoked-production-variant"), Some("AllTraffic"));
    assert_eq!(answer.header("x-amzn-sagemaker-custom-attributes"), Some("a=b"));

    let error = server.post("/endpoints/my-endpoint/invocations", &headers, b"{}");
    assert_eq!(error.status, 424);
    assert_eq!(error.header("x-amzn-errortype"), Some("ModelError"));
    let error = error.json();
    assert_eq!(error["OriginalStatusCode"], 400);
    let original: Value = serde_json::from_str(error["OriginalMessage"].as_str().unwrap()).unwrap();
    assert_eq!(original["code"], 400);
    assert_eq!(
        server.post("/endpoints/bad_name/invocations", &headers, body.as_bytes()).status,
        400
    );

    for (name, value) in [
        ("X-Amzn-SageMaker-Target-Variant", "green"),
        ("X-Amzn-SageMaker-Target-Model", "other.tar.gz"),
        ("X-Amzn-SageMaker-Inference-Component", "part"),
    ] {
        let refused =
            server.post("/endpoints/my-endpoint/invocations", &[(name, value)], body.as_bytes());
        assert_eq!(refused.header("x-amzn-errortype"), Some("ValidationError"), "{name}");
        assert_eq!(refused.status, 400);
    }
    let named = [("X-Amzn-SageMaker-Target-Variant", "AllTraffic")];
    let answer = server.post("/endpoints/my-endpoint/invocations", &named, body.as_bytes());
    assert_eq!(answer.status, 200);

    let stream = server.post(
        "/endpoints/my-endpoint/invocations-response-stream",
        &headers,
        body.as_bytes(),
    );
    assert_eq!(stream.header("content-type"), Some("application/vnd.amazon.eventstream"));
    assert_eq!(stream.header("x-amzn-sagemaker-content-type"), Some("application/json"));
    let headers = [("X-Amzn-SageMaker-Accept", "text/plain"), ("Accept", "*/*")];
    let path = "/endpoints/my-endpoint/invocations-response-stream";
    let plain = server.post(path, &headers, body.as_bytes());
    let wrapped = plain.header("x-amzn-sagemaker-content-type");
    assert_eq!(wrapped, Some("text/plain"));

    let bytes = stream.body;
    let total = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    assert_eq!(total, bytes.len(), "one frame for one chunk");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains("PayloadPart") && text.contains("generated_text"), "{text}");
}

#[test]
fn models_come_and_go() {
    let model = bundle();
    let server =
        Server::start(&model, &[("SAGEMAKER_MULTI_MODEL", "true"), ("EPITOME_MODEL_MEMORY", "2")]);
    let load = |name: &str| {
        let body = json!({"model_name": name, "url": model.display().to_string()}).to_string();
        server.post("/models", &[("Content-Type", "application/json")], body.as_bytes())
    };
    let first = load("m1");
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(load("m1").status, 409);
    let url = model.display().to_string();
    assert_eq!(
        server.get("/models").json(),
        json!({"models": [{"modelName": "m1", "modelUrl": url}]})
    );
    assert_eq!(server.get("/models/m1").json()["modelName"], "m1");
    let body = json!({"inputs": TEXT}).to_string();
    assert_eq!(server.post("/models/m1/invoke", &[], body.as_bytes()).status, 200);
    assert_eq!(server.post("/models/m2/invoke", &[], body.as_bytes()).status, 404);
    assert_eq!(server.post("/invocations", &[], body.as_bytes()).status, 400);

    // Two megabytes hold a few tiny models, so the least recently used ones are unloaded.
    for index in 2..12 {
        assert_eq!(load(&format!("m{index}")).status, 200);
    }
    let names = server.get("/models").text();
    assert!(!names.contains("\"m1\"") && names.contains("\"m11\""), "{names}");
    assert_eq!(
        server.send("DELETE", "/models/m11", &[], b"").json(),
        json!({"status": "Model \"m11\" unregistered"})
    );
    assert_eq!(server.send("DELETE", "/models/m11", &[], b"").status, 404);

    let tight =
        Server::start(&model, &[("SAGEMAKER_MULTI_MODEL", "true"), ("EPITOME_MODEL_MEMORY", "0")]);
    let body = json!({"model_name": "m", "url": url}).to_string();
    assert_eq!(tight.post("/models", &[], body.as_bytes()).status, 507);
}

#[test]
fn a_checkpoint_is_exported_at_the_start() {
    let server = Server::start(&common::fixture("tiny/pegasus-relu"), &[]);
    assert_eq!(server.invoke(&json!({"inputs": TEXT})).status, 200);
}

#[test]
fn a_bad_model_is_told_by_ping_and_the_server_stays() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_any(folder.path(), &[]);
    let start = Instant::now();
    let ping = loop {
        let ping = server.get("/ping");
        assert_eq!(ping.status, 503);
        if !ping.text().contains("being loaded") || start.elapsed() > Duration::from_secs(20) {
            break ping;
        }
    };
    assert!(ping.text().contains("message"), "{}", ping.text());
    let answer = server.invoke(&json!({"inputs": TEXT}));
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
}

#[test]
fn metrics_count_what_was_done() {
    let server = Server::tiny(&[]);
    server.invoke(&json!({"inputs": TEXT}));
    server.invoke(&json!({}));
    let metrics = server.get("/metrics").text();
    for name in [
        "epitome_requests_total{route=\"/invocations\",code=\"200\"}",
        "epitome_requests_total{route=\"/invocations\",code=\"400\"}",
        "epitome_queue_depth",
        "epitome_batch_documents_bucket",
        "epitome_source_tokens_total",
        "epitome_generated_tokens_total",
        "epitome_encode_seconds_bucket",
        "epitome_step_seconds_bucket",
        "epitome_request_seconds_bucket",
        "# EOF",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let server = Server::tiny(&[]);
    let page = server.get("/");
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'self'"));
    for name in ["page/page.css", "page/main.js"] {
        let file = server.get(&format!("/{name}"));
        assert_eq!(file.status, 200, "{name}");
        assert!(page.text().contains(name), "{name}");
        assert!(!file.text().contains("https://"), "{name}");
    }
}

#[test]
fn documents_stay_out_of_the_log_unless_asked() {
    for (asked, log_text) in [("", false), ("true", true)] {
        let server = Server::tiny(&[("EPITOME_LOG_TEXT", asked)]);
        let id = [("X-Amzn-RequestId", "my-request")];
        server.post("/invocations", &id, br#"{"inputs":"A secret of the town."}"#);
        let log = server.stop();
        assert!(log.contains("my-request"), "{log}");
        assert_eq!(log.contains("A secret"), log_text, "{log}");
        for line in log.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
    }
}
