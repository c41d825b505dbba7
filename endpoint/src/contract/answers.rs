//! Bodies of answers.

use epitome_runtime::{Sequence, Summary};
use serde_json::{Value, json};

use super::invocation::Layout;
use crate::media::Format;
use crate::settings::{AnswerShape, ContractSettings};

/// The finished summaries of a request.
pub(crate) struct Answers {
    /// One for each `inputs`.
    pub(crate) answers: Vec<Answer>,
    /// How the inputs came.
    pub(crate) layout: Layout,
}

/// The summaries of one `inputs`.
pub(crate) struct Answer {
    /// One for each text.
    pub(crate) summaries: Vec<Summary>,
    /// Whether the texts came as a list.
    pub(crate) is_list: bool,
}

impl Answers {
    /// The body in this format.
    pub(crate) fn render(&self, format: Format, settings: &ContractSettings) -> String {
        match format {
            Format::Json | Format::EventStream => self.json(settings).to_string(),
            Format::JsonLines => self.json_lines(settings),
            Format::Csv => self.csv(settings.task.field()),
            Format::Text => self.text(),
        }
    }

    fn json(&self, settings: &ContractSettings) -> Value {
        match (self.layout, self.answers.as_slice()) {
            (Layout::Single, [answer]) => answer.json(settings),
            (_, answers) => answers.iter().map(|answer| answer.json(settings)).collect(),
        }
    }

    fn json_lines(&self, settings: &ContractSettings) -> String {
        let lines = |value: Value| format!("{value}\n");
        match (self.layout, self.answers.as_slice()) {
            (Layout::Single, [answer]) => match answer.json(settings) {
                Value::Array(values) => values.into_iter().map(lines).collect(),
                value => lines(value),
            },
            (_, answers) => answers.iter().map(|answer| lines(answer.json(settings))).collect(),
        }
    }

    fn csv(&self, field: &str) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let texts = self.sequences().map(|sequence| sequence.text.as_str());
        for text in std::iter::once(field).chain(texts) {
            writer.write_record([text]).expect("memory takes every record");
        }
        let bytes = writer.into_inner().expect("memory can be flushed");
        String::from_utf8(bytes).expect("CSV of texts is text")
    }

    /// A single summary as it is; several a line each, their own line breaks made blanks.
    fn text(&self) -> String {
        let texts: Vec<&str> = self.sequences().map(|sequence| sequence.text.as_str()).collect();
        match texts.as_slice() {
            [only] => (*only).to_owned(),
            texts => {
                texts.iter().map(|text| text.lines().collect::<Vec<_>>().join(" ") + "\n").collect()
            }
        }
    }

    fn sequences(&self) -> impl Iterator<Item = &Sequence> {
        self.summaries().flat_map(|summary| &summary.sequences)
    }

    /// All summaries.
    pub(crate) fn summaries(&self) -> impl Iterator<Item = &Summary> {
        self.answers.iter().flat_map(|answer| &answer.summaries)
    }
}

impl Answer {
    fn json(&self, settings: &ContractSettings) -> Value {
        let one = |summary: &Summary| -> Vec<Value> {
            let object = |sequence| object(settings.task.field(), sequence);
            summary.sequences.iter().map(object).collect()
        };
        let mut all: Vec<Vec<Value>> = self.summaries.iter().map(one).collect();
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
}

fn object(field: &str, sequence: &Sequence) -> Value {
    let mut object = json!({field: sequence.text});
    // Only where they were asked for with `output_scores`.
    if let Some(scores) = &sequence.token_scores {
        object["token_scores"] = json!(scores);
        if let Some(score) = sequence.score {
            object["score"] = json!(score);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use epitome_runtime::generation::StopReason;

    use super::*;
    use crate::settings::Task;

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
        let summaries = texts.iter().map(|texts| summary(texts)).collect();
        Answers { answers: vec![Answer { summaries, is_list }], layout: Layout::Single }
    }

    #[test]
    fn the_stock_containers_shapes() {
        let settings = ContractSettings::default();
        let json = |texts, is_list| answers(texts, is_list).render(Format::Json, &settings);
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
        assert_eq!(one.render(Format::Json, &settings), r#"{"summary_text":"a\nb"}"#);
        assert_eq!(one.render(Format::Text, &settings), "a\nb");
        assert_eq!(one.render(Format::Csv, &settings), "summary_text\n\"a\nb\"\n");
        let two = answers(&[&["a\nb"], &["c"]], true);
        assert_eq!(two.render(Format::Text, &settings), "a b\nc\n");
        assert_eq!(
            two.render(Format::JsonLines, &settings),
            "{\"summary_text\":\"a\\nb\"}\n{\"summary_text\":\"c\"}\n"
        );
    }

    #[test]
    fn every_line_is_answered_by_a_line() {
        let answer = |text| Answer { summaries: vec![summary(&[text])], is_list: false };
        let lines = Answers { answers: vec![answer("a"), answer("b")], layout: Layout::Lines };
        assert_eq!(
            lines.render(Format::JsonLines, &ContractSettings::default()),
            "[{\"generated_text\":\"a\"}]\n[{\"generated_text\":\"b\"}]\n"
        );
    }
}
