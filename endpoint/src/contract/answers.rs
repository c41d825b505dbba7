//! Bodies of answers.

use epitome_runtime::generation::StopReason;
use epitome_runtime::tokenizer::CLEAN_UP_TOKENIZATION;
use epitome_runtime::{Sequence, Summary};
use serde_json::{Value, json};

use super::invocation::{Layout, Shape};
use super::npy;
use crate::error::ApiError;
use crate::media::Format;
use crate::settings::{AnswerShape, ContractSettings, Task};

/// The finished summaries of a request.
pub(crate) struct Answers {
    /// One answer for each `inputs`.
    pub(crate) answers: Vec<Answer>,
    /// The form of the inputs.
    pub(crate) layout: Layout,
    /// Whether a token has no text, such as the end token.
    pub(crate) is_special: IsSpecial,
}

/// Tells whether a token has no text.
pub(crate) type IsSpecial = Box<dyn Fn(u32) -> bool + Send>;

/// The summaries of one `inputs`.
pub(crate) struct Answer {
    /// One summary for each text, or an error.
    pub(crate) summaries: Result<Vec<Summary>, ApiError>,
    /// Whether the texts came as a list.
    pub(crate) is_list: bool,
    /// The form of the answer.
    pub(crate) shape: Shape,
}

impl Answers {
    /// The body in the given format.
    pub(crate) fn render(&self, format: Format, settings: &ContractSettings) -> Vec<u8> {
        let is_records = matches!(self.layout, Layout::Records { .. });
        match format {
            Format::Npy => npy::write(&self.json(settings)),
            Format::Json | Format::EventStream if !is_records => {
                self.json(settings).to_string().into()
            }
            Format::Json | Format::JsonLines | Format::EventStream => {
                self.json_lines(settings).into()
            }
            Format::Csv => self.csv(settings.task.field()),
            Format::Text => self.text().into(),
        }
    }

    fn json(&self, settings: &ContractSettings) -> Value {
        match (self.layout, self.answers.as_slice()) {
            (Layout::Single, [answer]) => self.json_of(answer, settings),
            (_, answers) => answers.iter().map(|answer| self.json_of(answer, settings)).collect(),
        }
    }

    fn json_lines(&self, settings: &ContractSettings) -> String {
        let lines = |value: Value| format!("{value}\n");
        match (self.layout, self.answers.as_slice()) {
            (Layout::Single, [answer]) => match self.json_of(answer, settings) {
                Value::Array(values) => values.into_iter().map(lines).collect(),
                value => lines(value),
            },
            (_, answers) => {
                answers.iter().map(|answer| lines(self.json_of(answer, settings))).collect()
            }
        }
    }

    fn json_of(&self, answer: &Answer, settings: &ContractSettings) -> Value {
        answer.json(settings, &self.is_special)
    }

    /// One row for each text. In a transform job, one row for each record, with a field for each
    /// summary.
    fn csv(&self, field: &str) -> Vec<u8> {
        let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        let (header, rows) = match self.layout {
            Layout::Records { header } => (header, self.records()),
            _ => (true, self.texts().map(|text| vec![text]).collect()),
        };
        let header = header.then(|| vec![field.to_owned()]);
        for row in header.into_iter().chain(rows) {
            writer.write_record(&row).expect("memory takes every record");
        }
        writer.into_inner().expect("memory can be flushed")
    }

    /// A single text unchanged. Several texts take a line each, with their own line breaks replaced
    /// by blanks. In a transform job, each record takes a line, with tabs between its summaries.
    fn text(&self) -> String {
        let lines: Vec<String> = match self.layout {
            Layout::Records { .. } => self.records().iter().map(|texts| texts.join("\t")).collect(),
            _ => self.texts().collect(),
        };
        match lines.as_slice() {
            [only] if self.layout == Layout::Single => format!("{only}\n"),
            lines => lines.iter().map(|line| in_one_line(line) + "\n").collect(),
        }
    }

    /// The texts of all answers.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        self.answers.iter().flat_map(Answer::texts)
    }

    /// The texts of each answer without line breaks; a blank for an empty text.
    fn records(&self) -> Vec<Vec<String>> {
        let record = |answer: &Answer| {
            let texts: Vec<_> = answer.texts().iter().map(|text| in_one_line(text)).collect();
            if texts.is_empty() { vec![String::new()] } else { texts }
        };
        self.answers.iter().map(record).collect()
    }

    /// All summaries.
    pub(crate) fn summaries(&self) -> impl Iterator<Item = &Summary> {
        self.answers.iter().flat_map(|answer| &answer.summaries).flatten()
    }
}

impl Answer {
    fn json(&self, settings: &ContractSettings, is_special: &IsSpecial) -> Value {
        let summaries = match &self.summaries {
            Ok(summaries) => summaries,
            Err(error) => return error.body(),
        };
        let one = |summary: &Summary| -> Vec<Value> {
            let object = |sequence| self.shape.object(settings.task, summary, sequence, is_special);
            summary.sequences.iter().map(object).collect()
        };
        let mut all: Vec<Vec<Value>> = summaries.iter().map(one).collect();
        if !self.is_list {
            let mut own = all.pop().unwrap_or_default();
            return match (settings.shape, own.len()) {
                (AnswerShape::Object, 1) => own.remove(0),
                _ => Value::Array(own),
            };
        }
        if all.iter().all(|sequences| sequences.len() == 1) {
            all.into_iter().flatten().collect()
        } else {
            all.into_iter().map(Value::Array).collect()
        }
    }

    /// The texts of the sequences, or the error message.
    fn texts(&self) -> Vec<String> {
        match &self.summaries {
            Err(error) => vec![format!("error: {error}")],
            Ok(summaries) => {
                let sequences = summaries.iter().flat_map(|summary| &summary.sequences);
                sequences.map(|sequence| self.shape.text(sequence)).collect()
            }
        }
    }
}

impl Shape {
    fn object(
        self,
        task: Task,
        summary: &Summary,
        sequence: &Sequence,
        is_special: &IsSpecial,
    ) -> Value {
        let mut object = match self.token_ids {
            true => json!({task.token_field(): sequence.token_ids}),
            false => json!({task.field(): self.text(sequence)}),
        };
        // Scores exist only with `output_scores`.
        if let Some(scores) = &sequence.token_scores {
            object["token_scores"] = json!(scores);
            if let Some(score) = sequence.score {
                object["score"] = json!(score);
            }
        }
        if self.details {
            let ended_by_token = sequence.token_ids.last().is_none_or(|id| is_special(*id));
            let finish_reason = match summary.stopped {
                StopReason::Finished if ended_by_token => "eos_token",
                StopReason::Finished => "stop_sequence",
                _ => "length",
            };
            object["details"] = json!({
                "finish_reason": finish_reason,
                "generated_tokens": sequence.token_ids.len().saturating_sub(1),
                "input_length": summary.input_tokens,
                "seed": null,
                "prefill": [],
                "tokens": [],
            });
        }
        object
    }

    fn text(self, sequence: &Sequence) -> String {
        match self.clean_up {
            true => cleaned_up(&sequence.text),
            false => sequence.text.clone(),
        }
    }
}

fn in_one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

/// Cleans up a text like `clean_up_tokenization` of transformers' tokenizers.
fn cleaned_up(text: &str) -> String {
    CLEAN_UP_TOKENIZATION
        .iter()
        .fold(text.to_owned(), |text, (found, clean)| text.replace(found, clean))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(texts: &[&str]) -> Summary {
        let sequence = |text: &&str| Sequence {
            text: (*text).into(),
            token_ids: vec![0, 1],
            score: None,
            token_scores: None,
        };
        Summary {
            sequences: texts.iter().map(sequence).collect(),
            input_tokens: 3,
            truncated: false,
            steps: 2,
            stopped: StopReason::Finished,
            timing: Default::default(),
            read: None,
        }
    }

    fn answers(texts: &[&[&str]], is_list: bool) -> Answers {
        let is_special = Box::new(|id| id == 1);
        let summaries = texts.iter().map(|texts| summary(texts)).collect();
        let answer = Answer { summaries: Ok(summaries), is_list, shape: Shape::default() };
        Answers { answers: vec![answer], layout: Layout::Single, is_special }
    }

    fn render(answers: &Answers, format: Format, settings: &ContractSettings) -> String {
        String::from_utf8(answers.render(format, settings)).unwrap()
    }

    #[test]
    fn the_stock_containers_shapes() {
        let settings = ContractSettings::default();
        let json = |texts, is_list| render(&answers(texts, is_list), Format::Json, &settings);
        assert_eq!(json(&[&["a"]], false), r#"[{"generated_text":"a"}]"#);
        assert_eq!(json(&[&["a"]], true), r#"[{"generated_text":"a"}]"#);
        assert_eq!(
            json(&[&["a"], &["b"]], true),
            r#"[{"generated_text":"a"},{"generated_text":"b"}]"#
        );
        assert_eq!(
            json(&[&["a", "b"]], false),
            r#"[{"generated_text":"a"},{"generated_text":"b"}]"#
        );
        assert_eq!(
            json(&[&["a", "b"]], true),
            r#"[[{"generated_text":"a"},{"generated_text":"b"}]]"#
        );
        assert_eq!(json(&[], true), "[]");
    }

    #[test]
    fn the_tutorials_shape_and_other_formats() {
        let settings = ContractSettings {
            shape: AnswerShape::Object,
            task: Task::Summarization,
            ..Default::default()
        };
        let one = answers(&[&["a\nb"]], false);
        assert_eq!(render(&one, Format::Json, &settings), r#"{"summary_text":"a\nb"}"#);
        assert_eq!(render(&one, Format::Text, &settings), "a\nb\n");
        assert_eq!(render(&one, Format::Csv, &settings), "summary_text\n\"a\nb\"\n");
        let two = answers(&[&["a\nb"], &["c"]], true);
        assert_eq!(render(&two, Format::Text, &settings), "a b\nc\n");
        assert_eq!(
            render(&two, Format::JsonLines, &settings),
            "{\"summary_text\":\"a\\nb\"}\n{\"summary_text\":\"c\"}\n"
        );
    }

    #[test]
    fn every_line_is_answered_by_a_line() {
        let answer = |text| answers(&[&[text]], false).answers.remove(0);
        let lines = Answers {
            answers: vec![answer("a"), answer("b")],
            layout: Layout::Lines,
            ..answers(&[], true)
        };
        assert_eq!(
            render(&lines, Format::JsonLines, &ContractSettings::default()),
            "[{\"generated_text\":\"a\"}]\n[{\"generated_text\":\"b\"}]\n"
        );
    }

    #[test]
    fn every_record_of_a_transform_job_is_answered_by_one_line() {
        let bad = || Err(ApiError::BadRequest("not JSON".into()));
        let all = |header| {
            let mut all = answers(&[&["a\nb"]], false).answers;
            all.extend(answers(&[&["c"], &["d"]], true).answers);
            all.extend(answers(&[], true).answers);
            all.push(Answer { summaries: bad(), is_list: false, shape: Shape::default() });
            Answers { answers: all, layout: Layout::Records { header }, ..answers(&[], true) }
        };
        let settings = ContractSettings::default();
        for format in [Format::Json, Format::JsonLines, Format::Csv, Format::Text] {
            let body = render(&all(false), format, &settings);
            assert_eq!((body.lines().count(), body.ends_with('\n')), (4, true), "{body}");
        }
        let text = render(&all(false), Format::Text, &settings);
        assert_eq!(text, "a b\nc\td\n\nerror: not JSON\n");
        let json = render(&all(false), Format::Json, &settings);
        let lines: Vec<Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[2], json!([]));
        assert_eq!((&lines[3]["code"], &lines[3]["error"]), (&json!(400), &json!("not JSON")));
        let csv = render(&all(true), Format::Csv, &settings);
        assert_eq!(csv, "generated_text\na b\nc,d\n\"\"\nerror: not JSON\n");
    }

    #[test]
    fn the_shapes_of_pipelines() {
        let with = |shape| {
            let mut answers = answers(&[&["It 's a town , is n't it ?"]], false);
            answers.answers[0].shape = shape;
            answers.json(&ContractSettings::default())
        };
        let clean_up = Shape { clean_up: true, ..Shape::default() };
        assert_eq!(with(clean_up), json!([{"generated_text": "It's a town, isn't it?"}]));
        let token_ids = Shape { token_ids: true, ..Shape::default() };
        assert_eq!(with(token_ids), json!([{"generated_token_ids": [0, 1]}]));
        let details = Shape { details: true, ..Shape::default() };
        assert_eq!(with(details)[0]["details"]["generated_tokens"], 1);
        assert_eq!(with(details)[0]["details"]["finish_reason"], "eos_token");
        let mut stopped = answers(&[&["a."]], false);
        stopped.answers[0].shape = details;
        stopped.answers[0].summaries.as_mut().unwrap()[0].sequences[0].token_ids = vec![0, 7];
        let stopped = stopped.json(&ContractSettings::default());
        assert_eq!(stopped[0]["details"]["finish_reason"], "stop_sequence");
    }
}
