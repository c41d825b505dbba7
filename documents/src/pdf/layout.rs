//! Converts lines to paragraphs and headings, and removes headers and footers.

use std::collections::{HashMap, HashSet};

use super::lines::Line;
use crate::builder::Builder;
use crate::error::ErrorKind;

/// Number of lines at the top and at the bottom that may be headers and footers.
const EDGE: usize = 3;
/// Smallest number of pages with the same line for a header.
const REPEATED: usize = 3;
/// Smallest ratio between the sizes of a heading and the body.
const LARGER: f64 = 1.12;
/// Longest heading in bytes.
const MAX_HEADING: usize = 200;

/// Adds the text of the pages, and returns the largest heading of the first page that has text.
pub(super) fn build(
    pages: Vec<Vec<Line>>,
    builder: &mut Builder,
) -> Result<Option<String>, ErrorKind> {
    let pages = without_furniture(pages);
    let body = body_size(&pages);
    let words = Words::of(&pages);
    let mut title = None;
    let mut writer = Writer { builder, words, open: None, body };
    for (number, page) in (1_u32..).zip(&pages) {
        if title.is_none() && !page.is_empty() {
            title = Some(largest(page, body));
        }
        writer.page(number, page)?;
    }
    writer.close()?;
    Ok(title.flatten())
}

/// The most frequent font size.
fn body_size(pages: &[Vec<Line>]) -> f64 {
    let mut sizes: HashMap<i64, usize> = HashMap::new();
    for line in pages.iter().flatten() {
        *sizes.entry((line.size * 10.0).round() as i64).or_default() += line.text.len();
    }
    let most = sizes.into_iter().max_by_key(|(size, count)| (*count, *size));
    most.map_or(0.0, |(size, _)| size as f64 / 10.0)
}

/// The lines in the largest letters of a page, if they are larger than the body.
fn largest(page: &[Line], body: f64) -> Option<String> {
    let is_word = |line: &&Line| line.text.chars().filter(|it| it.is_alphabetic()).count() > 2;
    let size = page.iter().filter(is_word).map(|line| line.size).fold(0.0, f64::max);
    if size < body * LARGER {
        return None;
    }
    let of_size = |line: &&Line| line.size > size * 0.97;
    let lines: Vec<&str> = page
        .iter()
        .skip_while(|line| !of_size(line))
        .take_while(of_size)
        .map(|line| line.text.as_str())
        .collect();
    Some(lines.join(" ")).filter(|title| title.len() <= MAX_HEADING)
}

/// Removes headers, footers and page numbers. These are lines at the top or the bottom that occur,
/// apart from their numbers, on several pages at the same height. Other lines at a height where
/// most pages have such a line are removed too, such as the name of a chapter of two pages.
fn without_furniture(mut pages: Vec<Vec<Line>>) -> Vec<Vec<Line>> {
    let edges: Vec<Vec<Edge>> = pages.iter().map(|page| edges(page)).collect();
    let mut counts: HashMap<(&str, i64), usize> = HashMap::new();
    for page in &edges {
        let keys: HashSet<(&str, i64)> =
            page.iter().map(|edge| (edge.pattern.as_str(), edge.height)).collect();
        for (pattern, height) in keys {
            // Heights are rounded, so neighbours match too.
            for height in height - 1..=height + 1 {
                *counts.entry((pattern, height)).or_default() += 1;
            }
        }
    }
    let enough = REPEATED.min(pages.len().max(2));
    let is_repeated = |edge: &Edge| {
        counts.get(&(edge.pattern.as_str(), edge.height)).is_some_and(|count| *count >= enough)
    };
    // For each height, the outermost lines there: how many of them repeat, and their number.
    let mut heights: HashMap<i64, (usize, usize)> = HashMap::new();
    for edge in edges.iter().flatten().filter(|edge| edge.is_outermost) {
        let (repeated, all) = heights.entry(edge.height).or_default();
        *repeated += usize::from(is_repeated(edge));
        *all += 1;
    }
    let is_of_header = |edge: &Edge| {
        let (repeated, all) = heights.get(&edge.height).copied().unwrap_or_default();
        edge.is_outermost && repeated >= enough && repeated * 2 >= all
    };
    for (page, edges) in pages.iter_mut().zip(&edges) {
        let is_out = |edge: &&Edge| is_repeated(edge) || is_of_header(edge);
        let out: HashSet<usize> = edges.iter().filter(is_out).map(|edge| edge.line).collect();
        let mut at = 0;
        page.retain(|_| {
            at += 1;
            !out.contains(&(at - 1))
        });
    }
    pages
}

/// A line among the highest or the lowest of its page.
struct Edge {
    /// Index in the page.
    line: usize,
    /// Text without numbers.
    pattern: String,
    /// Rounded height.
    height: i64,
    /// Whether it is the highest or the lowest.
    is_outermost: bool,
}

fn edges(page: &[Line]) -> Vec<Edge> {
    let mut order: Vec<usize> = (0..page.len()).collect();
    order.sort_by(|a, b| page[*b].base.total_cmp(&page[*a].base));
    // Parts of one line, such as a title and a page number, count as one.
    let mut levels: Vec<Vec<usize>> = Vec::new();
    for at in order {
        match levels.last_mut() {
            Some(level) if (page[level[0]].base - page[at].base).abs() < 2.0 => level.push(at),
            _ => levels.push(vec![at]),
        }
    }
    let count = levels.len();
    let mut edges = Vec::new();
    for (at, level) in levels.into_iter().enumerate() {
        if at >= EDGE && at + EDGE < count {
            continue;
        }
        edges.extend(level.into_iter().map(|line| Edge {
            line,
            pattern: pattern(&page[line].text),
            height: (page[line].base / 3.0).round() as i64,
            is_outermost: at == 0 || at + 1 == count,
        }));
    }
    edges
}

/// The text of a line without Arabic and Roman numbers.
fn pattern(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let is_roman = word.chars().all(|it| matches!(it, 'i' | 'v' | 'x' | 'l' | 'c'));
        if is_roman {
            return "#".to_owned();
        }
        let mut out = String::new();
        for character in word.chars() {
            if !character.is_numeric() {
                out.extend(character.to_lowercase());
            } else if !out.ends_with('#') {
                out.push('#');
            }
        }
        out
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Words inside of lines. They tell how to join hyphenated words at line ends.
struct Words(HashSet<String>);

impl Words {
    fn of(pages: &[Vec<Line>]) -> Self {
        let words = pages.iter().flatten().flat_map(|line| {
            let mut words: Vec<&str> = line.text.split_whitespace().collect();
            // The last word of a line may be hyphenated.
            words.pop();
            words
        });
        let plain = words.map(|word| word.trim_matches(|it: char| !it.is_alphanumeric()));
        let worth = plain.filter(|word| word.len() > 3);
        Self(worth.map(str::to_lowercase).collect())
    }

    /// Joins a line, which may end with a hyphen, and the next one.
    fn join(&self, text: &mut String, next: &str) {
        let without = text.strip_suffix(['-', '\u{ad}', '\u{2010}']);
        let Some(without) = without.filter(|text| text.ends_with(char::is_alphabetic)) else {
            text.push(' ');
            text.push_str(next);
            return;
        };
        let is_soft = text.ends_with('\u{ad}');
        let is_letter = |it: char| it.is_alphanumeric() || it == '-';
        let first = without.rsplit(|it| !is_letter(it)).next().unwrap_or_default().to_lowercase();
        let second = next.split(|it| !is_letter(it)).next().unwrap_or_default().to_lowercase();
        let starts_small = next.starts_with(char::is_lowercase);
        let is_compound = self.0.contains(&format!("{first}-{second}"));
        let is_word = self.0.contains(&format!("{first}{second}"));
        // Keeps the hyphen in a word that has another one, or before a name.
        let keeps = !is_soft
            && (!starts_small || (is_compound && !is_word) || (first.contains('-') && !is_word));
        if !keeps {
            let length = without.len();
            text.truncate(length);
        }
        text.push_str(next);
    }
}

/// Makes paragraphs and headings from lines.
struct Writer<'b> {
    builder: &'b mut Builder,
    words: Words,
    /// The current paragraph, which the next line may continue.
    open: Option<Open>,
    body: f64,
}

/// An unfinished paragraph or heading.
struct Open {
    text: String,
    first: Line,
    last: Line,
    /// Right end of its longest line.
    right: f64,
    lines: usize,
    is_heading: bool,
    /// Page after which it began; set once it is written.
    page: Option<u32>,
}

impl Writer<'_> {
    fn page(&mut self, number: u32, lines: &[Line]) -> Result<(), ErrorKind> {
        let gap = usual_gap(lines);
        let mut page = Some(number);
        for (at, line) in lines.iter().enumerate() {
            let next = lines.get(at + 1);
            let is_heading =
                self.is_heading(line, at.checked_sub(1).map(|at| &lines[at]), next, gap);
            let is_same = self.open.as_ref().is_some_and(|open| {
                open.is_heading == is_heading
                    && if at == 0 {
                        goes_on_over_page(open, line)
                    } else {
                        goes_on(open, line, gap)
                    }
            });
            match self.open.as_mut().filter(|_| is_same) {
                Some(open) => {
                    self.words.join(&mut open.text, &line.text);
                    open.right = open.right.max(line.right);
                    open.last = line.clone();
                    open.lines += 1;
                }
                None => {
                    self.close()?;
                    self.open = Some(Open {
                        text: line.text.clone(),
                        first: line.clone(),
                        last: line.clone(),
                        right: line.right,
                        lines: 1,
                        is_heading,
                        page: page.take(),
                    });
                }
            }
        }
        // The whole page continues a paragraph of an earlier page, or is empty.
        Ok(())
    }

    fn close(&mut self) -> Result<(), ErrorKind> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if let Some(page) = open.page {
            self.builder.page(page);
        }
        if open.is_heading && open.text.len() <= MAX_HEADING {
            self.builder.heading(&open.text)
        } else {
            self.builder.paragraph(&open.text)
        }
    }

    /// Whether a line is a heading: it has larger letters, or is bold and alone.
    fn is_heading(
        &self,
        line: &Line,
        before: Option<&Line>,
        after: Option<&Line>,
        gap: f64,
    ) -> bool {
        let letters = line.text.chars().filter(|it| it.is_alphabetic()).count();
        if letters < 2 || line.text.ends_with([',', ';', ':']) {
            return false;
        }
        if line.size >= self.body * LARGER {
            return true;
        }
        let is_apart = |other: Option<&Line>| {
            other.is_none_or(|it| {
                (it.base - line.base).abs() > gap * 1.15 || it.base > line.base + 1.0
            })
        };
        let begins = line.text.starts_with(|it: char| it.is_uppercase() || it.is_ascii_digit());
        line.is_bold
            && line.size >= self.body * 0.95
            && begins
            && !line.text.ends_with('.')
            && line.text.len() < 120
            && is_apart(before)
            && after.is_some_and(|after| !after.is_bold)
    }
}

/// The usual distance between lines of a page.
fn usual_gap(lines: &[Line]) -> f64 {
    let mut counts: HashMap<i64, usize> = HashMap::new();
    for pair in lines.windows(2) {
        let gap = pair[0].base - pair[1].base;
        if gap > 1.0 && gap < 4.0 * pair[0].size.max(1.0) {
            *counts.entry((gap * 2.0).round() as i64).or_default() += pair[1].text.len();
        }
    }
    let most = counts.into_iter().max_by_key(|(gap, count)| (*count, -*gap));
    most.map_or(12.0, |(gap, _)| gap as f64 / 2.0)
}

/// Whether a line continues the paragraph before it on the same page.
fn goes_on(open: &Open, line: &Line, gap: f64) -> bool {
    let last = &open.last;
    let size = last.size.max(line.size).max(1.0);
    if (last.size - line.size).abs() > 0.12 * size {
        return false;
    }
    let down = last.base - line.base;
    // The line is the other half of a line.
    if down.abs() < 0.3 * size {
        return true;
    }
    // The line is in the next column.
    if down < 0.0 {
        return !open.is_heading && goes_on_over_page(open, line);
    }
    if down > 1.3 * gap.max(size) && down > 1.35 * size {
        return false;
    }
    if open.is_heading {
        return true;
    }
    if is_item(&line.text) {
        return false;
    }
    // The first line of a paragraph may be indented.
    let start = if open.lines > 1 { last.left } else { open.first.left.min(last.left) };
    if line.left > start + 0.7 * size && !(open.lines == 1 && is_item(&open.text)) {
        return false;
    }
    // A short line that ends a sentence ends its paragraph.
    let is_short = last.right < open.right.max(line.right) - 4.0 * size;
    !(is_short && ends_sentence(&last.text) && begins_sentence(&line.text))
}

/// Whether a line continues a paragraph of the previous page or column.
fn goes_on_over_page(open: &Open, line: &Line) -> bool {
    let is_alike = (open.last.size - line.size).abs() <= 0.12 * line.size.max(1.0);
    is_alike && !ends_sentence(&open.text) && !begins_sentence(&line.text) && !open.is_heading
}

fn ends_sentence(text: &str) -> bool {
    let text = text.trim_end_matches(['"', '\'', '”', '’', ')', ']', '»']);
    text.ends_with(['.', '!', '?', ':', '。', '！', '？'])
}

fn begins_sentence(text: &str) -> bool {
    !text.starts_with(|it: char| it.is_lowercase())
}

/// Whether a line begins with a bullet or a list number.
fn is_item(text: &str) -> bool {
    let Some((first, rest)) = text.split_once(' ') else { return false };
    let is_bullet =
        matches!(first, "•" | "–" | "—" | "-" | "*" | "◦" | "▪" | "■" | "●" | "○" | "‣" | "·");
    let number = first.trim_start_matches('(');
    let is_number = number.strip_suffix(['.', ')']).is_some_and(|number| {
        !number.is_empty() && number.len() < 4 && {
            number.bytes().all(|it| it.is_ascii_digit()) || number.len() == 1
        }
    });
    is_bullet || (is_number && rest.starts_with(|it: char| it.is_uppercase() || it.is_numeric()))
}

#[cfg(test)]
mod tests {
    use super::build;
    use crate::builder::Builder;
    use crate::document::Section;
    use crate::pdf::lines::Line;

    fn line(text: &str, base: f64, size: f64) -> Line {
        let right = 50.0 + text.len() as f64 * size / 2.0;
        Line { text: text.into(), left: 50.0, right, base, size, is_bold: false }
    }

    fn sections(pages: Vec<Vec<Line>>) -> Vec<Section> {
        let mut builder = Builder::new(1 << 20);
        build(pages, &mut builder).unwrap();
        builder.finish().unwrap()
    }

    /// A page with a line distance of 12 points.
    fn page(lines: &[&str]) -> Vec<Line> {
        (0..).zip(lines).map(|(at, text)| line(text, 700.0 - 12.0 * f64::from(at), 10.0)).collect()
    }

    #[test]
    fn words_that_a_line_cuts_are_joined() {
        let lines = [
            "the whole bridge is well-known and the bridge is north-",
            "ern and well-",
            "known, say New-",
            "York and the soft\u{ad}",
            "ware",
        ];
        assert_eq!(
            sections(vec![page(&lines)])[0].text,
            "the whole bridge is well-known and the bridge is northern and well-known, say \
             New-York and the software"
        );
    }

    #[test]
    fn headers_and_numbers_are_left_out() {
        let text = ["Sentences of this page are all their own, and end here.", "One more."];
        let pages = (1..=6).map(|number| {
            let mut page = page(
                &text
                    .map(|text| format!("{text} {}", "y".repeat(number)))
                    .each_ref()
                    .map(String::as_str),
            );
            let chapter = ["One", "Two", "Three", "Four", "Five", "Six"][number - 1];
            let header = if number < 5 { "The Gazette" } else { chapter };
            page.insert(0, line(header, 760.0, 10.0));
            page.push(line(&format!("{number}"), 40.0, 10.0));
            page
        });
        let text: Vec<String> =
            sections(pages.collect()).into_iter().map(|section| section.text).collect();
        let text = text.join(" ");
        assert!(!text.contains("Gazette") && !text.contains("Five"), "{text}");
        assert!(!text.contains(|it: char| it.is_ascii_digit()), "{text}");
        assert_eq!(text.matches("One more.").count(), 6, "{text}");
    }

    #[test]
    fn a_paragraph_goes_on_over_the_page() {
        let sections = sections(vec![
            page(&["A first paragraph ends here.", "The second one goes"]),
            page(&["on here.", "The third."]),
            page(&["Alone."]),
        ]);
        let found: Vec<_> = sections.iter().map(|it| (it.page, it.text.as_str())).collect();
        assert_eq!(found[0].0, Some(1));
        assert!(found[0].1.ends_with("The second one goes on here."), "{found:?}");
        assert_eq!(found.last().unwrap(), &(Some(3), "Alone."));
    }

    #[test]
    fn larger_lines_are_headings() {
        let mut lines = page(&["Body text of the page, long enough to be the body of it all."; 4]);
        lines.insert(0, line("A heading", 720.0, 14.0));
        let sections = sections(vec![lines]);
        assert_eq!(sections[0].heading.as_deref(), Some("A heading"));
        assert_eq!(sections[0].page, Some(1));
    }
}
