//! Operators in invalid graphs. Whatever shapes, attributes and integers a graph has, an operator
//! returns an error or a result: it does not panic, and does not read beyond its inputs. The
//! address sanitizer checks the latter (`runtime/kernels/asan`).

use std::num::NonZeroUsize;

use epitome_kernels::attention::cross_attention::KeyOrValue;
use epitome_kernels::attention::padded_positions;
use epitome_kernels::linear::WeightFormat;
use epitome_kernels::panels::{PANEL, panels};
use epitome_kernels::{float, int4, int8};
use half::f16;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{PrimitiveTensorElementType, Tensor, TensorElementType};

use super::attention::*;
use super::block_sums::NAME as BLOCK_SUMS;
use super::embedding::{EMBEDDING_FP16, EMBEDDING_FP32, EMBEDDING_INT8, SIZE_IN};
use super::feed_forward::SIZE_INNER;
use super::linear::*;
use super::norm::{CENTERED, EPSILON, NAME as NORM};
use super::positions::{NAME as POSITIONS, PADDING, SIZE};
use super::rotary::NAME as ROTARY;
use super::{DOMAIN, domain, registration};
use crate::library::OnnxRuntime;

/// Number of edited graphs of each valid graph.
const GRAPHS: u64 = 150;

/// A node with its inputs.
#[derive(Clone, Debug)]
struct Case {
    operator: &'static str,
    attributes: Vec<(&'static str, Attribute)>,
    inputs: Vec<Option<Input>>,
    outputs: Vec<TensorElementType>,
}

#[derive(Clone, Debug)]
enum Attribute {
    Int(i64),
    Float(f32),
    String(&'static str),
}

#[derive(Clone, Debug)]
struct Input {
    element_type: TensorElementType,
    dims: Vec<usize>,
    /// Elements of an integer input. Missing elements are 1.
    integers: Vec<i64>,
    /// Whether all floats are NaN.
    not_a_number: bool,
}

fn tensor(element_type: TensorElementType, dims: &[usize]) -> Option<Input> {
    integers(element_type, dims, &[])
}

fn floats(dims: &[usize]) -> Option<Input> {
    tensor(TensorElementType::Float32, dims)
}

fn integers(element_type: TensorElementType, dims: &[usize], integers: &[i64]) -> Option<Input> {
    let (dims, integers) = (dims.to_vec(), integers.to_vec());
    Some(Input { element_type, dims, integers, not_a_number: false })
}

/// Valid nodes of all operators.
fn valid_cases() -> Vec<Case> {
    use TensorElementType::{Float16, Float32, Int8, Int32, Int64, Uint8};
    let (rows, size_in, size_out) = (3, 40, 37);
    let padded_out = panels(size_out) * PANEL;
    let linear = |operator, element_type, packed: Vec<usize>, columns: usize, integer: bool| Case {
        operator,
        attributes: [
            (SIZE_OUT, Attribute::Int(size_out as i64)),
            (ACTIVATION, Attribute::String("gelu")),
        ]
        .into_iter()
        .chain(integer.then_some((ACTIVATION_BITS, Attribute::Int(8))))
        .collect(),
        inputs: vec![
            floats(&[rows, size_in]),
            tensor(element_type, &packed),
            (columns > 0).then(|| floats(&[columns, padded_out])).flatten(),
            floats(&[size_out]),
        ],
        outputs: vec![Float32],
    };
    let three_layers = |mut one: Case| {
        let layer = one.inputs[1..].to_vec();
        one.inputs.extend([layer.clone(), layer].concat());
        one.outputs = vec![Float32; 3];
        one
    };
    let layer = |size_out: usize, size_in: usize| {
        [
            tensor(Int8, &int8::Int8::packed_shape(size_out, size_in)),
            floats(&[2, panels(size_out) * PANEL]),
            floats(&[size_out]),
        ]
    };
    let (up, down) = (layer(size_out, size_in), layer(size_in, size_out));
    let layer_attributes = vec![
        (SIZE_INNER, Attribute::Int(size_out as i64)),
        (SIZE_OUT, Attribute::Int(size_in as i64)),
        (ACTIVATION, Attribute::String("gelu")),
        (ACTIVATION_BITS, Attribute::Int(8)),
    ];
    let feed_forward = |gated: bool| Case {
        operator: INT8.feed_forward,
        attributes: layer_attributes.clone(),
        inputs: [&[floats(&[rows, size_in])][..], &up, &down, if gated { &up } else { &[] }]
            .concat(),
        outputs: vec![Float32],
    };
    let experts = Case {
        operator: INT8.experts,
        attributes: layer_attributes.clone(),
        inputs: [&[floats(&[rows, size_in]), floats(&[rows, 2])][..], &up, &down, &up, &down]
            .concat(),
        outputs: vec![Float32],
    };
    let float_layer = |size_out: usize, size_in: usize| {
        [floats(&float::packed_shape(size_out, size_in)), floats(&[size_out])]
    };
    let (float_up, float_down) = (float_layer(size_out, size_in), float_layer(size_in, size_out));
    let float_experts = Case {
        operator: FP32.experts,
        attributes: layer_attributes[..3].to_vec(),
        inputs: [&[floats(&[rows, size_in]), floats(&[rows, 2])][..], &float_up, &float_down]
            .into_iter()
            .chain([&float_up[..], &float_down])
            .collect::<Vec<_>>()
            .concat(),
        outputs: vec![Float32],
    };
    let embedding = |operator, element_type, packed: Vec<usize>, columns: usize| Case {
        operator,
        attributes: vec![
            (SIZE_OUT, Attribute::Int(size_out as i64)),
            (SIZE_IN, Attribute::Int(size_in as i64)),
        ],
        inputs: vec![
            integers(Int64, &[2, 2], &[0, 36, 5, 15]),
            tensor(element_type, &packed),
            (columns > 0).then(|| floats(&[columns, padded_out])).flatten(),
        ],
        outputs: vec![Float32],
    };
    let packed_fp = float::packed_shape(size_out, size_in).to_vec();
    let packed_int8 = int8::Int8::packed_shape(size_out, size_in);
    let packed_int4 = int4::Int4::packed_shape(size_out, size_in);
    let (batch, source, heads, kv_heads, size) = (2, 19, 4, 2, 5);
    let (hidden, kv_hidden) = (heads * size, kv_heads * size);
    let scoring = vec![
        (HEADS, Attribute::Int(heads as i64)),
        (KV_HEADS, Attribute::Int(kv_heads as i64)),
        (SCALE, Attribute::Float(0.5)),
        (SOFTCAP, Attribute::Float(9.0)),
    ];
    let pack = |operator, part, element_type| Case {
        operator,
        attributes: vec![(HEADS, Attribute::Int(heads as i64)), (PART, Attribute::String(part))],
        inputs: vec![
            floats(&[batch * source, hidden]),
            integers(Int64, &[2], &[batch as i64, source as i64]),
        ],
        outputs: vec![element_type],
    };
    let cross = |operator, element_type, [key, value]: [usize; 2]| {
        let positions = padded_positions(source);
        Case {
            operator,
            attributes: scoring.clone(),
            inputs: vec![
                floats(&[4, hidden]),
                tensor(element_type, &[1, kv_heads, positions + 16, key]),
                tensor(element_type, &[1, kv_heads, positions + 16, value]),
                integers(Int32, &[2, 3], &[1, 16, source as i64, 3, 0, 9]),
            ],
            outputs: vec![Float32; 2],
        }
    };
    let (new, max_length, slots) = (4, 7, 11);
    let cached = |bias| Case {
        operator: CACHED_ATTENTION,
        attributes: [scoring.clone(), vec![(REACH, Attribute::Int(2))]].concat(),
        inputs: vec![
            floats(&[new, hidden]),
            floats(&[new, kv_hidden]),
            floats(&[new, kv_hidden]),
            floats(&[kv_heads, slots, size]),
            floats(&[kv_heads, slots, size]),
            integers(Int32, &[new, 1], &[3, 0, 5, 6]),
            integers(Int32, &[new, max_length], &[1; 28]),
            bias,
            floats(&[new, hidden]),
            floats(&[new, heads, 2]),
        ],
        outputs: vec![Float32; 3],
    };
    // Two streams, a bias for each query, and a prompt.
    let mut streams = cached(floats(&[2 * new, heads, max_length + 1]));
    streams.attributes.push((STREAMS, Attribute::Int(2)));
    streams.inputs[0] = floats(&[2 * new, hidden]);
    for part in &mut streams.inputs[1..3] {
        *part = floats(&[2 * new, kv_hidden]);
    }
    streams.inputs[8..]
        .clone_from_slice(&[floats(&[2 * new, hidden]), floats(&[2 * new, heads, 2])]);
    streams.inputs.extend([floats(&[3, kv_hidden]), floats(&[3, kv_hidden])]);
    let self_attention = |pattern: Vec<_>, bias, globals: Vec<_>| Case {
        operator: SELF_ATTENTION,
        attributes: [
            scoring.clone(),
            vec![(SPLIT, Attribute::Int(1)), (ROUND, Attribute::Int(1))],
            pattern,
        ]
        .concat(),
        inputs: [
            vec![
                floats(&[batch * source, hidden]),
                floats(&[batch * source, kv_hidden]),
                floats(&[batch * source, kv_hidden]),
                tensor(Int32, &[batch, source]),
                bias,
            ],
            globals,
        ]
        .concat(),
        outputs: vec![Float32],
    };
    vec![
        linear(FP32.linear, Float32, packed_fp.clone(), 0, false),
        linear(FP16.linear, Float16, packed_fp.clone(), 0, false),
        linear(INT8.linear, Int8, packed_int8.clone(), 2, true),
        linear(INT4.linear, Uint8, packed_int4, 1, true),
        three_layers(linear(FP16.linear, Float16, packed_fp.clone(), 0, false)),
        three_layers(linear(INT8.linear, Int8, packed_int8.clone(), 2, true)),
        feed_forward(false),
        feed_forward(true),
        experts,
        float_experts,
        embedding(EMBEDDING_FP32, Float32, packed_fp.clone(), 0),
        embedding(EMBEDDING_FP16, Float16, packed_fp, 0),
        embedding(EMBEDDING_INT8, Int8, packed_int8, 2),
        Case {
            operator: NORM,
            attributes: vec![(EPSILON, Attribute::Float(1e-5)), (CENTERED, Attribute::Int(1))],
            inputs: vec![
                floats(&[rows, size_in]),
                floats(&[size_in]),
                floats(&[size_in]),
                floats(&[rows, size_in]),
            ],
            outputs: vec![Float32; 2],
        },
        Case {
            operator: POSITIONS,
            attributes: vec![(SIZE, Attribute::Int(6)), (PADDING, Attribute::Int(-1))],
            inputs: vec![
                integers(Int64, &[2, 3], &[0, 1, 2, 7, 1, 0]),
                floats(&[2, 6]),
                floats(&[3]),
            ],
            outputs: vec![Float32],
        },
        Case {
            operator: ROTARY,
            attributes: Vec::new(),
            inputs: vec![floats(&[6, 16]), floats(&[3, 8])],
            outputs: vec![Float32],
        },
        self_attention(vec![], floats(&[heads, 7]), vec![]),
        self_attention(
            vec![
                (PATTERN, Attribute::String(WINDOW)),
                (REACH, Attribute::Int(2)),
                (REACH_AFTER, Attribute::Int(5)),
            ],
            None,
            vec![
                floats(&[batch * 2, kv_hidden]),
                floats(&[batch * 2, kv_hidden]),
                tensor(Int32, &[batch, 2]),
                floats(&[heads, 5]),
                tensor(Int32, &[batch, source]),
            ],
        ),
        self_attention(
            vec![
                (PATTERN, Attribute::String(BLOCKS)),
                (BLOCK_SIZE, Attribute::Int(5)),
                (LEAD, Attribute::Int(2)),
            ],
            None,
            vec![],
        ),
        self_attention(
            vec![
                (PATTERN, Attribute::String(BIG_BIRD)),
                (BLOCK_SIZE, Attribute::Int(2)),
                (RANDOM_BLOCKS, Attribute::Int(1)),
            ],
            None,
            vec![],
        ),
        Case {
            operator: BLOCK_SUMS,
            attributes: vec![],
            inputs: vec![
                floats(&[batch * source, hidden]),
                tensor(Int32, &[batch, source]),
                integers(Int64, &[1], &[4]),
            ],
            outputs: vec![Float32],
        },
        pack(PACK_CROSS_KV_FP32, KEYS, Float32),
        pack(PACK_CROSS_KV_FP16, VALUES, Float16),
        pack(PACK_CROSS_KV_INT8, KEYS, Int8),
        pack(PACK_CROSS_KV_INT8, VALUES, Int8),
        cross(CROSS_ATTENTION_FP32, Float32, KeyOrValue::rows::<f32>(size)),
        cross(CROSS_ATTENTION_FP16, Float16, KeyOrValue::rows::<f16>(size)),
        cross(CROSS_ATTENTION_INT8, Int8, KeyOrValue::rows::<i8>(size)),
        cached(None),
        cached(floats(&[1, heads, new, max_length])),
        streams,
    ]
}

impl Case {
    /// Changes one thing: a dimension of an input, a size in all inputs and attributes, an
    /// attribute, an integer, the floats of an input, the presence of an input, or the number of
    /// outputs.
    fn edit(&mut self, random: &mut fastrand::Rng) {
        let sizes = [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 40, 48, 64];
        let count = self.inputs.len();
        let input = self.inputs[random.usize(..count)].as_mut();
        match (random.u8(..9), input) {
            (0..=2, Some(input)) if !input.dims.is_empty() => {
                let dim = random.usize(..input.dims.len());
                input.dims[dim] = match random.u8(..4) {
                    0 => input.dims[dim] + 1,
                    1 => input.dims[dim].saturating_sub(1),
                    2 => input.dims[dim] * 2,
                    _ => sizes[random.usize(..sizes.len())],
                };
            }
            (3, Some(input)) if !input.dims.is_empty() && random.bool() => {
                input.dims.remove(random.usize(..input.dims.len()));
            }
            (3, Some(input)) => input.dims.insert(0, random.usize(..3)),
            (4, Some(input)) if !input.integers.is_empty() => {
                let integers = [-1, 0, 1, 2, 6, 7, 36, 37, i64::MAX, i64::MIN, 1 << 31, 1 << 40];
                let index = random.usize(..input.integers.len());
                input.integers[index] = integers[random.usize(..integers.len())];
            }
            (4, Some(input)) => input.not_a_number = true,
            (8, _) => match random.bool() {
                true => self.outputs.push(TensorElementType::Float32),
                false => drop(self.outputs.pop()),
            },
            (5, _) => {
                let ints = self.attributes.iter_mut().filter_map(|(_, value)| match value {
                    Attribute::Int(value) => Some(value),
                    _ => None,
                });
                if let Some(value) = random.choice(ints.collect::<Vec<_>>()) {
                    let values = [-1, 0, 1, 2, 5, 9, 16, 38, 48, 1 << 19, 1 << 30, i64::MAX];
                    *value = values[random.usize(..values.len())];
                }
            }
            (6, input) => {
                let index = random.usize(..count);
                if random.bool() && input.is_some() {
                    self.inputs[index] = None;
                }
            }
            (_, input) => {
                // A size is replaced in all inputs and attributes.
                let Some(from) = input.and_then(|input| random.choice(&input.dims).copied()) else {
                    return;
                };
                let to = sizes[random.usize(..sizes.len())];
                for input in self.inputs.iter_mut().flatten() {
                    for dim in &mut input.dims {
                        if *dim == from {
                            *dim = to;
                        }
                    }
                }
                for (_, value) in &mut self.attributes {
                    match value {
                        Attribute::Int(value) if *value == from as i64 => *value = to as i64,
                        _ => {}
                    }
                }
            }
        }
    }

    /// Runs a graph of this node.
    fn run(&self, runtime: &OnnxRuntime) -> ort::Result<()> {
        let mut session = Session::builder(runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::Disable)?
            .with_intra_threads(NonZeroUsize::MIN.get())?
            .with_operators(domain(None)?)?
            .commit_from_memory(&self.model())?;
        let inputs = self.inputs.iter().enumerate();
        let inputs = inputs.filter_map(|(index, input)| Some((index, input.as_ref()?)));
        let inputs: Vec<(String, SessionInputValue<'_>)> = inputs
            .map(|(index, input)| Ok((format!("i{index}"), input.value()?)))
            .collect::<ort::Result<_>>()?;
        session.run(inputs).map(|_| ())
    }

    /// The bytes of an ONNX model of this node.
    fn model(&self) -> Vec<u8> {
        let mut node = Vec::new();
        for (index, input) in self.inputs.iter().enumerate() {
            let name = input.as_ref().map_or(String::new(), |_| format!("i{index}"));
            bytes(&mut node, 1, name.as_bytes());
        }
        for index in 0..self.outputs.len() {
            bytes(&mut node, 2, format!("o{index}").as_bytes());
        }
        bytes(&mut node, 4, self.operator.as_bytes());
        for (name, value) in &self.attributes {
            let mut attribute = Vec::new();
            bytes(&mut attribute, 1, name.as_bytes());
            let kind = match value {
                Attribute::Float(value) => {
                    attribute.push(2 << 3 | 5);
                    attribute.extend(value.to_le_bytes());
                    1
                }
                Attribute::Int(value) => {
                    varint(&mut attribute, 3, *value as u64);
                    2
                }
                Attribute::String(value) => {
                    bytes(&mut attribute, 4, value.as_bytes());
                    3
                }
            };
            varint(&mut attribute, 20, kind);
            bytes(&mut node, 5, &attribute);
        }
        bytes(&mut node, 7, DOMAIN.as_bytes());
        let mut graph = Vec::new();
        bytes(&mut graph, 1, &node);
        bytes(&mut graph, 2, b"g");
        for (index, input) in self.inputs.iter().enumerate() {
            if let Some(input) = input {
                bytes(&mut graph, 11, &declaration(&format!("i{index}"), input.element_type));
            }
        }
        for (index, element_type) in self.outputs.iter().enumerate() {
            bytes(&mut graph, 12, &declaration(&format!("o{index}"), *element_type));
        }
        let mut model = Vec::new();
        varint(&mut model, 1, 8);
        bytes(&mut model, 7, &graph);
        for (domain, version) in [("", 20), (DOMAIN, 1)] {
            let mut opset = Vec::new();
            bytes(&mut opset, 1, domain.as_bytes());
            varint(&mut opset, 2, version);
            bytes(&mut model, 8, &opset);
        }
        model
    }
}

/// A `ValueInfoProto` with name and element type.
fn declaration(name: &str, element_type: TensorElementType) -> Vec<u8> {
    let code = match element_type {
        TensorElementType::Float32 => 1,
        TensorElementType::Uint8 => 2,
        TensorElementType::Int8 => 3,
        TensorElementType::Int32 => 6,
        TensorElementType::Int64 => 7,
        _ => 10,
    };
    let (mut tensor, mut value_type, mut value) = (Vec::new(), Vec::new(), Vec::new());
    varint(&mut tensor, 1, code);
    bytes(&mut value_type, 1, &tensor);
    bytes(&mut value, 1, name.as_bytes());
    bytes(&mut value, 2, &value_type);
    value
}

/// Appends an integer field of protobuf.
fn varint(message: &mut Vec<u8>, field: u64, value: u64) {
    for mut value in [field << 3, value] {
        while value >= 0x80 {
            message.push(value as u8 | 0x80);
            value >>= 7;
        }
        message.push(value as u8);
    }
}

/// Appends a field of protobuf that holds bytes.
fn bytes(message: &mut Vec<u8>, field: u64, content: &[u8]) {
    let start = message.len();
    varint(message, field, content.len() as u64);
    message[start] |= 2;
    message.extend(content);
}

impl Input {
    /// The tensor, in an allocation of exactly its size.
    fn value(&self) -> ort::Result<SessionInputValue<'static>> {
        Ok(match self.element_type {
            TensorElementType::Float32 => match self.not_a_number {
                true => self.filled(|_| f32::NAN)?,
                false => self.filled(|index| (index % 7) as f32 - 3.0)?,
            },
            TensorElementType::Float16 => self.filled(|index| f16::from_f32((index % 5) as f32))?,
            TensorElementType::Int8 => self.filled(|index| (index % 251) as i8)?,
            TensorElementType::Uint8 => self.filled(|index| (index % 253) as u8)?,
            TensorElementType::Int32 => self.filled(|index| self.integer(index) as i32)?,
            _ => self.filled(|index| self.integer(index))?,
        })
    }

    fn integer(&self, index: usize) -> i64 {
        self.integers.get(index).copied().unwrap_or(1)
    }

    fn filled<T: PrimitiveTensorElementType + Copy + std::fmt::Debug + 'static>(
        &self,
        element: impl Fn(usize) -> T,
    ) -> ort::Result<SessionInputValue<'static>> {
        let count = self.dims.iter().product();
        let elements: Box<[T]> = (0..count).map(element).collect();
        Ok(Tensor::from_array((self.dims.clone(), elements))?.into())
    }
}

fn runtime() -> OnnxRuntime {
    let runtime = OnnxRuntime::load().unwrap();
    registration::register(runtime.environment()).unwrap();
    runtime
}

#[test]
fn valid_graphs_run() {
    let runtime = runtime();
    for case in valid_cases() {
        case.run(&runtime).unwrap_or_else(|error| panic!("{}: {error}", case.operator));
    }
}

#[test]
fn queries_without_a_source_are_an_error() {
    let runtime = runtime();
    let cases = valid_cases().into_iter();
    for mut case in cases.filter(|case| case.operator == SELF_ATTENTION) {
        for (index, dims) in [[2, 20], [0, 10], [0, 10], [2, 0]].iter().enumerate() {
            case.inputs[index].as_mut().expect("a required input").dims = dims.to_vec();
        }
        let error = case.run(&runtime).expect_err("no key to look at").to_string();
        assert!(error.contains("do not fit each other"), "{error}");
    }
}

#[test]
fn a_linear_node_has_an_output_for_each_layer() {
    let runtime = runtime();
    let linears = [FP32, FP16, INT8, INT4].map(|operators| operators.linear);
    for case in valid_cases().into_iter().filter(|case| linears.contains(&case.operator)) {
        for outputs in (1..4).filter(|&count| count != case.outputs.len()) {
            let outputs = vec![TensorElementType::Float32; outputs];
            let error = Case { outputs, ..case.clone() }.run(&runtime).expect_err("other outputs");
            assert!(error.to_string().contains("need"), "{error}");
        }
    }
}

#[test]
fn edited_graphs_end_as_errors_or_results() {
    let runtime = runtime();
    for case in valid_cases() {
        let mut errors = 0;
        for seed in 0..GRAPHS {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut edited = case.clone();
            for _ in 0..random.usize(1..4) {
                edited.edit(&mut random);
            }
            if let Err(error) = edited.run(&runtime) {
                errors += 1;
                let message = error.to_string();
                assert!(!message.contains("panicked"), "{edited:?}: {message}");
            }
        }
        assert!(errors > GRAPHS / 3, "{}: {errors} errors", case.operator);
    }
}
