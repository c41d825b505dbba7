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
//! | [`transform`] | a batch transform job: its files, how it is followed, what failed |
//! | [`autoscaling`] | how many instances an endpoint has |
//! | [`status`] | endpoints with their last hour, jobs, logs |
//! | [`image`] | the container's image in ECR |
//! | `invocation` | calls of an endpoint |
//! | `model`, `job_status`, `names`, `tags`, `polling` | what the modules above share |

pub mod autoscaling;
mod connection;
mod control_plane;
pub mod deployment;
mod error;
pub mod image;
mod invocation;
mod job_status;
mod model;
mod names;
mod polling;
mod s3;
mod service;
pub mod status;
mod tags;
pub mod training;
pub mod transform;
mod uri;

pub use connection::Connection;
pub use control_plane::{ControlPlane, Step};
pub use error::{Error, Result};
pub use invocation::{AsyncCall, Invoker};
pub use job_status::JobStatus;
pub use model::{ModelSpec, Network};
pub use names::{VARIANT, job_name_at};
pub use polling::Polling;
pub use s3::{Destination, Download, Found, Listed, Object, S3};
pub use service::Service;
pub use uri::{InvalidUri, S3Uri};
