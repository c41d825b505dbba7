//! The AWS side: S3, training jobs, endpoints and their scaling, and calls of an endpoint.
//!
//! A [`Connection`] has the credentials, region and endpoint URLs that every AWS SDK and the `aws`
//! command would use; [`S3`], [`ControlPlane`] and [`Invoker`] use it. Everything blocks: a command
//! does one thing after another.
//!
//! | module | holds |
//! | --- | --- |
//! | `connection` | runtime, credentials, HTTP |
//! | `error` | what can go wrong |
//! | `s3`, `uri` | objects that are fetched, bundles and files that are sent |
//! | `control_plane`, `service` | signed JSON calls of SageMaker, CloudWatch, Auto Scaling |
//! | [`training`] | a training job: what it is asked for, and how it is followed |
//! | [`deployment`] | a model, its configuration and its endpoint: made, updated, removed |
//! | [`autoscaling`] | how many instances an endpoint has |
//! | `invocation` | calls of an endpoint |
//! | `names`, `tags`, `polling` | what the modules above share |

pub mod autoscaling;
mod connection;
mod control_plane;
pub mod deployment;
mod error;
mod invocation;
mod names;
mod polling;
mod s3;
mod service;
mod tags;
pub mod training;
mod uri;

pub use connection::Connection;
pub use control_plane::ControlPlane;
pub use error::{Error, Result};
pub use invocation::Invoker;
pub use polling::Polling;
pub use s3::{Destination, Download, Found, Object, S3};
pub use service::Service;
pub use uri::{InvalidUri, S3Uri};
