//! The ONNX writer: graphs are composed node by node, weights stream into one external-data file.
//!
//! - [`proto`]: the messages of `onnx.proto` that a model file is made of.
//! - [`graph`]: [`Graph`](graph::Graph), which names nodes by scope and turns into a model file.
//! - [`weights`]: [`WeightFile`](weights::WeightFile), the file every graph of a bundle points
//!   into.

pub(crate) mod graph;
pub(crate) mod proto;
pub(crate) mod weights;
