//! Generation with every search over a hash function as model, without ONNX Runtime and weights.

mod batches;
mod documentation;
mod fuzz;
mod goldens;
mod table;
