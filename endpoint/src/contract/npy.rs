//! NumPy's array format, `application/x-npy`: arrays of texts as requests, arrays of objects as
//! answers.
//!
//! An answer is an array of Python objects, which is a pickle, like that of the stock container.
//! Nothing here reads pickles, because they are programs.

use serde_json::Value;

use super::invocation::{Reading, Shape, bad};
use crate::error::ApiError;
use crate::scheduler::DocumentParameters;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header in bytes. NumPy has the same limit.
const MAX_HEADER: usize = 10_000;

/// Reads an array of texts: `<U` and `>U` like Python's `str`, `S` as UTF-8.
pub(super) fn read(body: &[u8], reading: &mut Reading<'_>) -> Result<(), ApiError> {
    let (header, data) = header(body).ok_or_else(|| bad("the body is no array of NumPy"))?;
    let kind = field(header, "descr").and_then(quoted).unwrap_or_default();
    let item = Item::of(kind).ok_or_else(|| {
        bad("the array must hold texts (str or bytes): use array.astype(str), as arrays of Python \
             objects are programs that are not run here")
    })?;
    let shape = field(header, "shape").and_then(shape);
    let shape = shape.ok_or_else(|| bad("the array's shape cannot be read"))?;
    // The order of the elements matters only with two axes longer than 1.
    if shape.iter().filter(|length| **length != 1).count() > 1 {
        return Err(bad("the array of texts must have one axis"));
    }
    let count = shape.iter().try_fold(1_usize, |all, length| all.checked_mul(*length));
    let fits = |count: &usize| count.checked_mul(item.bytes()) == Some(data.len());
    let count =
        count.filter(fits).ok_or_else(|| bad("the array is longer or shorter than it says"))?;
    if item.bytes() == 0 && count > 0 {
        return Err(bad("text 1 is empty"));
    }
    for (place, bytes) in data.chunks_exact(item.bytes().max(1)).enumerate() {
        let text = item.text(bytes);
        let text = text.ok_or_else(|| bad(format!("text {} is not Unicode", place + 1)))?;
        reading.document(text.into(), (!shape.is_empty()).then_some(place))?;
    }
    reading.inputs(DocumentParameters::default(), Shape::default(), !shape.is_empty())
}

/// The text of the header, and the data after it.
fn header(body: &[u8]) -> Option<(&str, &[u8])> {
    let rest = body.strip_prefix(MAGIC)?;
    let (&[major, _minor], rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = match major {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            (usize::try_from(u32::from_le_bytes(*length)).ok()?, rest)
        }
        _ => return None,
    };
    let (header, data) = rest.split_at_checked(length).filter(|_| length <= MAX_HEADER)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

/// The rest of the header after a key. The header is a dictionary in Python's syntax.
fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = header.split_once(&format!("'{name}'"))?;
    Some(value.trim_start().strip_prefix(':')?.trim_start())
}

fn quoted(value: &str) -> Option<&str> {
    Some(value.strip_prefix('\'')?.split_once('\'')?.0)
}

fn shape(value: &str) -> Option<Vec<usize>> {
    let (lengths, _) = value.strip_prefix('(')?.split_once(')')?;
    let lengths = lengths.split(',').map(str::trim).filter(|length| !length.is_empty());
    lengths.map(|length| length.parse().ok()).collect()
}

/// The type of an element: a length in characters, or in bytes.
enum Item {
    Utf32 { length: usize, is_little: bool },
    Bytes { length: usize },
}

impl Item {
    fn of(kind: &str) -> Option<Self> {
        let order = kind.chars().next()?;
        let (letter, length) = kind.trim_start_matches(['<', '>', '|', '=']).split_at_checked(1)?;
        let length = length.parse().ok()?;
        match (letter, order) {
            ("U", '<' | '>') => Some(Self::Utf32 { length, is_little: order == '<' }),
            ("S", _) => Some(Self::Bytes { length }),
            _ => None,
        }
    }

    /// Size in bytes. Saturates on overflow.
    fn bytes(&self) -> usize {
        match self {
            Self::Utf32 { length, .. } => length.saturating_mul(4),
            Self::Bytes { length } => *length,
        }
    }

    /// The text without padding zeros.
    fn text(&self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Bytes { .. } => {
                let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                String::from_utf8(bytes[..end].to_vec()).ok()
            }
            Self::Utf32 { is_little, .. } => {
                let code = |unit: &[u8; 4]| match is_little {
                    true => u32::from_le_bytes(*unit),
                    false => u32::from_be_bytes(*unit),
                };
                let (units, _) = bytes.as_chunks::<4>();
                let end = units.iter().rposition(|unit| code(unit) != 0).map_or(0, |last| last + 1);
                units[..end].iter().map(|unit| char::from_u32(code(unit))).collect()
            }
        }
    }
}

/// Writes an array of Python objects for the JSON of an answer, like `numpy.save`. A list of lists
/// of equal length has two axes.
pub(super) fn write(value: &Value) -> Vec<u8> {
    let one = std::slice::from_ref(value);
    let (shape, items): (Vec<usize>, Vec<&Value>) = match value {
        Value::Array(rows) => match columns(rows) {
            Some(columns) => (
                vec![rows.len(), columns],
                rows.iter().flat_map(|row| row.as_array()).flatten().collect(),
            ),
            None => (vec![rows.len()], rows.iter().collect()),
        },
        _ => (vec![], one.iter().collect()),
    };
    let lengths: String = shape.iter().map(|length| format!("{length}, ")).collect();
    let mut header =
        format!("{{'descr': '|O', 'fortran_order': False, 'shape': ({}), }}", lengths.trim_end());
    let before = MAGIC.len() + 4;
    // The data begins at a multiple of 64.
    let padded = (before + header.len() + 1).next_multiple_of(64) - before;
    header.extend(std::iter::repeat_n(' ', padded - header.len() - 1));
    header.push('\n');
    let mut bytes = [MAGIC, b"\x01\x00"].concat();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    pickle_array(&shape, &items, &mut bytes);
    bytes
}

/// The length of all rows, if they are lists of equal length.
fn columns(rows: &[Value]) -> Option<usize> {
    let mut lengths = rows.iter().map(|row| row.as_array().map(Vec::len));
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}

/// The pickle of an array of objects, in Python's protocol 3.
fn pickle_array(shape: &[usize], items: &[&Value], bytes: &mut Vec<u8>) {
    bytes.extend(b"\x80\x03");
    // numpy.core.multiarray._reconstruct(numpy.ndarray, (0,), b"b")
    bytes.extend(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R");
    // State of the array: version, shape, dtype("O8"), C order, the elements.
    bytes.extend(b"(K\x01(");
    for length in shape {
        pickle_int(*length as i64, bytes);
    }
    bytes.extend(b"tcnumpy\ndtype\n");
    pickle_text("O8", bytes);
    bytes.extend(b"\x89\x88\x87R(K\x03");
    pickle_text("|", bytes);
    bytes.extend(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb\x89](");
    for item in items {
        pickle(item, bytes);
    }
    bytes.extend(b"etb.");
}

fn pickle(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Null => bytes.push(b'N'),
        Value::Bool(value) => bytes.push(if *value { 0x88 } else { 0x89 }),
        Value::Number(number) => match number.as_i64() {
            Some(number) => pickle_int(number, bytes),
            None => {
                bytes.push(b'G');
                bytes.extend(number.as_f64().unwrap_or(f64::NAN).to_be_bytes());
            }
        },
        Value::String(text) => pickle_text(text, bytes),
        Value::Array(items) => {
            bytes.extend(b"](");
            items.iter().for_each(|item| pickle(item, bytes));
            bytes.push(b'e');
        }
        Value::Object(fields) => {
            bytes.extend(b"}(");
            for (name, value) in fields {
                pickle_text(name, bytes);
                pickle(value, bytes);
            }
            bytes.push(b'u');
        }
    }
}

fn pickle_int(number: i64, bytes: &mut Vec<u8>) {
    bytes.extend(b"\x8a\x08");
    bytes.extend(number.to_le_bytes());
}

fn pickle_text(text: &str, bytes: &mut Vec<u8>) {
    // A summary is much shorter than 4 GB.
    bytes.push(b'X');
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An array in version 1 of the format, as `numpy.save` writes it.
    pub(crate) fn array(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn headers_are_read() {
        let bytes = array("<U2", "(2, 1)", &[0; 16]);
        let (header, data) = header(&bytes).unwrap();
        assert_eq!((field(header, "descr").and_then(quoted), data.len()), (Some("<U2"), 16));
        assert_eq!(field(header, "shape").and_then(shape), Some(vec![2, 1]));
        assert_eq!(shape("()"), Some(vec![]));
        assert_eq!(shape("(3,)"), Some(vec![3]));
        assert_eq!(shape("(-1,)"), None);
        assert!(super::header(&bytes[..20]).is_none());
    }

    #[test]
    fn answers_are_arrays_of_objects() {
        let shown = |value: Value| String::from_utf8_lossy(&write(&value)).into_owned();
        assert!(shown(json!({"a": "b"})).contains("'shape': (), }"));
        let list = shown(json!([{"a": "b"}, {"a": "c"}]));
        assert!(list.contains("'descr': '|O'") && list.contains("'shape': (2,), }"), "{list}");
        assert!(shown(json!([[1, 2], [3, 4], [5, 6]])).contains("'shape': (3, 2,), }"));
        assert!(shown(json!([])).contains("'shape': (0,), }"));
        let bytes = write(&json!([{"a": "b"}]));
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        assert_eq!(end % 64, 0, "as numpy.save aligns it");
        assert!(bytes.ends_with(b"](}(X\x01\x00\x00\x00aX\x01\x00\x00\x00buetb."));
    }
}
