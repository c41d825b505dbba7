//! The encoding in the text part of a Type 1 font program.

use std::collections::HashMap;

/// Glyph names by code, from lines such as `dup 65 /A put`; `None` for the standard encoding.
pub(super) fn encoding(program: &[u8]) -> Option<HashMap<u8, String>> {
    // The program is encrypted after `eexec`.
    let end = program.windows(5).position(|window| window == b"eexec").unwrap_or(program.len());
    let text = String::from_utf8_lossy(&program[..end]);
    let (_, array) = text.split_once("/Encoding")?;
    let array = array.split_once("readonly").map_or(array, |(array, _)| array);
    if array.trim_start().starts_with("StandardEncoding") {
        return None;
    }
    let mut names = HashMap::new();
    // There may be no space before a name.
    let spaced = array.replace('/', " /");
    let mut words = spaced.split_ascii_whitespace();
    while let Some(word) = words.next() {
        if word == "dup"
            && let (Some(code), Some(name)) = (words.next(), words.next())
            && let (Ok(code), Some(name)) = (code.parse(), name.strip_prefix('/'))
        {
            names.insert(code, name.to_owned());
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::encoding;

    #[test]
    fn the_array_is_read() {
        let program = b"%!PS\n/Encoding 256 array\n0 1 255 {1 index exch /.notdef put} for\n\
            dup 65 /A put\ndup 12/fi put\nreadonly def\ncurrentfile eexec\xff dup 66 /B put";
        let names = encoding(program).unwrap();
        assert_eq!(names.len(), 2);
        assert_eq!((names[&65].as_str(), names[&12].as_str()), ("A", "fi"));
        assert_eq!(encoding(b"/Encoding StandardEncoding def eexec"), None);
        assert_eq!(encoding(b""), None);
    }
}
