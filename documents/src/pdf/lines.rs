//! Joins letters to lines.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

use super::content::{Glyph, Glyphs};

/// A line of a page, or a part of it between column gaps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) text: String,
    /// Left end, in the direction of the line.
    pub(super) left: f64,
    pub(super) right: f64,
    /// Height of the base line, growing upwards.
    pub(super) base: f64,
    /// Most frequent font size.
    pub(super) size: f64,
    pub(super) is_bold: bool,
}

/// Smallest gap of a space, relative to the font size.
const SPACE: f64 = 0.14;
/// Smallest gap between columns of a table or of a page, relative to the font size.
const COLUMN: f64 = 2.5;

/// The lines of a page in drawing order, beginning with those in the most frequent direction.
pub(super) fn lines(page: Glyphs) -> Vec<Line> {
    // If all text of a page is marked as artifacts, the marks are wrong.
    let is_artifact = page.glyphs.iter().all(|glyph| glyph.is_artifact);
    let mut groups: [Vec<Letter<'_>>; 4] = Default::default();
    for glyph in page.glyphs.iter().filter(|glyph| is_artifact || !glyph.is_artifact) {
        let (letter, direction) = Letter::new(glyph, &page.text);
        groups[direction].push(letter);
    }
    let mut groups: Vec<Vec<Letter<'_>>> = groups.into();
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups.into_iter().flat_map(|group| of_direction(&group)).collect()
}

/// A letter in the coordinates of its direction.
struct Letter<'a> {
    text: &'a str,
    left: f64,
    right: f64,
    base: f64,
    size: f64,
    is_bold: bool,
}

impl<'a> Letter<'a> {
    /// The letter, and its direction in quarter turns.
    fn new(glyph: &Glyph, text: &'a str) -> (Self, usize) {
        let ((x0, y0), (x1, y1)) = (glyph.start, glyph.end);
        let (across, up) = (x1 - x0, y1 - y0);
        let direction = match (across.abs() >= up.abs(), across >= 0.0, up >= 0.0) {
            (true, true, _) => 0,
            (true, false, _) => 2,
            (false, _, true) => 1,
            (false, _, false) => 3,
        };
        let (left, right, base) = match direction {
            0 => (x0, x1, y0),
            1 => (y0, y1, -x0),
            2 => (-x0, -x1, -y0),
            _ => (-y0, -y1, x0),
        };
        let text = text.get(glyph.text.clone()).unwrap_or_default();
        (Self { text, left, right, base, size: glyph.size, is_bold: glyph.is_bold }, direction)
    }

    /// Whether the text is only white space.
    fn is_blank(&self) -> bool {
        self.text.chars().all(char::is_whitespace)
    }
}

fn of_direction(letters: &[Letter<'_>]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = Growing::default();
    for letter in letters {
        if !letter.is_blank() && !line.takes(letter) {
            lines.extend(std::mem::take(&mut line).finish());
        }
        line.push(letter);
    }
    lines.extend(line.finish());
    lines
}

/// An unfinished line.
#[derive(Default)]
struct Growing<'a> {
    text: String,
    /// Number of visible letters. Spaces are found by their gap and by themselves.
    count: usize,
    bold: usize,
    left: f64,
    right: f64,
    base: f64,
    size: f64,
    /// Numbers of letters by size, in tenths of a point.
    sizes: Vec<(i64, usize)>,
    last: Option<&'a str>,
    last_left: f64,
    has_space: bool,
}

impl<'a> Growing<'a> {
    /// Whether a letter continues this line.
    fn takes(&self, letter: &Letter<'_>) -> bool {
        if self.count == 0 {
            return true;
        }
        let size = self.size.max(letter.size);
        // Superscripts and subscripts leave the base line a little.
        let is_level = (letter.base - self.base).abs() < 0.55 * size;
        let gap = letter.left - self.right;
        is_level && gap > -0.9 * size && gap < COLUMN * size
    }

    fn push(&mut self, letter: &Letter<'a>) {
        if letter.is_blank() {
            self.has_space |= self.count > 0 && !letter.text.is_empty();
            return;
        }
        let gap = letter.left - self.right;
        if self.count == 0 {
            (self.left, self.base, self.size) = (letter.left, letter.base, letter.size);
        } else if self.has_space || gap > SPACE * letter.size.min(self.size).max(0.01) {
            self.text.push(' ');
        } else if self.last.is_some_and(|last| is_drawn_again(last, self.last_left, letter)) {
            // Some programs draw bold letters as two letters almost at the same position.
            return;
        } else if self.accent(letter) {
            self.right = self.right.max(letter.right);
            return;
        }
        self.text.push_str(letter.text);
        self.count += 1;
        self.bold += usize::from(letter.is_bold);
        let key = (letter.size * 10.0).round() as i64;
        match self.sizes.iter_mut().find(|(size, _)| *size == key) {
            Some((_, count)) => *count += 1,
            None => self.sizes.push((key, 1)),
        }
        // The larger letters determine the base line.
        if letter.size >= self.size * 0.95 {
            (self.base, self.size) = (letter.base, letter.size);
        }
        self.right = if self.count == 1 { letter.right } else { self.right.max(letter.right) };
        self.last = Some(letter.text);
        self.last_left = letter.left;
        self.has_space = false;
    }

    /// Attaches an accent that is drawn separately, before or after its letter, to this letter.
    fn accent(&mut self, letter: &Letter<'_>) -> bool {
        let is_over = letter.left < self.right - 0.2 * letter.size;
        let Some(last) = self.last.filter(|_| is_over) else { return false };
        let (mark, base) = match (combining(last), combining(letter.text)) {
            (Some(mark), None) => (mark, letter.text),
            (None, Some(mark)) => (mark, last),
            _ => return false,
        };
        if !base.chars().all(char::is_alphabetic) || !self.text.ends_with(last) {
            return false;
        }
        self.text.truncate(self.text.len() - last.len());
        let base = match base {
            "ı" => "i",
            "ȷ" => "j",
            base => base,
        };
        self.text.extend(base.chars().chain([mark]).nfc());
        self.last = None;
        true
    }

    fn finish(self) -> Option<Line> {
        let text = clean(&self.text);
        if text.is_empty() {
            return None;
        }
        let size = self.sizes.iter().max_by_key(|(_, count)| count).map_or(0, |(size, _)| *size);
        Some(Line {
            text,
            left: self.left,
            right: self.right,
            base: self.base,
            size: size as f64 / 10.0,
            is_bold: self.bold * 10 >= self.count * 9,
        })
    }
}

fn is_drawn_again(last: &str, left: f64, letter: &Letter<'_>) -> bool {
    last == letter.text && (letter.left - left).abs() < 0.1 * letter.size
}

/// The combining mark of a separate accent.
fn combining(text: &str) -> Option<char> {
    let mut characters = text.chars();
    let first = characters.next()?;
    if characters.next().is_some() {
        return None;
    }
    Some(match first {
        '`' | '\u{2cb}' => '\u{300}',
        '´' | '\u{2ca}' => '\u{301}',
        'ˆ' | '^' => '\u{302}',
        '˜' | '~' => '\u{303}',
        '¯' | '\u{2c9}' => '\u{304}',
        '˘' => '\u{306}',
        '˙' => '\u{307}',
        '¨' => '\u{308}',
        '˚' => '\u{30a}',
        '˝' => '\u{30b}',
        'ˇ' => '\u{30c}',
        '¸' => '\u{327}',
        '˛' => '\u{328}',
        mark if canonical_combining_class(mark) > 0 => mark,
        _ => return None,
    })
}

/// Replaces ligatures by letters, and cleans up spaces and leaders.
fn clean(text: &str) -> String {
    let mut letters = String::with_capacity(text.len());
    for character in text.nfc() {
        match character {
            // Latin ligatures, and Arabic presentation forms.
            '\u{fb00}'..='\u{fb06}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' => {
                letters.extend(std::iter::once(character).nfkc());
            }
            // Private-use characters, and characters without text.
            '\u{e000}'..='\u{f8ff}' | '\u{fffd}' | '\u{feff}' | '\u{200b}' => {}
            character if character.is_control() => letters.push(' '),
            character => letters.push(character),
        }
    }
    without_leaders(&letters)
}

/// The text with single spaces, and without the dot leaders of a table of contents.
fn without_leaders(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Length of the text before points that may be leaders, and number of the points.
    let (mut before, mut points) = (0, 0);
    for word in text.split_whitespace() {
        if word.chars().all(|it| matches!(it, '.' | '…' | '·' | '_')) {
            if points == 0 {
                before = out.len();
            }
            points += word.chars().count();
        } else {
            if points > 3 {
                out.truncate(before);
            }
            points = 0;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(leaders_off(word));
    }
    if points > 3 {
        out.truncate(before);
    }
    out.trim_end().to_owned()
}

/// The word without dot leaders at its end.
fn leaders_off(word: &str) -> &str {
    let kept = word.trim_end_matches('.');
    if word.len() - kept.len() > 3 { kept } else { word }
}

#[cfg(test)]
mod tests {
    use super::{clean, lines};
    use crate::pdf::content::{Glyph, Glyphs};

    /// Letters with a width of half their height, from left to right. `_` is a gap of a space, and
    /// `|` a gap between columns.
    fn page(text: &str, at: f64) -> Glyphs {
        let mut page = Glyphs::default();
        let mut x = 0.0;
        for letter in text.chars() {
            x += match letter {
                '_' => 3.0,
                '|' => 40.0,
                letter => {
                    let from = page.text.len();
                    page.text.push(letter);
                    page.glyphs.push(Glyph {
                        text: from..page.text.len(),
                        start: (x, at),
                        end: (x + 5.0, at),
                        size: 10.0,
                        is_bold: false,
                        is_artifact: false,
                    });
                    5.0
                }
            };
        }
        page
    }

    fn texts(page: Glyphs) -> Vec<String> {
        lines(page).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn gaps_are_spaces_and_columns() {
        assert_eq!(texts(page("one_two|three", 0.0)), ["one two", "three"]);
    }

    #[test]
    fn accents_go_on_their_letters() {
        let mut page = page("M¨uller", 0.0);
        // Places the accent over the letter that follows it.
        for glyph in &mut page.glyphs[2..] {
            glyph.start.0 -= 5.0;
            glyph.end.0 -= 5.0;
        }
        assert_eq!(texts(page), ["Müller"]);
    }

    #[test]
    fn ligatures_and_leaders() {
        assert_eq!(clean("e\u{fb03}cient o\u{fb00}er x² ½"), "efficient offer x² ½");
        assert_eq!(clean("Arrays . . . . . . 20"), "Arrays 20");
        assert_eq!(clean("Arrays........ 20"), "Arrays 20");
        assert_eq!(clean("wait . . . what"), "wait . . . what");
    }
}
