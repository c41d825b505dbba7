//! The maximum length of a summary.

use std::fmt;
use std::str::FromStr;

/// The maximum length of a summary, in words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// 60 words: a paragraph.
    Short,
    /// 150 words: an abstract.
    Medium,
    /// 400 words: a page.
    Long,
    /// A number of words.
    Words(usize),
    /// A share of the document's words, in percent.
    Percent(f64),
}

impl Length {
    /// Maximum number of words in the summary of a document with `words` words; at least one.
    pub fn words(self, words: usize) -> usize {
        let max = match self {
            Self::Short => 60,
            Self::Medium => 150,
            Self::Long => 400,
            Self::Words(max) => max,
            Self::Percent(percent) => (words as f64 * percent / 100.0).round() as usize,
        };
        max.max(1)
    }
}

/// A text that is not a length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a length: give short, medium, long, a number of words such as '120 words', or a \
     share of the document such as '10%'"
)]
pub struct LengthError(String);

impl FromStr for Length {
    type Err = LengthError;

    fn from_str(text: &str) -> Result<Self, LengthError> {
        let wrong = || LengthError(text.chars().take(40).collect());
        let name = text.trim().to_ascii_lowercase();
        match name.as_str() {
            "short" => return Ok(Self::Short),
            "medium" => return Ok(Self::Medium),
            "long" => return Ok(Self::Long),
            _ => {}
        }
        if let Some(percent) = name.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            return match percent > 0.0 && percent <= 100.0 {
                true => Ok(Self::Percent(percent)),
                false => Err(wrong()),
            };
        }
        let number = ["words", "word", "w"].iter().find_map(|unit| name.strip_suffix(unit));
        match number.unwrap_or(&name).trim().parse() {
            Ok(words) if words > 0 => Ok(Self::Words(words)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => formatter.write_str("short"),
            Self::Medium => formatter.write_str("medium"),
            Self::Long => formatter.write_str("long"),
            Self::Words(words) => write!(formatter, "{words} words"),
            Self::Percent(percent) => write!(formatter, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_they_are_written() {
        for (text, length) in [
            ("short", Length::Short),
            ("Medium", Length::Medium),
            ("long", Length::Long),
            ("120", Length::Words(120)),
            ("120 words", Length::Words(120)),
            ("1 word", Length::Words(1)),
            ("120w", Length::Words(120)),
            ("10%", Length::Percent(10.0)),
            ("2.5 %", Length::Percent(2.5)),
        ] {
            assert_eq!(text.parse(), Ok(length), "{text}");
            assert_eq!(length.to_string().parse(), Ok(length), "{length}");
        }
        for text in ["", "0", "-3", "tall", "0%", "101%", "NaN%", "1e3", "9".repeat(30).as_str()] {
            let error = text.parse::<Length>().unwrap_err().to_string();
            assert!(error.contains("10%"), "{error}");
        }
    }

    #[test]
    fn a_share_is_one_of_the_documents_words() {
        assert_eq!(Length::Percent(10.0).words(22_763), 2276);
        assert_eq!(Length::Percent(1.0).words(3), 1);
        assert!(Length::Short.words(9) < Length::Medium.words(9));
        assert!(Length::Medium.words(9) < Length::Long.words(9));
    }
}
