//! Tables of characters and of abbreviations.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::language::Language;

/// Tables: each line has a name and its values.
const DATA: &str = include_str!("data.txt");

/// The values of the line with this name.
fn values(name: &str) -> impl Iterator<Item = &'static str> {
    let line = DATA.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_default().split(' ').skip(1)
}

/// A set of characters, as sorted ranges.
pub(super) struct Characters(Vec<(u32, u32)>);

impl Characters {
    fn of(names: &[&str]) -> Self {
        let ranges = names.iter().flat_map(|name| values(name)).map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let code = |text| u32::from_str_radix(text, 16).unwrap_or_default();
            (code(first), code(last))
        });
        let mut ranges: Vec<_> = ranges.collect();
        ranges.sort_unstable();
        Self(ranges)
    }

    /// Whether the set has this character.
    pub(super) fn has(&self, character: char) -> bool {
        let code = u32::from(character);
        let behind = self.0.partition_point(|(first, _)| *first <= code);
        behind.checked_sub(1).is_some_and(|at| code <= self.0[at].1)
    }
}

/// Letters, with the joining characters of Indic scripts.
pub(super) static ALPHABETIC: LazyLock<Characters> =
    LazyLock::new(|| Characters::of(&["alphabetic", "joining"]));
/// Letters, without the joining characters of Indic scripts. The detokenizer uses this set.
pub(super) static LETTERS: LazyLock<Characters> = LazyLock::new(|| Characters::of(&["alphabetic"]));
/// Letters and digits.
pub(super) static ALPHANUMERIC: LazyLock<Characters> =
    LazyLock::new(|| Characters::of(&["alphabetic", "joining", "digits"]));
/// Digits and other numbers.
pub(super) static NUMBERS: LazyLock<Characters> = LazyLock::new(|| Characters::of(&["numbers"]));
/// Lowercase letters.
pub(super) static LOWERCASE: LazyLock<Characters> =
    LazyLock::new(|| Characters::of(&["lowercase"]));
/// Currency symbols.
pub(super) static CURRENCY: LazyLock<Characters> = LazyLock::new(|| Characters::of(&["currency"]));

/// Decimal digits of every script.
pub(super) static DECIMALS: LazyLock<Characters> = LazyLock::new(|| Characters::of(&["decimals"]));
/// Control, format and unassigned characters (Unicode's category `Other`).
pub(super) static OTHER: LazyLock<Characters> = LazyLock::new(|| Characters::of(&["other"]));

/// Nonbreaking prefixes: words whose full stop does not end a sentence.
pub(super) struct Prefixes {
    /// Prefixes in any position.
    pub(super) always: HashSet<&'static str>,
    /// Prefixes only before a number.
    pub(super) before_numbers: HashSet<&'static str>,
}

impl Prefixes {
    /// The prefixes of a language.
    pub(super) fn of(language: Language) -> &'static Self {
        static ALL: LazyLock<Vec<(Language, Prefixes)>> = LazyLock::new(|| {
            let of = |(code, language): (&str, Language)| {
                let always = values(&format!("prefixes.{code}")).collect();
                let before_numbers = values(&format!("numeric_prefixes.{code}")).collect();
                (language, Prefixes { always, before_numbers })
            };
            Language::ALL.map(of).into()
        });
        let index = Language::ALL.iter().position(|(_, known)| *known == language);
        &ALL[index.unwrap_or_default()].1
    }
}

/// Characters of Chinese, Japanese, Korean and some other scripts, which have no spaces between
/// words: the ranges of sacremoses' `util.py`.
const CJK: [(u32, u32); 11] = [
    (0x1100, 0x11ff),
    (0x2e80, 0xa4cf),
    (0xa840, 0xa87f),
    (0xac00, 0xd7af),
    (0xf900, 0xfaff),
    (0xfe30, 0xfe4f),
    (0xff65, 0xffdc),
    (0x17000, 0x18aff),
    (0x1b000, 0x1b12f),
    (0x1b170, 0x1b2ff),
    (0x20000, 0x2ffff),
];

/// Whether a character is in [`CJK`].
pub(super) fn is_cjk(character: char) -> bool {
    let code = u32::from(character);
    CJK.iter().any(|(first, last)| (*first..=*last).contains(&code))
}
