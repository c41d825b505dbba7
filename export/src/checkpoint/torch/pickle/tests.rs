//! Programs that PyTorch writes, and malformed ones.

use super::fault::{Fault, shorten};
use super::values::{MAX_VALUES, TensorSpec};
use super::{MAX_SIZE, read_state_dict};
use crate::checkpoint::strided::DType;

/// Instructions of pickles, to compose programs of.
pub(crate) const SNIPPETS: &[&[u8]] = &[
    b"(",
    b"0",
    b"1",
    b"2",
    b"J\x02\x00\x00\x00",
    b"K\x01",
    b"N",
    b"Q",
    b"R",
    b"]",
    b"a",
    b"b",
    b"d",
    b"e",
    b"h\x00",
    b"h\x01",
    b"l",
    b"q\x00",
    b"q\x01",
    b"s",
    b"t",
    b"u",
    b"}",
    b")",
    b"\x81",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x88",
    b"\x8a\x01\xff",
    b"\x8b\xff\xff\xff\x7f",
    b"\x8c\x01w",
    b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"B\xff\xff\xff\x7f",
    b"\x93",
    b"\x94",
    b"\x95\xff\xff\xff\xff\xff\xff\xff\xff",
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch._utils\n_rebuild_tensor_v3\n",
    b"ctorch\nHalfStorage\n",
    b"cposix\nsystem\n",
];

/// A tensor `w` of shape (2,) in a dictionary, in protocol 2.
const TENSOR: &[u8] = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n\
    ((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu\
    K\x02tQK\x00K\x02\x85K\x01\x85\x89}tRs.";

fn problem(program: &[u8]) -> String {
    match read_state_dict(program) {
        Err(Fault::Malformed(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tensor_is_read() {
    let expected = TensorSpec {
        storage: "0".to_owned(),
        storage_len: 2,
        storage_type: DType::F32,
        dtype: DType::F32,
        offset: 0,
        shape: vec![2],
        strides: vec![1],
    };
    assert_eq!(read_state_dict(TENSOR), Ok(vec![("w".to_owned(), expected)]));
}

#[test]
fn what_is_remembered_changes_with_what_is_filled_later() {
    // {} is memoized empty, then filled, dropped and recalled: it has the tensor.
    let mut program = b"\x80\x02}q\x05".to_vec();
    program.extend_from_slice(&TENSOR[3..TENSOR.len() - 1]);
    program.extend_from_slice(b"0h\x05.");
    assert_eq!(read_state_dict(&program).unwrap().len(), 1);
}

#[test]
fn programs_that_pytorch_does_not_write_are_refused() {
    assert!(problem(b"").contains("ends too early"));
    assert!(problem(b"\x80\x02}").contains("ends too early"));
    assert!(problem(b"\x80\x00.").contains("protocol 0"));
    assert!(problem(b"\x80\x02.").contains("takes more values than it made"));
    assert!(problem(b"\x80\x02}(0.").contains("takes more values than it made"));
    assert!(problem(b"\x80\x02h\x01.").contains("recalls a value it never made"));
    assert!(problem(b"\x80\x02}}s.").contains("takes more values"));
    assert!(problem(b"\x80\x02](K\x01u.").contains("sets an item of a list"));
    assert!(problem(b"\x80\x02}(K\x01u.").contains("a key but no value"));
    assert!(problem(b"\x80\x02}K\x01a.").contains("appends to a dictionary"));
    assert!(problem(b"\x80\x02K\x01)R.").contains("calls an integer"));
    assert!(problem(b"\x80\x02)Q.").contains("something other than a storage"));
    assert!(problem(b"\x80\x02]}b.").contains("sets the state of a list"));
    assert!(problem(b"\x80\x02}K\x01Ns.").contains("an integer as a tensor's name"));
    assert!(problem(b"\x80\x02\x8a\x09123456789.").contains("larger than any size"));
    assert!(problem(b"\x80\x02P").contains("instruction 0x50 at byte 2"));
    assert!(problem(b"\x80\x02X\xff\xff\xff\xffa").contains("ends too early"));
    assert!(problem(b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffa").contains("too early"));
    assert!(problem(b"\x80\x02X\x01\x00\x00\x00\xff.").contains("not UTF-8"));
    let negative =
        [&TENSOR[..TENSOR.len() - 12], b"J\xff\xff\xff\xff\x85K\x01\x85\x89}tRs."].concat();
    assert!(problem(&negative).contains("-1"), "{}", problem(&negative));
}

#[test]
fn every_global_but_the_listed_is_refused_by_name() {
    for (module, name) in [
        ("os", "system"),
        ("builtins", "eval"),
        ("__builtin__", "getattr"),
        ("torch", "load"),
        ("torch", "uintptr\u{202e}"),
        ("torch.serialization", "load"),
        ("collections", "Counter"),
        ("torch._utils", "_rebuild_tensor"),
    ] {
        let program = format!("\u{0}c{module}\n{name}\n.").into_bytes();
        let expected = shorten(&format!("{module}.{name}"));
        assert_eq!(read_state_dict(&program[1..]), Err(Fault::Global(expected)));
    }
    let long = format!("c{}\n{}\n.", "m".repeat(1000), "n".repeat(1000));
    let Err(Fault::Global(name)) = read_state_dict(long.as_bytes()) else { panic!() };
    assert_eq!(name.chars().count(), 121);
}

#[test]
fn a_short_program_cannot_ask_for_much_memory() {
    // A long name, memoized and set as a key many times.
    let mut program = b"\x80\x02X\x00\x00\x10\x00".to_vec();
    program.resize(program.len() + (1 << 20), b'k');
    program.extend_from_slice(b"q\x00}(");
    for _ in 0..200_000 {
        program.extend_from_slice(b"h\x00h\x00");
    }
    program.extend_from_slice(b"u.");
    let Err(Fault::NotATensor { name, .. }) = read_state_dict(&program) else { panic!() };
    assert_eq!(name.chars().count(), 121);
    // More values than the limit.
    let mut program = b"\x80\x02".to_vec();
    program.resize(MAX_VALUES + 10, b'N');
    assert!(problem(&program).contains("more values than any state dictionary"));
    program.resize(MAX_SIZE + 1, b'N');
    assert!(problem(&program).contains("larger than 8 MB"));
}

#[test]
fn programs_of_random_instructions_do_not_panic() {
    let whole = [b".", &b"\x8c\x07storage"[..], &TENSOR[2..TENSOR.len() - 1]];
    let snippets = [SNIPPETS, &whole].concat();
    let mut random = fastrand::Rng::with_seed(1);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..100_000 {
        let mut program = Vec::new();
        for _ in 0..16 {
            program.extend_from_slice(snippets[random.usize(..snippets.len())]);
        }
        program.push(b'.');
        match read_state_dict(&program) {
            Ok(_) => good += 1,
            Err(_) => bad += 1,
        }
    }
    assert!(good > 0 && bad > 0, "{good} good, {bad} bad");
}
