//! `precompiled_charsmap`: SentencePiece's table of replacements. It is checked before use.
//!
//! SentencePiece's `src/normalizer.cc` defines the format: the length of a Darts double array in
//! bytes, the array, and the replacements. A zero byte ends each replacement.

/// A normalizer's table of replacements.
#[derive(Clone, Debug, PartialEq)]
pub struct CharsMap {
    bytes: Vec<u8>,
    units: Vec<u32>,
    replacements: String,
}

/// A unit of the double array: its label (bits 0 to 7; bit 31 marks a unit that holds a value),
/// whether it has a child that holds a value (bit 8), and the offset of its children (bits 9 to
/// 30). The index of a child is the exclusive or of the offset, the unit's index and the child's
/// label.
#[derive(Clone, Copy)]
struct Unit(u32);

impl Unit {
    fn label(self) -> u32 {
        self.0 & ((1 << 31) | 0xff)
    }

    fn has_value(self) -> bool {
        self.0 & (1 << 8) != 0
    }

    fn value(self) -> usize {
        (self.0 & ((1 << 31) - 1)) as usize
    }

    fn offset(self) -> usize {
        let offset = self.0 as usize >> 10;
        offset << ((self.0 & (1 << 9)) >> 6)
    }
}

impl CharsMap {
    /// Reads a table from its bytes.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong: the table is truncated, its replacements are not UTF-8,
    /// or a path through the array leaves it or does not end at a replacement.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or("it is too short")?;
        let (array, replacements) = rest
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or("its table ends too early")?;
        let (units, odd) = array.as_chunks::<4>();
        let replacements =
            std::str::from_utf8(replacements).map_err(|_| "its replacements are not UTF-8")?;
        let charsmap = Self {
            bytes: bytes.into(),
            units: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(),
            replacements: replacements.into(),
        };
        match odd.is_empty() && charsmap.is_closed() {
            true => Ok(charsmap),
            false => Err("its table points outside itself"),
        }
    }

    /// Reads a table from base64, as in `tokenizer.json`.
    pub(super) fn from_base64(text: &str) -> Result<Self, String> {
        let bytes = base64_simd::STANDARD
            .decode_to_vec(text)
            .map_err(|error| format!("precompiled_charsmap is not base64: {error}"))?;
        Self::parse(&bytes).map_err(|problem| format!("precompiled_charsmap is damaged: {problem}"))
    }

    /// The bytes that the table was read from.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The longest prefix of `text` that the table replaces: its replacement, and its length in
    /// bytes.
    pub(super) fn longest_prefix(&self, text: &str) -> Option<(&str, usize)> {
        let mut at = self.unit(0)?.offset();
        let mut longest = None;
        for (index, &byte) in text.as_bytes().iter().enumerate() {
            at ^= usize::from(byte);
            let Some(unit) = self.unit(at).filter(|unit| unit.label() == u32::from(byte)) else {
                break;
            };
            at ^= unit.offset();
            if unit.has_value() {
                longest = self.unit(at).map(|value| (value.value(), index + 1));
            }
        }
        let (value, length) = longest?;
        let replacement = self.replacements.get(value..)?;
        // A prefix must end at a character. A damaged table may break this rule.
        text.is_char_boundary(length)
            .then(|| (replacement.split('\0').next().unwrap_or_default(), length))
    }

    fn unit(&self, at: usize) -> Option<Unit> {
        self.units.get(at).copied().map(Unit)
    }

    /// Whether every path through the array stays within it and ends at a replacement.
    fn is_closed(&self) -> bool {
        let Some(root) = self.unit(0) else {
            return false;
        };
        let mut seen = vec![false; self.units.len()];
        let mut open = vec![root.offset()];
        while let Some(children) = open.pop() {
            if children | 0xff >= self.units.len() {
                return false;
            }
            for byte in 1..=0xff {
                let at = children ^ byte;
                let unit = Unit(self.units[at]);
                if unit.label() != byte as u32 || std::mem::replace(&mut seen[at], true) {
                    continue;
                }
                let next = at ^ unit.offset();
                let value = self.unit(next).map(Unit::value);
                let ends = |value| self.replacements.is_char_boundary(value);
                if unit.has_value() && !value.is_some_and(ends) {
                    return false;
                }
                open.push(next);
            }
        }
        true
    }
}
