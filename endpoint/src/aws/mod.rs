//! The AWS side: training jobs, endpoints and their scaling, and calls of an endpoint that runs there.
//!
//! The control plane is a handful of signed JSON calls; [`Client`] makes them, with the credentials, region and endpoint
//! URLs that every AWS SDK and the `aws` command would use. Everything blocks: commands do one thing after another.
//!
//! | module | holds |
//! | --- | --- |
//! | `client`, `service` | signing, sending, trying again |
//! | `error` | what can go wrong |
//! | [`training`] | a training job: what it is asked for, and how it is followed |
//! | [`deployment`] | a model, its configuration and its endpoint: made, updated, removed |
//! | [`autoscaling`] | how many instances an endpoint has |
//! | `invocation` | calls of an endpoint |

pub mod autoscaling;
mod client;
pub mod deployment;
mod error;
mod invocation;
mod service;
pub mod training;
mod wait;

pub use client::Client;
pub use error::AwsError;
pub use invocation::Invoker;
pub use service::Service;
pub use wait::Watch;
