//! A text that is rewritten step by step, and remembers where its characters come from.

/// Characters, and for each the place in the original text of the one that it stands for.
pub(super) struct Text {
    characters: Vec<char>,
    origins: Vec<usize>,
}

impl Text {
    /// The text as it is.
    pub(super) fn new(text: &str) -> Self {
        let characters: Vec<char> = text.chars().collect();
        let origins = (0..characters.len()).collect();
        Self { characters, origins }
    }

    /// Its characters.
    pub(super) fn characters(&self) -> &[char] {
        &self.characters
    }

    /// Rewrites the text from its beginning on. `rule` looks at all characters and at a place, and
    /// says how many characters from there on become what. A place at which it says nothing stays
    /// as it is.
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

    /// Puts one space in the place of every run of characters that `is_blank` knows.
    pub(super) fn join_blanks(&mut self, is_blank: impl Fn(char) -> bool) {
        self.rewrite(|characters, at| {
            let run = characters[at..].iter().take_while(|c| is_blank(**c)).count();
            (run > 0).then(|| (run, " ".to_owned()))
        });
    }

    /// Takes white space from both ends.
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

    /// Capital letters become small ones.
    pub(super) fn lower(&mut self) {
        let text: String = self.characters.iter().collect();
        let lower: Vec<char> = text.to_lowercase().chars().collect();
        if lower.len() == self.characters.len() {
            self.characters = lower;
        } else {
            self.map(|character| Some(character.to_lowercase().collect()));
        }
    }

    /// What [`tokenizers::NormalizedString::transform`] wants: for each character how many of the
    /// original text, which has `count`, it adds or removes; and how many are removed at the
    /// beginning.
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

/// White space, as Python's `str.isspace` knows it.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}
