//! The stack machine that runs a pickle.

use std::collections::HashMap;

use super::fault::{Fault, Read, malformed, shorten};
use super::global::Global;
use super::values::{Id, Value, Values};
use super::{opcode as op, rebuild};

/// A program, and the position of the next instruction.
#[derive(Default)]
pub(super) struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    pub(super) values: Values<'a>,
    stack: Vec<Id>,
    /// Positions of the marks on the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(program: &'a [u8]) -> Self {
        Self { program, ..Self::default() }
    }

    /// Number of bytes of the program that were run.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Runs the program to its `STOP`, and returns the value left on the stack.
    pub(super) fn run(&mut self) -> Read<Id> {
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
                // Frames only serve buffering.
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
                op::NEWTRUE => self.push(Value::Bool(true))?,
                op::NEWFALSE => self.push(Value::Bool(false))?,
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
                // There are fewer values than instructions, far below 2^32.
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
                    // `INST` also calls what it names, which `torch.save` never does.
                    if self.program[at] == op::INST {
                        return Err(Fault::Global(shorten(&format!("{module}.{name}"))));
                    }
                    self.push(Value::Global(global))?;
                }
                op::STACK_GLOBAL => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Value::Str(module), Value::Str(name)) =
                        (self.values.get(module), self.values.get(name))
                    else {
                        return malformed("names a function by something other than text");
                    };
                    let global = Global::find(module, name)?;
                    self.push(Value::Global(global))?;
                }
                op::BINPERSID => {
                    let id = self.pop()?;
                    let storage = rebuild::storage(&self.values, id)?;
                    self.push(storage)?;
                }
                op::REDUCE | op::NEWOBJ => {
                    let (args, callable) = (self.pop()?, self.pop()?);
                    let value = rebuild::call(&self.values, callable, args)?;
                    self.push(value)?;
                }
                op::BUILD => {
                    // The state of an OrderedDict is `_metadata`, the versions of its modules.
                    self.pop()?;
                    let top = self.top()?;
                    if !matches!(self.values.get(top), Value::Dict(_)) {
                        return malformed(format!("sets the state of {}", self.values.kind(top)));
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

    // Reading the program.

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

    /// Reads a size of four bytes.
    fn u32(&mut self) -> Read<usize> {
        // A size beyond `usize` is beyond the end of the program in any case.
        self.array().map(|bytes| usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX))
    }

    /// Reads a size of eight bytes.
    fn u64(&mut self) -> Read<usize> {
        self.array().map(|bytes| usize::try_from(u64::from_le_bytes(bytes)).unwrap_or(usize::MAX))
    }

    /// Reads the text up to the next line end.
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

    /// Skips bytes that no description of a tensor needs.
    fn opaque(&mut self, size: usize) -> Read<()> {
        self.take(size)?;
        self.push(Value::Bytes)
    }

    /// Reads a little-endian integer of `size` bytes in two's complement.
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
        let id = self.values.push(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Read<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// The value on top of the stack. A mark on top hides the values below it.
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

    fn append(&mut self, items: Vec<Id>) -> Read<()> {
        let top = self.top()?;
        self.values.append(top, items)
    }

    fn set_items(&mut self, items: &[Id]) -> Read<()> {
        let top = self.top()?;
        self.values.set_items(top, items)
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
}

fn text(bytes: &[u8]) -> Read<&str> {
    std::str::from_utf8(bytes).or_else(|_| malformed("has a pickle with text that is not UTF-8"))
}
