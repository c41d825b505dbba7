//! Composes a graph: nodes with readable names, typed inputs and outputs, initializers.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use epitome_runtime::operators;
use prost::Message;

use super::proto::{
    AttributeProto, AttributeType, CONTRIB_DOMAIN, DimensionProto, DimensionValue, ElementType,
    GraphProto, IR_VERSION, ModelProto, NodeProto, OPSET, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};
use super::weights::StoredTensor;
use crate::error::{Error, Result};

/// The result of a node, an input or an initializer: a named edge of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value(String);

impl Value {
    /// The name of the edge in the file.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

/// One dimension of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dim {
    /// Fixed by the model.
    Size(usize),
    /// Known when the graph runs; equal names are equal sizes.
    Name(String),
}

impl Dim {
    /// A dimension known when the graph runs.
    pub(crate) fn name(name: impl Into<String>) -> Self {
        Self::Name(name.into())
    }

    /// A dimension fixed by the model.
    pub(crate) fn size(size: usize) -> Self {
        Self::Size(size)
    }

    fn proto(&self) -> DimensionProto {
        let value = match self {
            Self::Size(size) => DimensionValue::DimValue(*size as i64),
            Self::Name(name) => DimensionValue::DimParam(name.clone()),
        };
        DimensionProto { value: Some(value) }
    }

    fn text(&self) -> String {
        match self {
            Self::Size(size) => size.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

/// A branch of an `If`, written between [`Graph::begin_branch`] and [`Graph::end_branch`].
pub(crate) struct Branch(GraphProto);

/// The state outside of the branch that is being written.
#[must_use = "a branch ends with `end_branch`"]
pub(crate) struct Outside {
    nodes: Vec<NodeProto>,
    shared: BTreeMap<String, Value>,
}

/// A graph under construction.
pub(crate) struct Graph {
    proto: GraphProto,
    scope: Vec<String>,
    taken: HashMap<String, usize>,
    constants: BTreeMap<String, Value>,
    shared: BTreeMap<String, Value>,
    uses_contrib: bool,
    uses_custom: bool,
}

impl Graph {
    /// An empty graph.
    pub(crate) fn new(name: &str, doc: &str) -> Self {
        let proto =
            GraphProto { name: name.into(), doc_string: doc.into(), ..GraphProto::default() };
        Self {
            proto,
            scope: Vec::new(),
            taken: HashMap::new(),
            constants: BTreeMap::new(),
            shared: BTreeMap::new(),
            uses_contrib: false,
            uses_custom: false,
        }
    }

    /// Declares an input. `doc` describes it; its shape is appended.
    pub(crate) fn input(&mut self, name: &str, ty: ElementType, shape: &[Dim], doc: &str) -> Value {
        self.proto.input.push(value_info(name, ty, shape, doc));
        self.taken.insert(name.into(), 1);
        Value(name.into())
    }

    /// Declares an optional int64 input. `default` is the shape and the values that are used if it
    /// is missing.
    pub(crate) fn optional_input(
        &mut self,
        name: &str,
        shape: &[Dim],
        doc: &str,
        (dims, default): (&[usize], &[i64]),
    ) -> Value {
        let bytes = default.iter().flat_map(|number| number.to_le_bytes()).collect();
        let input = self.input(name, ElementType::Int64, shape, doc);
        self.constant(name, ElementType::Int64, dims, bytes);
        input
    }

    /// Declares `value` as the output `name`.
    ///
    /// If nothing reads `value` yet, its node is given the output's name. Otherwise an `Identity`
    /// copies it.
    pub(crate) fn output(
        &mut self,
        name: &str,
        value: &Value,
        ty: ElementType,
        shape: &[Dim],
        doc: &str,
    ) {
        let read = self.proto.node.iter().any(|node| reads(node, &value.0))
            || self.proto.output.iter().any(|output| output.name == value.0);
        let made = self
            .proto
            .node
            .iter_mut()
            .find_map(|node| node.output.iter_mut().find(|output| **output == value.0));
        match made {
            Some(output) if !read => *output = name.into(),
            _ => self.proto.node.push(NodeProto {
                input: vec![value.0.clone()],
                output: vec![name.into()],
                name: name.into(),
                op_type: "Identity".into(),
                ..NodeProto::default()
            }),
        }
        self.proto.output.push(value_info(name, ty, shape, doc));
    }

    /// Runs `body` with `name` in front of the names of all nodes it adds.
    pub(crate) fn scoped<T>(&mut self, name: &str, body: impl FnOnce(&mut Self) -> T) -> T {
        self.scope.push(name.into());
        let result = body(self);
        self.scope.pop();
        result
    }

    /// Enters a scope that ends with [`leave`](Self::leave), if a closure cannot borrow.
    pub(crate) fn enter(&mut self, name: &str) {
        self.scope.push(name.into());
    }

    /// Leaves the scope entered last.
    pub(crate) fn leave(&mut self) {
        self.scope.pop();
    }

    /// Starts a node of the default operator set.
    pub(crate) fn node(&mut self, op_type: &str) -> NodeBuilder<'_> {
        NodeBuilder::new(self, op_type, "")
    }

    /// Starts a node of ONNX Runtime's contributed operators (`com.microsoft`).
    pub(crate) fn contrib(&mut self, op_type: &str) -> NodeBuilder<'_> {
        self.uses_contrib = true;
        NodeBuilder::new(self, op_type, CONTRIB_DOMAIN)
    }

    /// Starts a node of our custom operators ([`epitome_runtime::operators`]).
    pub(crate) fn custom(&mut self, op_type: &str) -> NodeBuilder<'_> {
        self.uses_custom = true;
        NodeBuilder::new(self, op_type, operators::DOMAIN)
    }

    /// An initializer with data in the weight file. The same name gives the same value.
    pub(crate) fn weight(&mut self, name: &str, tensor: &StoredTensor) -> Value {
        if !self.taken.contains_key(name) {
            self.taken.insert(name.into(), 1);
            self.proto.initializer.push(tensor.initializer(name));
        }
        Value(name.into())
    }

    /// A float32 scalar, kept in the graph itself.
    pub(crate) fn scalar(&mut self, value: f32) -> Value {
        self.constant(
            &format!("constant/{value}"),
            ElementType::Float,
            &[],
            value.to_le_bytes().to_vec(),
        )
    }

    /// A float64 scalar, kept in the graph itself.
    pub(crate) fn double_scalar(&mut self, value: f64) -> Value {
        self.constant(
            &format!("constant/float64/{value}"),
            ElementType::Double,
            &[],
            value.to_le_bytes().to_vec(),
        )
    }

    /// An empty float32 tensor: some dimension of `dims` is 0.
    pub(crate) fn no_floats(&mut self, dims: &[usize]) -> Value {
        let name = format!("constant/empty{dims:?}").replace(", ", "_");
        self.constant(&name, ElementType::Float, dims, Vec::new())
    }

    /// A one-dimensional int64 tensor, kept in the graph itself.
    pub(crate) fn int64s(&mut self, values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.list("constant/", ElementType::Int64, values, bytes.collect())
    }

    /// An int64 scalar, kept in the graph itself.
    pub(crate) fn int64_scalar(&mut self, value: i64) -> Value {
        self.constant(
            &format!("constant/int64/{value}"),
            ElementType::Int64,
            &[],
            value.to_le_bytes().to_vec(),
        )
    }

    /// A one-dimensional int32 tensor, kept in the graph itself.
    pub(crate) fn int32s(&mut self, values: &[i32]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.list("constant/int32", ElementType::Int32, values, bytes.collect())
    }

    /// A one-dimensional int64 tensor called `name`, kept in the graph itself.
    pub(crate) fn int64_table(&mut self, name: &str, values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        let name = format!("constant/{name}");
        self.constant(&name, ElementType::Int64, &[values.len()], bytes.collect())
    }

    /// A one-dimensional constant, named by its values.
    fn list<T: ToString>(
        &mut self,
        prefix: &str,
        ty: ElementType,
        values: &[T],
        bytes: Vec<u8>,
    ) -> Value {
        let values: Vec<_> = values.iter().map(T::to_string).collect();
        let name = format!("{prefix}[{}]", values.join("_"));
        self.constant(&name, ty, &[values.len()], bytes)
    }

    /// The numbers from 0 to below `end`, int64 `[1]`.
    pub(crate) fn range(&mut self, end: &Value) -> Value {
        let [zero, one] = [self.int64_scalar(0), self.int64_scalar(1)];
        let end = self.node("Squeeze").input(end).output();
        self.node("Range").inputs([&zero, &end, &one]).output()
    }

    /// A shape of `leading`, int64 `[n]`, followed by fixed `sizes`. The same parts give the same
    /// value.
    pub(crate) fn shape(&mut self, leading: &Value, sizes: &[i64]) -> Value {
        let key = format!("{}{sizes:?}", leading.name());
        self.shared("shapes", &key, |graph| {
            let sizes = graph.int64s(sizes);
            let node = graph.node("Concat").inputs([leading, &sizes]);
            node.int("axis", 0).output()
        })
    }

    /// The result of `body`, written once for each `key`. Its nodes are in `scope`, and not in the
    /// scope of the first caller, since several layers share them.
    pub(crate) fn shared(
        &mut self,
        scope: &str,
        key: &str,
        body: impl FnOnce(&mut Self) -> Value,
    ) -> Value {
        let key = format!("{scope}/{key}");
        if let Some(value) = self.shared.get(&key) {
            return value.clone();
        }
        let inner = std::mem::replace(&mut self.scope, vec![scope.into()]);
        let value = body(self);
        self.scope = inner;
        self.shared.insert(key, value.clone());
        value
    }

    fn constant(&mut self, name: &str, ty: ElementType, dims: &[usize], data: Vec<u8>) -> Value {
        if let Some(value) = self.constants.get(name) {
            return value.clone();
        }
        let value = Value(name.to_owned());
        self.proto.initializer.push(TensorProto {
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type: ty as i32,
            name: name.into(),
            raw_data: Some(data),
            ..TensorProto::default()
        });
        self.constants.insert(name.into(), value.clone());
        value
    }

    /// Starts a branch of an `If`. All nodes until [`end_branch`](Self::end_branch) belong to its
    /// graph, which may read every value made before.
    pub(crate) fn begin_branch(&mut self, name: &str) -> Outside {
        self.enter(name);
        Outside {
            nodes: std::mem::take(&mut self.proto.node),
            // Shared values of a branch are not available outside of it.
            shared: self.shared.clone(),
        }
    }

    /// Ends a branch with these outputs.
    pub(crate) fn end_branch(&mut self, outside: Outside, outputs: &[Value]) -> Branch {
        // Outputs of a branch must be results of its own nodes.
        let outputs: Vec<_> = outputs
            .iter()
            .map(|value| {
                let mut made = self.proto.node.iter().flat_map(|node| &node.output);
                match made.any(|output| *output == value.0) {
                    true => value.clone(),
                    false => self.node("Identity").input(value).output(),
                }
            })
            .collect();
        let graph = GraphProto {
            name: self.scope.join("/"),
            node: std::mem::replace(&mut self.proto.node, outside.nodes),
            output: outputs
                .into_iter()
                .map(|output| ValueInfoProto { name: output.0, ..ValueInfoProto::default() })
                .collect(),
            ..GraphProto::default()
        };
        self.shared = outside.shared;
        self.leave();
        Branch(graph)
    }

    /// Encodes and writes the model file.
    pub(crate) fn write(self, path: &Path, properties: &[(&str, &str)]) -> Result<()> {
        let mut opset_import = vec![OperatorSetIdProto { domain: String::new(), version: OPSET }];
        let domains = [(self.uses_contrib, CONTRIB_DOMAIN), (self.uses_custom, operators::DOMAIN)];
        for (_, domain) in domains.iter().filter(|(used, _)| *used) {
            opset_import.push(OperatorSetIdProto { domain: (*domain).into(), version: 1 });
        }
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "epitome".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: self.proto.doc_string.clone(),
            graph: Some(self.proto),
            opset_import,
            metadata_props: properties
                .iter()
                .map(|(key, value)| StringStringEntryProto {
                    key: (*key).into(),
                    value: (*value).into(),
                })
                .collect(),
        };
        fs::write(path, model.encode_to_vec()).map_err(|source| Error::io(path, source))
    }

    /// `scope/name`, with a number if that name is taken.
    fn unique(&mut self, name: &str) -> String {
        let mut full = self.scope.join("/");
        if !full.is_empty() {
            full.push('/');
        }
        full.push_str(name);
        let count = self.taken.entry(full.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { full } else { format!("{full}_{count}") }
    }
}

/// Whether a node or its branches read a value.
fn reads(node: &NodeProto, value: &str) -> bool {
    let branches = node.attribute.iter().filter_map(|held| held.g.as_ref());
    node.input.iter().any(|input| input == value)
        || branches.flat_map(|branch| &branch.node).any(|node| reads(node, value))
}

fn value_info(name: &str, ty: ElementType, shape: &[Dim], doc: &str) -> ValueInfoProto {
    let text = shape.iter().map(Dim::text).collect::<Vec<_>>().join(", ");
    let shape = TensorShapeProto { dim: shape.iter().map(Dim::proto).collect() };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto { elem_type: ty as i32, shape: Some(shape) }),
        }),
        doc_string: format!("{doc}, [{text}]"),
    }
}

/// A node under construction: inputs in order, attributes by name, then [`output`](Self::output).
#[must_use = "a node is added by `output` or `outputs`"]
pub(crate) struct NodeBuilder<'g> {
    graph: &'g mut Graph,
    proto: NodeProto,
}

impl<'g> NodeBuilder<'g> {
    fn new(graph: &'g mut Graph, op_type: &str, domain: &str) -> Self {
        let proto =
            NodeProto { op_type: op_type.into(), domain: domain.into(), ..NodeProto::default() };
        Self { graph, proto }
    }

    /// Adds an input.
    pub(crate) fn input(mut self, value: &Value) -> Self {
        self.proto.input.push(value.0.clone());
        self
    }

    /// Adds several inputs.
    pub(crate) fn inputs<'v>(self, values: impl IntoIterator<Item = &'v Value>) -> Self {
        values.into_iter().fold(self, Self::input)
    }

    /// Adds an input that may be absent.
    pub(crate) fn optional(mut self, value: Option<&Value>) -> Self {
        self.proto.input.push(value.map(|value| value.0.clone()).unwrap_or_default());
        self
    }

    /// Adds an integer attribute.
    pub(crate) fn int(self, name: &str, value: i64) -> Self {
        self.attribute(AttributeProto {
            name: name.into(),
            i: Some(value),
            r#type: AttributeType::Int as i32,
            ..AttributeProto::default()
        })
    }

    /// Adds a float attribute.
    pub(crate) fn float(self, name: &str, value: f32) -> Self {
        self.attribute(AttributeProto {
            name: name.into(),
            f: Some(value),
            r#type: AttributeType::Float as i32,
            ..AttributeProto::default()
        })
    }

    /// Adds a string attribute.
    pub(crate) fn string(self, name: &str, value: &str) -> Self {
        self.attribute(AttributeProto {
            name: name.into(),
            s: Some(value.as_bytes().to_vec()),
            r#type: AttributeType::String as i32,
            ..AttributeProto::default()
        })
    }

    /// Adds a list-of-integers attribute.
    pub(crate) fn ints(self, name: &str, values: &[i64]) -> Self {
        self.attribute(AttributeProto {
            name: name.into(),
            ints: values.to_vec(),
            r#type: AttributeType::Ints as i32,
            ..AttributeProto::default()
        })
    }

    /// Adds a graph attribute: a branch of an `If`.
    pub(crate) fn branch(self, name: &str, branch: Branch) -> Self {
        self.attribute(AttributeProto {
            name: name.into(),
            g: Some(branch.0),
            r#type: AttributeType::Graph as i32,
            ..AttributeProto::default()
        })
    }

    /// Adds a node with one output.
    pub(crate) fn output(self) -> Value {
        let [value] = self.outputs();
        value
    }

    /// Adds a node with `N` outputs.
    pub(crate) fn outputs<const N: usize>(mut self) -> [Value; N] {
        // Absent inputs at the end are left out.
        let given = self.proto.input.iter().rposition(|name| !name.is_empty());
        self.proto.input.truncate(given.map_or(0, |last| last + 1));
        let name = self.graph.unique(&self.proto.op_type);
        let values = std::array::from_fn(|position| {
            Value(if position == 0 { name.clone() } else { format!("{name}:{position}") })
        });
        self.proto.output = values.iter().map(|value| value.0.clone()).collect();
        self.proto.name = name;
        self.graph.proto.node.push(self.proto);
        values
    }

    fn attribute(mut self, attribute: AttributeProto) -> Self {
        self.proto.attribute.push(attribute);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Dim, Graph};
    use crate::onnx::proto::ElementType::Float;

    #[test]
    fn nodes_are_named_by_scope_and_outputs_by_their_declaration() {
        let mut graph = Graph::new("twice", "Doubles its input.");
        let dims = [Dim::name("rows"), Dim::size(4)];
        let x = graph.input("x", Float, &dims, "anything");
        let two = graph.scalar(2.0);
        let y = graph.scoped("layer", |g| g.node("Mul").inputs([&x, &two]).output());
        graph.output("y", &y, Float, &dims, "twice x");
        let names: Vec<_> = graph.proto.node.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["layer/Mul"]);
        assert_eq!(graph.proto.node[0].output, ["y"]);
    }
}
