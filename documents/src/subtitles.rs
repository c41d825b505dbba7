//! Subtitles: the spoken text, without numbers, times and styles.

use crate::builder::{Builder, single_spaced};
use crate::document::Section;
use crate::error::ErrorKind;

/// Shortest pause before a new paragraph, in seconds.
const PAUSE: f64 = 4.0;

/// Sections of SubRip or WebVTT.
pub(crate) fn read(text: &str, limit: usize) -> Result<Option<Vec<Section>>, ErrorKind> {
    let mut builder = Builder::new(limit);
    let mut paragraph = String::new();
    let mut before = String::new();
    let mut last_end = 0.0;
    for block in blocks(text) {
        let Some((at, times)) = block.iter().enumerate().find(|(_, line)| line.contains("-->"))
        else {
            continue;
        };
        let (start, end) = times.split_once("-->").unwrap_or_default();
        let (start, end) = (seconds(start), seconds(end));
        if start - last_end > PAUSE {
            builder.paragraph(&std::mem::take(&mut paragraph))?;
        }
        last_end = end;
        for line in &block[at + 1..] {
            let line = single_spaced(&without_tags(line));
            // Rolling captions repeat the previous line.
            if line.is_empty() || line == before {
                continue;
            }
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(&line);
            before = line;
        }
    }
    builder.paragraph(&paragraph)?;
    Ok(builder.finish())
}

/// Blocks of lines between empty lines.
fn blocks(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let mut lines = text.lines().peekable();
    std::iter::from_fn(move || {
        while lines.next_if(|line| line.trim().is_empty()).is_some() {}
        lines.peek()?;
        let mut block = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.trim().is_empty()) {
            block.push(line);
        }
        Some(block)
    })
}

/// Parses `01:02:03,456` or `02:03.456`, with any text after it.
fn seconds(time: &str) -> f64 {
    let time = time.split_whitespace().next().unwrap_or_default().replace(',', ".");
    let parts = time.split(':').map(|part| part.parse::<f64>().unwrap_or(0.0));
    parts.fold(0.0, |sum, part| sum * 60.0 + part)
}

/// The line without tags such as `<i>` and `{\an8}`. A voice, `<v Name>`, is put before its words.
fn without_tags(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['<', '{']) {
        out.push_str(&rest[..at]);
        let close = if rest[at..].starts_with('<') { '>' } else { '}' };
        let is_tag = close == '>' || rest[at + 1..].starts_with('\\');
        let Some(end) = rest[at..].find(close).filter(|_| is_tag) else {
            out.push_str(&rest[at..=at]);
            rest = &rest[at + 1..];
            continue;
        };
        let tag = &rest[at + 1..at + end];
        if let Some(name) = tag.strip_prefix("v ").or_else(|| tag.strip_prefix("v.")) {
            out.push_str(name.rsplit_once(' ').map_or(name, |_| name).trim());
            out.push_str(": ");
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    for (entity, text) in [("&nbsp;", " "), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")] {
        if out.contains(entity) {
            out = out.replace(entity, text);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::read;

    fn text(subtitles: &str) -> String {
        read(subtitles, 1 << 20).unwrap().map_or(String::new(), |it| it[0].text.clone())
    }

    #[test]
    fn subrip() {
        let file = "1\n00:00:01,000 --> 00:00:02,000\n{\\an8}<i>Hello</i> there,\nhow are\n\n\
            2\n00:00:02,100 --> 00:00:03,000\nyou? I < 3\n\n\
            3\n00:01:00,000 --> 00:01:02,000\nLater.\n";
        assert_eq!(text(file), "Hello there, how are you? I < 3\n\nLater.");
    }

    #[test]
    fn webvtt() {
        let file = "WEBVTT - title\n\nNOTE a comment\n\nSTYLE\n::cue {}\n\nintro\n\
            00:01.000 --> 00:02.000 align:start\n<v Ann>Good <00:01.500>morning</v>\n\n\
            00:02.000 --> 00:03.000\n<v Ann>Good morning\nand &amp; welcome\n";
        assert_eq!(text(file), "Ann: Good morning and & welcome");
    }
}
