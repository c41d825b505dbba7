//! Summaries on standard output.

use std::io::{self, Write};
use std::time::Duration;

use epitome_runtime::{Sequence, Summary};
use serde_json::json;

/// Space between two columns.
const GAP: &str = "  ";
/// Narrowest column that is still easy to read.
const MIN_WIDTH: usize = 16;

/// Writes one JSON object per line, for each returned sequence, best first.
pub(crate) fn json(
    out: &mut dyn Write,
    source: &str,
    summary: &Summary,
    length_penalty: Option<f64>,
) -> io::Result<()> {
    for sequence in &summary.sequences {
        let timing = &summary.timing;
        let mut line = json!({
            "source": source,
            "generated_text": sequence.text,
            "token_ids": sequence.token_ids,
            "score": sequence.score,
            "input_tokens": summary.input_tokens,
            "truncated": summary.truncated,
            "steps": summary.steps,
            "seconds": {
                "tokenize": timing.tokenize.as_secs_f64(),
                "encode": timing.encode.as_secs_f64(),
                "decode": timing.decode.as_secs_f64(),
                "total": timing.total().as_secs_f64(),
            },
        });
        if let Some(read) = summary.read {
            line["words"] = read.words.into();
            line["words_read"] = read.words_read.into();
            line["parts"] = read.parts.into();
        }
        if let Some(penalty) = length_penalty {
            line["length_penalty"] = penalty.into();
        }
        if let Some(scores) = &sequence.token_scores {
            line["token_scores"] = json!(scores);
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// One document's summaries at one length penalty.
pub(crate) struct Column {
    /// The length penalty; `None` for the model's own.
    pub(crate) penalty: Option<f64>,
    /// Length and latency.
    pub(crate) facts: String,
    /// The summaries, best first.
    pub(crate) texts: Vec<String>,
}

impl Column {
    /// The column of a local summary.
    pub(crate) fn of(penalty: Option<f64>, summary: &Summary) -> Self {
        Self {
            penalty,
            facts: facts(summary),
            texts: summary.sequences.iter().map(|s| s.text.clone()).collect(),
        }
    }
}

/// Writes one document at several length penalties side by side, with lengths and latencies.
pub(crate) fn side_by_side(out: &mut dyn Write, columns: &[Column]) -> io::Result<()> {
    let width = textwrap::termwidth().min(120);
    let gaps = GAP.len() * columns.len().saturating_sub(1);
    let width = (width.saturating_sub(gaps) / columns.len().max(1)).max(MIN_WIDTH);
    let cells: Vec<Vec<String>> = columns
        .iter()
        .map(|column| {
            let penalty = column.penalty;
            let penalty = penalty.map_or_else(|| "default".into(), |penalty| penalty.to_string());
            let mut cell =
                vec![format!("length_penalty {penalty}"), column.facts.clone(), "-".repeat(width)];
            for text in &column.texts {
                cell.extend(textwrap::wrap(text, width).into_iter().map(String::from));
            }
            cell
        })
        .collect();
    for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
        let row: Vec<String> = cells
            .iter()
            .map(|cell| {
                let text = cell.get(line).map_or("", String::as_str);
                let padding = width.saturating_sub(textwrap::core::display_width(text));
                format!("{text}{}", " ".repeat(padding))
            })
            .collect();
        writeln!(out, "{}", row.join(GAP).trim_end())?;
    }
    Ok(())
}

fn facts(summary: &Summary) -> String {
    let tokens = summary.sequences.first().map_or(0, generated_tokens);
    format!("{tokens} tokens, {}", milliseconds(summary.timing.total()))
}

/// Number of generated tokens, which excludes the start token.
pub(crate) fn generated_tokens(sequence: &Sequence) -> usize {
    sequence.token_ids.len().saturating_sub(1)
}

/// A duration in milliseconds, for people.
pub(crate) fn milliseconds(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1e3;
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{milliseconds:.0} ms")
    }
}

/// Writes the AWS calls of a command: one object per call, with the operation and its body.
#[cfg(feature = "aws")]
pub(crate) fn calls(
    out: &mut dyn Write,
    calls: impl IntoIterator<Item = (&'static str, serde_json::Value)>,
) -> io::Result<()> {
    for (operation, body) in calls {
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({operation: body}))?)?;
    }
    out.flush()
}
