//! Serves an epitome bundle over HTTP with the contract of a SageMaker container.
//!
//! [`serve`] listens, loads the model in the background and answers until the process is asked to stop.
//!
//! | module | holds |
//! | --- | --- |
//! | `server` | sockets, signals, the orderly end |
//! | [`supervisor`] | a parent process that starts a killed server again |
//! | `routes` | which path is answered by what |
//! | `contract` | content types, bodies of requests and of answers: the stock HuggingFace container's |
//! | `invoke`, `stream` | from a request to its answer, at once or token by token |
//! | `local_mode` | the same as AWS shows it, for boto3 and other SDKs |
//! | `multi_model`, `model` | models that come and go; a model with its queue and workers |
//! | `scheduler` | the bounded queue, batching, worker threads that survive panics |
//! | `error` | what can go wrong, and the one table of status codes |
//! | `metrics`, `access_log`, [`logging`] | what operators see |
//! | `page` | the page at `/` |
//! | [`settings`] | how all of it behaves |

mod access_log;
mod app;
mod body;
mod contract;
mod error;
mod invoke;
mod local_mode;
pub mod logging;
mod memory;
mod metrics;
mod model;
mod multi_model;
mod page;
mod routes;
mod scheduler;
mod server;
pub mod settings;
mod stream;
#[cfg(unix)]
pub mod supervisor;

pub use contract::Format;
pub use model::{BoxError, PrepareModel, PreparedModel};
pub use server::{ServeError, serve};
