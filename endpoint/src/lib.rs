//! Serves an epitome bundle over HTTP with the contract of a SageMaker container.
//!
//! [`Server`] listens, loads the model in the background and answers until the process is asked to
//! stop.
//!
//! | module | holds |
//! | --- | --- |
//! | `server`, [`signals`], `listener` | starting, and the orderly end |
//! | [`supervisor`] | a parent process that starts a killed server again |
//! | `connections` | sockets: how many, how slow, and whether the client is still there |
//! | `routes`, `path_name` | which path is answered by what |
//! | `guard`, [`key`] | which hosts, web pages and keys may ask |
//! | `body`, `in_flight` | reading bodies, and the memory that requests may take together |
//! | `media`, `contract` | content types, bodies of requests and answers: the stock container's |
//! | `chat`, `completion` | what OpenAI's clients ask, and what they get |
//! | `invoke`, `stream` | from a request to its answer, at once or token by token |
//! | `blocking_pool` | work that grows with a request, away from the socket threads |
//! | `local_mode`, `objects` | the same as AWS shows it, for boto3 and other SDKs; inputs on S3 |
//! | `backend`, `local_models`, `deployed` | backends: models of this process, or other endpoints |
//! | `tokens`, `documents` | what the page asks besides: tokens of a text, the text of a file |
//! | `models` | models that are loaded, checked, loaded again, and come and go |
//! | `scheduler` | the bounded queue, batching, worker threads that survive panics |
//! | `error` | what can go wrong, and the one table of status codes |
//! | `metrics`, `access_log`, [`logging`] | what operators see |
//! | `page` | the page at `/` |
//! | `openapi` | what all of it is, for programs and people |
//! | [`settings`] | how all of it behaves |

mod access_log;
mod allocator;
mod app;
mod backend;
mod blocking_pool;
mod body;
mod chat;
mod completion;
mod connections;
mod context;
mod contract;
mod deployed;
mod documents;
mod error;
mod guard;
mod in_flight;
mod invoke;
pub mod key;
mod listener;
mod local_mode;
mod local_models;
pub mod logging;
mod media;
mod metrics;
mod models;
mod objects;
mod openapi;
mod page;
mod path_name;
mod routes;
mod scheduler;
mod server;
pub mod settings;
pub mod signals;
mod stream;
#[cfg(unix)]
pub mod supervisor;
mod text;
mod tokens;

pub use deployed::{EndpointCall, EndpointError, Endpoints};
pub use listener::{ServeError, is_supervised};
pub use media::Format;
pub use models::{BoxError, PrepareModel, PreparedModel};
pub use objects::Objects;
pub use server::{Server, Source};
