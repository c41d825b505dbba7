//! A text that is rewritten in steps and keeps the origin of each character.

/// Characters, and the index of each one's origin in the original text.
pub(super) struct Text {
    characters: Vec<char>,
    origins: Vec<usize>,
}

impl Text {
    /// The original text.
    pub(super) fn new(text: &str) -> Self {
        let characters: Vec<char> = text.chars().collect();
        let origins = (0..characters.len()).collect();
        Self { characters, origins }
    }

    /// The characters.
    pub(super) fn characters(&self) -> &[char] {
        &self.characters
    }

    /// Rewrites the text from left to right. `rule` is called with all characters and an index. It
    /// returns the number of characters to replace at this index, and their replacement, or none to
    /// keep the character.
    pub(super) fn rewrite(
        &mut self,
        mut rule: impl FnMut(&[char], usize) -> Option<(usize, String)>,
    ) {
        let mut rewritten = Self { characters: Vec::new(), origins: Vec::new() };
        let mut at = 0;
        while at < self.characters.len() {
            match rule(&self.characters, at) {
                Some((length, text)) if length > 0 => {
                    rewritten.push(&text, &self.origins[at..at + length]);
                    at += length;
                }
                _ => {
                    rewritten.characters.push(self.characters[at]);
                    rewritten.origins.push(self.origins[at]);
                    at += 1;
                }
            }
        }
        *self = rewritten;
    }

    /// Replaces every occurrence of `pattern`.
    pub(super) fn replace(&mut self, pattern: &str, text: &str) {
        let pattern: Vec<char> = pattern.chars().collect();
        self.rewrite(|characters, at| {
            let found = characters[at..].starts_with(&pattern);
            found.then(|| (pattern.len(), text.to_owned()))
        });
    }

    /// Replaces single characters.
    pub(super) fn map(&mut self, mut replacement: impl FnMut(char) -> Option<String>) {
        self.rewrite(|characters, at| replacement(characters[at]).map(|text| (1, text)));
    }

    /// Replaces every run of characters for which `is_blank` holds by one space.
    pub(super) fn join_blanks(&mut self, is_blank: impl Fn(char) -> bool) {
        self.rewrite(|characters, at| {
            let run = characters[at..].iter().take_while(|c| is_blank(**c)).count();
            (run > 0).then(|| (run, " ".to_owned()))
        });
    }

    /// Removes white space from both ends.
    pub(super) fn trim(&mut self) {
        let blank = |c: &char| is_space(*c);
        let first = self.characters.iter().take_while(|c| blank(c)).count();
        let kept = self.characters.len() - first;
        let last = self.characters.iter().rev().take(kept).take_while(|c| blank(c)).count();
        self.characters.truncate(self.characters.len() - last);
        self.origins.truncate(self.characters.len());
        self.characters.drain(..first);
        self.origins.drain(..first);
    }

    /// Lowercases the text.
    pub(super) fn lower(&mut self) {
        let text: String = self.characters.iter().collect();
        let lower: Vec<char> = text.to_lowercase().chars().collect();
        if lower.len() == self.characters.len() {
            self.characters = lower;
        } else {
            self.map(|character| Some(character.to_lowercase().collect()));
        }
    }

    /// The arguments of [`tokenizers::NormalizedString::transform`]: the characters, each with 1 if
    /// it was added and 0 otherwise, less 1 for each character removed behind it; and the number of
    /// characters removed at the beginning. `count` is the length of the original text.
    pub(super) fn changes(&self, count: usize) -> (Vec<(char, isize)>, usize) {
        let mut changes: Vec<(char, isize)> = Vec::with_capacity(self.characters.len());
        let (mut next, mut removed_first) = (0, 0);
        let mut remove = |changes: &mut Vec<(char, isize)>, removed: usize| match changes.last_mut()
        {
            Some((_, change)) => *change -= removed as isize,
            None => removed_first += removed,
        };
        for (&character, &origin) in self.characters.iter().zip(&self.origins) {
            if origin < next {
                changes.push((character, 1));
            } else {
                remove(&mut changes, origin - next);
                changes.push((character, 0));
                next = origin + 1;
            }
        }
        remove(&mut changes, count - next);
        (changes, removed_first)
    }

    fn push(&mut self, text: &str, origins: &[usize]) {
        let last = origins.len() - 1;
        for (index, character) in text.chars().enumerate() {
            self.characters.push(character);
            self.origins.push(origins[index.min(last)]);
        }
    }
}

/// Whether Python's `str.isspace` holds for the character.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}
