//! Clients of AWS: S3, training jobs, endpoints and their scaling, and calls of an endpoint.
//!
//! A [`Connection`] has the credentials, region and endpoint URLs that every AWS SDK and the `aws`
//! command would use. [`S3`], [`ControlPlane`] and [`Invoker`] use it. All calls block.
//!
//! | module | content |
//! | --- | --- |
//! | `connection` | runtime, credentials, HTTP |
//! | `error` | errors |
//! | `s3`, `uri` | downloads of objects, uploads of bundles and files |
//! | `control_plane`, `service` | signed JSON calls of SageMaker, CloudWatch, Auto Scaling |
//! | [`training`] | training jobs: settings, start, log, artifact |
//! | [`deployment`] | models, configurations and endpoints: creation, update, removal |
//! | [`transform`] | batch transform jobs: settings, files, start, failures |
//! | [`autoscaling`] | scaling of an endpoint |
//! | [`status`] | endpoints with their last hour, jobs, logs |
//! | [`image`] | the container image in ECR |
//! | `invocation` | calls of an endpoint |
//! | `model`, `job_status`, `names`, `tags`, `polling` | shared by the modules above |

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
