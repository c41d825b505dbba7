//! The pickle inside a `pytorch_model.bin`, read as data.
//!
//! A pickle is a program for a stack machine whose instructions can call any Python function; that
//! is how loading one runs code. This interpreter has the instructions that Python's pickler writes
//! for protocols 2 to 5 (PEP 307, PEP 3154 and PEP 574; each is described in CPython's
//! `Lib/pickletools.py`), builds only inert values, and knows by name the few functions that stand
//! for a plain tensor in a state dictionary (PyTorch's `torch/_utils.py` and
//! `torch/serialization.py`). Naming any other function or class is an error, called or not.
//!
//! Values live in one list and refer to each other by position: Python's pickler remembers a
//! container before filling it, so that what is remembered must change with it, and a program that
//! nests or knots values without end costs no more than its length.

use std::collections::{BTreeMap, HashMap};

use super::DType;

/// The largest program that is read. A state dictionary takes about 200 bytes for each tensor.
pub(super) const MAX_SIZE: usize = 8 << 20;

/// The most values that are built. A tensor takes about twenty; together with the limits below, a
/// hostile program cannot make this reader use more than a few hundred megabytes.
const MAX_VALUES: usize = 1 << 20;

/// The most axes of a tensor. Weights have up to five.
const MAX_AXES: usize = 8;

/// The longest name of a storage. PyTorch numbers them.
const MAX_STORAGE_NAME: usize = 64;

/// A tensor as the pickle describes it; nothing about it is checked against the file yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorSpec {
    /// The name of the archive's entry under `data/` that holds the storage.
    pub(super) storage: String,
    /// The elements that the storage has, each of `storage_type`.
    pub(super) storage_len: usize,
    /// The type of the storage's elements; bytes when it is untyped.
    pub(super) storage_type: DType,
    /// The type of the tensor's elements.
    pub(super) dtype: DType,
    /// The first element, counted in elements from the storage's begin.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// Why a pickle is no state dictionary of plain tensors.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It names this function or class.
    Global(String),
    /// It holds something else under this name.
    NotATensor { name: String, kind: String },
    /// It is not a pickle that PyTorch writes; what is wrong with it, to follow the file's name.
    Malformed(String),
}

type Read<T> = Result<T, Fault>;

fn malformed<T>(problem: impl Into<String>) -> Read<T> {
    Err(Fault::Malformed(problem.into()))
}

/// The tensors of the state dictionary that `program` builds, by name.
pub(super) fn read_state_dict(program: &[u8]) -> Read<Vec<(String, TensorSpec)>> {
    if program.len() > MAX_SIZE {
        return malformed(format!("has a pickle larger than {} MB", MAX_SIZE >> 20));
    }
    let mut machine = Machine {
        program,
        ..Machine::default()
    };
    let result = machine.run()?;
    machine.state_dict(result)
}

/// The position of a value in the machine's list.
type Id = usize;

#[derive(Clone, Debug)]
enum Value<'a> {
    None,
    Bool,
    Int(i64),
    Float,
    Str(&'a str),
    Bytes,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// A storage of the archive: its entry, its type and its number of elements.
    Storage(&'a str, DType, usize),
    Tensor(Box<TensorSpec>),
}

/// The functions and classes that may be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`: a view of a typed storage.
    TensorV2,
    /// `torch._utils._rebuild_tensor_v3`: a view of an untyped storage, with its type.
    TensorV3,
    /// `torch._utils._rebuild_parameter`, with or without `_with_state`: a tensor that is trained.
    Parameter,
    /// `torch.FloatStorage` and its like, and `torch.storage.UntypedStorage`.
    Storage(DType),
    /// `torch.float32` and its like.
    DType(DType),
}

impl Global {
    fn find(module: &str, name: &str) -> Read<Self> {
        let storage = |dtype| Ok(Self::Storage(dtype));
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::TensorV2),
            ("torch._utils", "_rebuild_tensor_v3") => Ok(Self::TensorV3),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Ok(Self::Parameter)
            }
            ("torch.storage", "UntypedStorage") | ("torch", "ByteStorage" | "UntypedStorage") => {
                storage(DType::U8)
            }
            ("torch", "DoubleStorage") => storage(DType::F64),
            ("torch", "FloatStorage") => storage(DType::F32),
            ("torch", "HalfStorage") => storage(DType::F16),
            ("torch", "BFloat16Storage") => storage(DType::BF16),
            ("torch", "LongStorage") => storage(DType::I64),
            ("torch", "IntStorage") => storage(DType::I32),
            ("torch", "ShortStorage") => storage(DType::I16),
            ("torch", "CharStorage") => storage(DType::I8),
            ("torch", "BoolStorage") => storage(DType::Bool),
            ("torch", "float64") => Ok(Self::DType(DType::F64)),
            ("torch", "float32") => Ok(Self::DType(DType::F32)),
            ("torch", "float16") => Ok(Self::DType(DType::F16)),
            ("torch", "bfloat16") => Ok(Self::DType(DType::BF16)),
            ("torch", "int64") => Ok(Self::DType(DType::I64)),
            ("torch", "int32") => Ok(Self::DType(DType::I32)),
            ("torch", "int16") => Ok(Self::DType(DType::I16)),
            ("torch", "int8") => Ok(Self::DType(DType::I8)),
            ("torch", "uint8") => Ok(Self::DType(DType::U8)),
            ("torch", "bool") => Ok(Self::DType(DType::Bool)),
            ("torch", kind) if is_other_type(kind) => malformed(format!(
                "holds values of type torch.{kind}, which is not supported: \
                 use fp32, fp16 or bf16"
            )),
            // Python 2 and protocols below 3 know these modules by older names; either is refused.
            _ => Err(Fault::Global(shorten(&format!("{module}.{name}")))),
        }
    }
}

/// Whether PyTorch has a type of this name, or a storage of one, that no weights here may have.
fn is_other_type(name: &str) -> bool {
    const TYPES: [&str; 5] = ["float8", "float4", "complex", "uint", "qint"];
    const STORAGES: [&str; 3] = ["Q", "Complex", "Float8"];
    let storage = name.strip_suffix("Storage");
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain
        && (TYPES.iter().any(|kind| name.starts_with(kind))
            || storage.is_some_and(|name| STORAGES.iter().any(|kind| name.starts_with(kind))))
}

/// A name fit for a message, however long and odd it is in the file.
fn shorten(name: &str) -> String {
    const LONGEST: usize = 120;
    let mut short: String = name
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    if name.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

#[derive(Default)]
struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Where on the stack the marks stand.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

/// Instructions, with the names and codes of `pickletools`.
mod op {
    pub(super) const MARK: u8 = b'(';
    pub(super) const STOP: u8 = b'.';
    pub(super) const POP: u8 = b'0';
    pub(super) const POP_MARK: u8 = b'1';
    pub(super) const DUP: u8 = b'2';
    pub(super) const BINBYTES: u8 = b'B';
    pub(super) const SHORT_BINBYTES: u8 = b'C';
    pub(super) const BINFLOAT: u8 = b'G';
    pub(super) const BININT: u8 = b'J';
    pub(super) const BININT1: u8 = b'K';
    pub(super) const BININT2: u8 = b'M';
    pub(super) const NONE: u8 = b'N';
    pub(super) const BINPERSID: u8 = b'Q';
    pub(super) const REDUCE: u8 = b'R';
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const EMPTY_LIST: u8 = b']';
    pub(super) const APPEND: u8 = b'a';
    pub(super) const BUILD: u8 = b'b';
    pub(super) const GLOBAL: u8 = b'c';
    pub(super) const DICT: u8 = b'd';
    pub(super) const APPENDS: u8 = b'e';
    pub(super) const BINGET: u8 = b'h';
    pub(super) const INST: u8 = b'i';
    pub(super) const LONG_BINGET: u8 = b'j';
    pub(super) const LIST: u8 = b'l';
    pub(super) const BINPUT: u8 = b'q';
    pub(super) const LONG_BINPUT: u8 = b'r';
    pub(super) const SETITEM: u8 = b's';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const SETITEMS: u8 = b'u';
    pub(super) const EMPTY_DICT: u8 = b'}';
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const NEWOBJ: u8 = 0x81;
    pub(super) const TUPLE1: u8 = 0x85;
    pub(super) const TUPLE2: u8 = 0x86;
    pub(super) const TUPLE3: u8 = 0x87;
    pub(super) const NEWTRUE: u8 = 0x88;
    pub(super) const NEWFALSE: u8 = 0x89;
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const LONG4: u8 = 0x8b;
    pub(super) const SHORT_BINUNICODE: u8 = 0x8c;
    pub(super) const BINUNICODE8: u8 = 0x8d;
    pub(super) const BINBYTES8: u8 = 0x8e;
    pub(super) const STACK_GLOBAL: u8 = 0x93;
    pub(super) const MEMOIZE: u8 = 0x94;
    pub(super) const FRAME: u8 = 0x95;
}

impl<'a> Machine<'a> {
    /// Runs the program to its `STOP`, and gives the value left on the stack.
    fn run(&mut self) -> Read<Id> {
        loop {
            let at = self.at;
            match self.byte()? {
                op::PROTO => {
                    let protocol = self.byte()?;
                    if !(2..=5).contains(&protocol) {
                        return malformed(format!(
                            "has a pickle of protocol {protocol}, not 2 to 5"
                        ));
                    }
                }
                // Frames only say how much to read at once.
                op::FRAME => {
                    self.take(8)?;
                }
                op::STOP => return self.pop(),

                op::MARK => self.marks.push(self.stack.len()),
                op::POP => {
                    self.pop()?;
                }
                op::POP_MARK => {
                    self.pop_to_mark()?;
                }
                op::DUP => {
                    let top = self.top()?;
                    self.stack.push(top);
                }

                op::NONE => self.push(Value::None)?,
                op::NEWTRUE | op::NEWFALSE => self.push(Value::Bool)?,
                op::BININT => {
                    let int = i32::from_le_bytes(self.array()?);
                    self.push(Value::Int(int.into()))?;
                }
                op::BININT1 => {
                    let int = self.byte()?;
                    self.push(Value::Int(int.into()))?;
                }
                op::BININT2 => {
                    let int = u16::from_le_bytes(self.array()?);
                    self.push(Value::Int(int.into()))?;
                }
                op::LONG1 => {
                    let size = self.byte()?;
                    self.long(size.into())?;
                }
                op::LONG4 => {
                    let size = self.u32()?;
                    self.long(size)?;
                }
                op::BINFLOAT => {
                    self.take(8)?;
                    self.push(Value::Float)?;
                }
                op::SHORT_BINUNICODE => {
                    let size = self.byte()?;
                    self.string(size.into())?;
                }
                op::BINUNICODE => {
                    let size = self.u32()?;
                    self.string(size)?;
                }
                op::BINUNICODE8 => {
                    let size = self.u64()?;
                    self.string(size)?;
                }
                op::SHORT_BINBYTES => {
                    let size = self.byte()?;
                    self.opaque(size.into())?;
                }
                op::BINBYTES => {
                    let size = self.u32()?;
                    self.opaque(size)?;
                }
                op::BINBYTES8 => {
                    let size = self.u64()?;
                    self.opaque(size)?;
                }

                op::EMPTY_TUPLE => self.push(Value::Tuple(vec![]))?,
                op::TUPLE1 => self.tuple(1)?,
                op::TUPLE2 => self.tuple(2)?,
                op::TUPLE3 => self.tuple(3)?,
                op::TUPLE => {
                    let items = self.pop_to_mark()?;
                    self.push(Value::Tuple(items))?;
                }
                op::EMPTY_LIST => self.push(Value::List(vec![]))?,
                op::LIST => {
                    let items = self.pop_to_mark()?;
                    self.push(Value::List(items))?;
                }
                op::APPEND => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                op::APPENDS => {
                    let items = self.pop_to_mark()?;
                    self.append(items)?;
                }
                op::EMPTY_DICT => self.push(Value::Dict(vec![]))?,
                op::DICT => {
                    let items = self.pop_to_mark()?;
                    self.push(Value::Dict(vec![]))?;
                    self.set_items(&items)?;
                }
                op::SETITEM => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set_items(&[key, value])?;
                }
                op::SETITEMS => {
                    let items = self.pop_to_mark()?;
                    self.set_items(&items)?;
                }

                op::BINPUT => {
                    let key = self.byte()?;
                    self.remember(key.into())?;
                }
                op::LONG_BINPUT => {
                    let key = u32::from_le_bytes(self.array()?);
                    self.remember(key)?;
                }
                // No more values are remembered than there are instructions, far below 2^32.
                op::MEMOIZE => self.remember(self.memo.len() as u32)?,
                op::BINGET => {
                    let key = self.byte()?;
                    self.recall(key.into())?;
                }
                op::LONG_BINGET => {
                    let key = u32::from_le_bytes(self.array()?);
                    self.recall(key)?;
                }

                op::GLOBAL | op::INST => {
                    let (module, name) = (self.line()?, self.line()?);
                    let global = Global::find(module, name)?;
                    // `INST` also calls what it names, which nothing that torch.save writes does.
                    if self.program[at] == op::INST {
                        return Err(Fault::Global(shorten(&format!("{module}.{name}"))));
                    }
                    self.push(Value::Global(global))?;
                }
                op::STACK_GLOBAL => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Value::Str(module), Value::Str(name)) =
                        (&self.values[module], &self.values[name])
                    else {
                        return malformed("names a function by something other than text");
                    };
                    let global = Global::find(module, name)?;
                    self.push(Value::Global(global))?;
                }
                op::BINPERSID => {
                    let id = self.pop()?;
                    let storage = self.storage(id)?;
                    self.push(storage)?;
                }
                op::REDUCE | op::NEWOBJ => {
                    let (args, callable) = (self.pop()?, self.pop()?);
                    let value = self.call(callable, args)?;
                    self.push(value)?;
                }
                op::BUILD => {
                    // The state of an OrderedDict is `_metadata`, the versions of its modules.
                    self.pop()?;
                    let top = self.top()?;
                    if !matches!(self.values[top], Value::Dict(_)) {
                        return malformed(format!("sets the state of {}", self.kind(top)));
                    }
                }
                other => {
                    return malformed(format!(
                        "has the pickle instruction 0x{other:02x} at byte {at}, \
                         which torch.save does not write"
                    ));
                }
            }
        }
    }

    // The program.

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let rest = &self.program[self.at..];
        let Some(taken) = rest.get(..count) else {
            return malformed("has a pickle that ends too early");
        };
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Read<u8> {
        self.array().map(|[byte]| byte)
    }

    /// A size of four bytes.
    fn u32(&mut self) -> Read<usize> {
        // A size that a usize cannot hold is beyond the program's end either way.
        self.array()
            .map(|bytes| usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX))
    }

    /// A size of eight bytes.
    fn u64(&mut self) -> Read<usize> {
        self.array()
            .map(|bytes| usize::try_from(u64::from_le_bytes(bytes)).unwrap_or(usize::MAX))
    }

    /// The text up to the next line end.
    fn line(&mut self) -> Read<&'a str> {
        let rest = &self.program[self.at..];
        let Some(size) = rest.iter().position(|&byte| byte == b'\n') else {
            return malformed("has a pickle that ends too early");
        };
        self.at += size + 1;
        text(&rest[..size])
    }

    fn string(&mut self, size: usize) -> Read<()> {
        let text = text(self.take(size)?)?;
        self.push(Value::Str(text))
    }

    /// Bytes that no tensor's description needs.
    fn opaque(&mut self, size: usize) -> Read<()> {
        self.take(size)?;
        self.push(Value::Bytes)
    }

    /// A little-endian integer of `size` bytes in two's complement.
    fn long(&mut self, size: usize) -> Read<()> {
        let bytes = self.take(size)?;
        if size > 8 {
            return malformed("has an integer larger than any size");
        }
        let sign = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = if sign { [0xff; 8] } else { [0; 8] };
        wide[..size].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }

    // The stack and the memo.

    fn push(&mut self, value: Value<'a>) -> Read<()> {
        if self.values.len() == MAX_VALUES {
            return malformed("has a pickle with more values than any state dictionary");
        }
        self.stack.push(self.values.len());
        self.values.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Read<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// The value on top; a mark on top hides what is below it.
    fn top(&self) -> Read<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&top) if self.stack.len() > floor => Ok(top),
            _ => malformed("has a pickle that takes more values than it made"),
        }
    }

    fn pop_to_mark(&mut self) -> Read<Vec<Id>> {
        let Some(mark) = self.marks.pop() else {
            return malformed("has a pickle that takes more values than it made");
        };
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, count: usize) -> Read<()> {
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Value::Tuple(items))
    }

    fn remember(&mut self, key: u32) -> Read<()> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Read<()> {
        let Some(&value) = self.memo.get(&key) else {
            return malformed("has a pickle that recalls a value it never made");
        };
        self.stack.push(value);
        Ok(())
    }

    // Values.

    fn append(&mut self, items: Vec<Id>) -> Read<()> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::List(list) => {
                list.extend(items);
                Ok(())
            }
            _ => malformed(format!("appends to {}", self.kind(top))),
        }
    }

    fn set_items(&mut self, items: &[Id]) -> Read<()> {
        let top = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self.values[top] {
            Value::Dict(dict) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
                Ok(())
            }
            Value::Dict(_) => malformed("has a pickle with a key but no value"),
            _ => malformed(format!("sets an item of {}", self.kind(top))),
        }
    }

    /// What a persistent id stands for: `("storage", type, key, device, number of elements)`.
    fn storage(&self, id: Id) -> Read<Value<'a>> {
        if let Value::Tuple(items) = &self.values[id]
            && let [tag, class, key, _device, len, ..] = items.as_slice()
            && let Value::Str("storage") = self.values[*tag]
            && let Value::Global(Global::Storage(dtype)) = self.values[*class]
            && let Value::Str(key) = self.values[*key]
            && key.len() <= MAX_STORAGE_NAME
        {
            Ok(Value::Storage(key, dtype, self.size(*len)?))
        } else {
            malformed("refers to something other than a storage")
        }
    }

    /// The value of one of the functions that may be called.
    fn call(&self, callable: Id, args: Id) -> Read<Value<'a>> {
        let (&Value::Global(global), Value::Tuple(args)) =
            (&self.values[callable], &self.values[args])
        else {
            return malformed(format!("calls {}", self.kind(callable)));
        };
        match (global, args.as_slice()) {
            (Global::OrderedDict, []) => Ok(Value::Dict(vec![])),
            (Global::TensorV2, [storage, offset, shape, strides, ..]) => {
                let (key, dtype, len) = self.as_storage(*storage)?;
                Ok(Value::Tensor(Box::new(TensorSpec {
                    storage: key.to_owned(),
                    storage_len: len,
                    storage_type: dtype,
                    dtype,
                    offset: self.size(*offset)?,
                    shape: self.sizes(*shape)?,
                    strides: self.sizes(*strides)?,
                })))
            }
            (Global::TensorV3, [storage, offset, shape, strides, _grad, _hooks, dtype, ..]) => {
                let (key, storage_type, len) = self.as_storage(*storage)?;
                let Value::Global(Global::DType(dtype)) = self.values[*dtype] else {
                    return malformed("has a tensor without a type");
                };
                Ok(Value::Tensor(Box::new(TensorSpec {
                    storage: key.to_owned(),
                    storage_len: len,
                    storage_type,
                    dtype,
                    offset: self.size(*offset)?,
                    shape: self.sizes(*shape)?,
                    strides: self.sizes(*strides)?,
                })))
            }
            (Global::Parameter, [tensor, ..]) => match &self.values[*tensor] {
                Value::Tensor(tensor) => Ok(Value::Tensor(tensor.clone())),
                _ => malformed(format!("makes a parameter of {}", self.kind(*tensor))),
            },
            _ => malformed(format!("calls {global:?} with {} arguments", args.len())),
        }
    }

    fn as_storage(&self, id: Id) -> Read<(&'a str, DType, usize)> {
        match self.values[id] {
            Value::Storage(key, dtype, len) => Ok((key, dtype, len)),
            _ => malformed(format!("makes a tensor of {}", self.kind(id))),
        }
    }

    fn size(&self, id: Id) -> Read<usize> {
        match self.values[id] {
            Value::Int(int) => match usize::try_from(int) {
                Ok(size) => Ok(size),
                Err(_) => malformed(format!("has a size or offset of {int}")),
            },
            _ => malformed(format!("has {} as a size or offset", self.kind(id))),
        }
    }

    fn sizes(&self, id: Id) -> Read<Vec<usize>> {
        match &self.values[id] {
            Value::Tuple(items) if items.len() <= MAX_AXES => {
                items.iter().map(|&item| self.size(item)).collect()
            }
            Value::Tuple(items) => malformed(format!("has a tensor of {} axes", items.len())),
            _ => malformed(format!("has {} as a tensor's shape", self.kind(id))),
        }
    }

    /// The tensors of the dictionary `id`; of keys set twice the last value counts, as in Python.
    fn state_dict(&self, id: Id) -> Read<Vec<(String, TensorSpec)>> {
        let Value::Dict(items) = &self.values[id] else {
            return malformed(format!(
                "holds {}, not a dictionary of tensors: save model.state_dict()",
                self.kind(id)
            ));
        };
        // By value first, so that one long name that is set a million times is compared only once.
        let last_of: HashMap<Id, usize> = items
            .iter()
            .enumerate()
            .map(|(at, &(key, _))| (key, at))
            .collect();
        let mut last = BTreeMap::new();
        for (at, &(key, value)) in items.iter().enumerate() {
            if last_of[&key] != at {
                continue;
            }
            let Value::Str(name) = self.values[key] else {
                return malformed(format!("has {} as a tensor's name", self.kind(key)));
            };
            last.insert(name, value);
        }
        let mut tensors = Vec::with_capacity(last.len());
        for (name, value) in last {
            match &self.values[value] {
                Value::Tensor(tensor) => tensors.push((name.to_owned(), (**tensor).clone())),
                _ => {
                    return Err(Fault::NotATensor {
                        name: shorten(name),
                        kind: self.kind(value).to_owned(),
                    });
                }
            }
        }
        Ok(tensors)
    }

    fn kind(&self, id: Id) -> &'static str {
        match self.values[id] {
            Value::None => "None",
            Value::Bool => "a truth value",
            Value::Int(_) => "an integer",
            Value::Float => "a number",
            Value::Str(_) => "text",
            Value::Bytes => "bytes",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dictionary",
            Value::Global(_) => "a class",
            Value::Storage(..) => "a storage",
            Value::Tensor(_) => "a tensor",
        }
    }
}

fn text(bytes: &[u8]) -> Read<&str> {
    std::str::from_utf8(bytes).or_else(|_| malformed("has a pickle with text that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::weights::SNIPPETS;

    /// A tensor `w` of shape (2,) in a dictionary, as protocol 2 writes it.
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
        assert_eq!(
            read_state_dict(TENSOR),
            Ok(vec![("w".to_owned(), expected)])
        );
    }

    #[test]
    fn what_is_remembered_changes_with_what_is_filled_later() {
        // {} is remembered while empty, filled, dropped and recalled: it has the tensor.
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
        let negative = [
            &TENSOR[..TENSOR.len() - 12],
            b"J\xff\xff\xff\xff\x85K\x01\x85\x89}tRs.",
        ]
        .concat();
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
        let Err(Fault::Global(name)) = read_state_dict(long.as_bytes()) else {
            panic!()
        };
        assert_eq!(name.chars().count(), 121);
    }

    #[test]
    fn a_short_program_cannot_ask_for_much_memory() {
        // A long name, remembered and set as a key many times over.
        let mut program = b"\x80\x02X\x00\x00\x10\x00".to_vec();
        program.resize(program.len() + (1 << 20), b'k');
        program.extend_from_slice(b"q\x00}(");
        for _ in 0..200_000 {
            program.extend_from_slice(b"h\x00h\x00");
        }
        program.extend_from_slice(b"u.");
        let Err(Fault::NotATensor { name, .. }) = read_state_dict(&program) else {
            panic!()
        };
        assert_eq!(name.chars().count(), 121);
        // More values than there may be.
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
        let mut state = 1u64;
        let (mut good, mut bad) = (0, 0);
        for _ in 0..100_000 {
            let mut program = Vec::new();
            for _ in 0..16 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                program.extend_from_slice(snippets[(state >> 33) as usize % snippets.len()]);
            }
            program.push(b'.');
            match read_state_dict(&program) {
                Ok(_) => good += 1,
                Err(_) => bad += 1,
            }
        }
        assert!(good > 0 && bad > 0, "{good} good, {bad} bad");
    }
}
