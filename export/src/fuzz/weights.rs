//! Fuzzes the readers of `pytorch_model.bin`, `model.safetensors` and `flax_model.msgpack`, through
//! [`Checkpoint`].

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{End, Random, fixture, run};
use crate::checkpoint::{Checkpoint, SNIPPETS};

/// A random integer of a pickle.
fn int(random: &mut Random) -> Vec<u8> {
    let size = random.size();
    if size < 256 && !random.chance(8) {
        return vec![b'K', size as u8];
    }
    [&b"\x8a\x08"[..], &size.to_le_bytes()].concat()
}

/// `_rebuild_tensor_v2` of a storage, with any sizes.
fn call_tensor(random: &mut Random) -> Vec<u8> {
    let kinds = ["Float", "Half", "BFloat16", "Double", "Long", "Bool"];
    let mut call =
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n".to_vec();
    call.extend(random.pick(&kinds).bytes());
    call.extend(b"Storage\nX\x01\x00\x00\x00");
    call.push(b'0' + random.below(4) as u8);
    call.extend(b"X\x03\x00\x00\x00cpu");
    call.extend(int(random));
    call.extend(b"tQ");
    call.extend(if random.chance(3) { int(random) } else { b"K\x00".to_vec() });
    let axes = random.below(4);
    for _ in 0..2 {
        call.push(b'(');
        for _ in 0..if random.chance(20) { random.below(12) } else { axes } {
            call.extend(int(random));
        }
        call.push(b't');
    }
    call.extend(b"\x89}tR");
    call
}

/// A state dictionary, mostly of the usual instructions, sometimes of any.
fn program(random: &mut Random) -> Vec<u8> {
    let mut program = b"\x80\x02}(".to_vec();
    for _ in 0..random.below(6) {
        program.extend(b"X\x01\x00\x00\x00");
        program.push(b'a' + random.below(26) as u8);
        program.extend(call_tensor(random));
        while random.chance(3) {
            program.extend(*random.pick(SNIPPETS));
        }
    }
    program.extend(b"u.");
    program
}

/// A zip archive in the format of `torch.save`: uncompressed entries and one directory.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    for (name, contents) in entries {
        let at = file.len() as u32;
        let sizes = [(contents.len() as u32).to_le_bytes(); 2].concat();
        let name_size = (name.len() as u16).to_le_bytes();
        file.extend(b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        file.extend([&sizes, &name_size[..], &[0; 2], name.as_bytes(), contents].concat());
        directory.extend(b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        directory.extend([&sizes, &name_size[..], &[0; 12]].concat());
        directory.extend([&at.to_le_bytes(), name.as_bytes()].concat());
    }
    let at = file.len() as u32;
    let count = (entries.len() as u16).to_le_bytes();
    file.extend(&directory);
    file.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count].concat());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(at.to_le_bytes());
    file.extend([0; 2]);
    file
}

/// A safetensors file of random tensors.
fn safetensors(random: &mut Random) -> Vec<u8> {
    let types = ["F32", "F16", "BF16", "F64", "I64", "BOOL", "F8_E4M3", "F4", "C64", "X", "U16"];
    let mut header = Map::new();
    let mut end = 0_u64;
    for _ in 0..random.below(6) {
        let dtype = *random.pick(&types);
        let shape: Vec<u64> = (0..random.below(4)).map(|_| random.size()).collect();
        let bytes = match dtype {
            "F64" | "I64" | "C64" => 8,
            "F32" => 4,
            "BOOL" | "F8_E4M3" => 1,
            _ => 2,
        };
        let size = shape.iter().fold(bytes, |size: u64, axis| size.wrapping_mul(*axis));
        let mut next = end.wrapping_add(size);
        if random.chance(20) {
            next = random.size();
        }
        let mut name = char::from(b'a' + random.below(26) as u8).to_string();
        if random.chance(10) {
            name = "module.".to_owned() + &name;
        }
        header.insert(name, json!({"dtype": dtype, "shape": shape, "data_offsets": [end, next]}));
        end = next;
    }
    if random.chance(4) {
        header.insert("__metadata__".into(), json!({"format": "pt"}));
    }
    let text = Value::Object(header).to_string();
    let mut file = (text.len() as u64).to_le_bytes().to_vec();
    file.extend(text.bytes());
    file.resize(file.len() + end.min(1 << 16) as usize, random.below(256) as u8);
    file
}

/// A number in one of MessagePack's sizes.
fn number(random: &mut Random) -> Vec<u8> {
    let number = random.size();
    match random.below(4) {
        0 => vec![(number % 128) as u8],
        1 => vec![0xcc, number as u8],
        2 => [&[0xce][..], &(number as u32).to_be_bytes()].concat(),
        _ => [&[0xcf][..], &number.to_be_bytes()].concat(),
    }
}

/// A map of arrays and maps, and sometimes of other types of MessagePack.
fn flax(random: &mut Random, depth: usize) -> Vec<u8> {
    let entries = random.below(5);
    let mut map = vec![0x80 + entries as u8];
    for _ in 0..entries {
        let name = *random.pick(&["kernel", "scale", "embedding", "params", "a", "bias"]);
        map.push(0xa0 + name.len() as u8);
        map.extend(name.bytes());
        if depth < 40 && random.chance(3) {
            map.extend(flax(random, depth + 1));
            continue;
        }
        let mut array = vec![0x93];
        let axes = random.below(4);
        array.push(0x90 + axes as u8);
        let mut size: u64 = 1;
        for _ in 0..axes {
            let axis = 1 + random.below(4) as u8;
            size *= u64::from(axis);
            array.extend(if random.chance(8) { number(random) } else { vec![axis] });
        }
        let kind = *random.pick(&["float32", "bfloat16", "int64", "bool", "complex64"]);
        let bytes = match kind {
            "bfloat16" => 2,
            "int64" | "complex64" => 8,
            "bool" => 1,
            _ => 4,
        };
        array.push(0xa0 + kind.len() as u8);
        array.extend(kind.bytes());
        array.extend([&[0xc6][..], &(size as u32 * bytes).to_be_bytes()].concat());
        array.resize(array.len() + (size as u32 * bytes) as usize, random.below(256) as u8);
        let claimed = if random.chance(20) { random.size() as u32 } else { array.len() as u32 };
        map.extend([&[0xc9][..], &claimed.to_be_bytes(), &[u8::from(!random.chance(20))]].concat());
        map.extend(array);
    }
    map
}

/// Opens a checkpoint with this file only, and uses all of it.
fn open(folder: &Path, name: &str, bytes: &[u8]) -> End {
    let path = folder.join(name);
    // Some file systems wait for the disk when a file is overwritten instead.
    let _ = fs::remove_file(&path);
    fs::write(path, bytes).unwrap();
    let checkpoint = match Checkpoint::open(folder) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            let message = error.to_string();
            assert!(!message.is_empty() && message.len() < 1000, "{message}");
            return End::Refusal;
        }
    };
    let names: Vec<&str> = checkpoint.names().collect();
    for (name, next) in names.iter().zip(names.iter().cycle().skip(1)) {
        let tensor = checkpoint.tensor(name).unwrap();
        let mut count = 0;
        tensor
            .write_f32(&mut |piece| {
                count += piece.len();
                Ok(())
            })
            .unwrap();
        assert_eq!(count, tensor.len());
        assert!(tensor.first_non_finite().is_none_or(|at| at < tensor.len()));
        tensor.same_values(&checkpoint.tensor(next).unwrap());
        checkpoint.same_storage(name, next);
    }
    End::Answer
}

/// A folder with a configuration, and valid files to damage.
fn prepare(seeds: &[&str]) -> (TempDir, Vec<Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let seeds = seeds.iter().map(|name| fs::read(fixture(name)).unwrap());
    (folder, seeds.collect())
}

#[test]
fn pickle() {
    let (folder, seeds) = prepare(&[
        "checkpoints/pickles/views.bin",
        "checkpoints/pickles/types.bin",
        "checkpoints/pickles/parameters.bin",
        "checkpoints/pickles/protocol4.bin",
        "checkpoints/pickles/ddp.bin",
        "checkpoints/pickles/evil_build.bin",
        "checkpoints/pickles/from_1_7.bin",
        "checkpoints/pickles/compressed.bin",
        "checkpoints/pickles/legacy.bin",
    ]);
    run(|random| {
        let mut bytes = match random.chance(2) {
            true => random.pick(&seeds).clone(),
            false => {
                let storage: Vec<u8> = (0..random.below(80)).map(|at| at as u8).collect();
                let program = program(random);
                zip(&[
                    ("m/data.pkl", &program),
                    ("m/data/0", &storage),
                    ("m/data/1", b"12345678"),
                    ("m/byteorder", b"little"),
                ])
            }
        };
        if !random.chance(4) {
            random.damage(&mut bytes);
        }
        open(folder.path(), "pytorch_model.bin", &bytes)
    });
}

#[test]
fn safetensors_files() {
    let (folder, seeds) = prepare(&[
        "checkpoints/forms/safetensors/model.safetensors",
        "tiny/pegasus-gelu-new/model.safetensors",
        "checkpoints/quantized/int8/model.safetensors",
        "checkpoints/quantized/nf4-nested/model.safetensors",
    ]);
    run(|random| {
        let bytes = match random.chance(3) {
            true => {
                let mut bytes = random.pick(&seeds).clone();
                // Damages the header only: any values behind it are valid.
                let header = usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) + 8;
                if random.chance(4) {
                    // Damages the values too, since some describe others.
                    random.damage(&mut bytes);
                    return open(folder.path(), "model.safetensors", &bytes);
                }
                let mut start = bytes.drain(..header).collect();
                random.damage(&mut start);
                start.extend(bytes);
                start
            }
            false => {
                let mut bytes = safetensors(random);
                if random.chance(3) {
                    random.damage(&mut bytes);
                }
                bytes
            }
        };
        open(folder.path(), "model.safetensors", &bytes)
    });
}

#[test]
fn flax_files() {
    let (folder, seeds) = prepare(&[
        "checkpoints/flax/bart-gelu/flax_model.msgpack",
        "checkpoints/flax/t5-relu/flax_model.msgpack",
    ]);
    run(|random| {
        let mut bytes = match random.chance(3) {
            true => random.pick(&seeds).clone(),
            false => flax(random, 0),
        };
        if random.chance(2) {
            random.damage(&mut bytes);
        }
        open(folder.path(), "flax_model.msgpack", &bytes)
    });
}
