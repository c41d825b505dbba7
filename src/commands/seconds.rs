//! Flags that are a number of seconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Longest duration: one year. The system's clock overflows with arbitrary numbers of seconds.
const MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A number of seconds, at most a year.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(pub(super) Duration);

impl Seconds {
    /// Creates a duration of whole seconds.
    #[cfg(feature = "aws")]
    pub(super) const fn new(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Seconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds = text.parse().ok();
        let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let duration = duration.filter(|duration| *duration <= MAX);
        duration.map(Self).ok_or("expected a number of seconds, at most a year")
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_is_the_most() {
        for (text, seconds) in [
            ("0.5", Some(0.5)),
            ("31536000", Some(31_536_000.0)),
            ("31536001", None),
            ("1e18", None),
            ("inf", None),
            ("NaN", None),
            ("-1", None),
            ("soon", None),
        ] {
            let read = text.parse().map(|Seconds(duration)| duration.as_secs_f64());
            assert_eq!(read.ok(), seconds, "{text}");
        }
    }
}
