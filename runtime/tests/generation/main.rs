//! Generation over a model that is a hash: no ONNX Runtime, no weights, every search.

mod batches;
mod documentation;
mod fuzz;
mod goldens;
mod table;
