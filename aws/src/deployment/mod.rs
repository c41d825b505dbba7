//! An endpoint: its models, its configuration, and the endpoint itself.
//!
//! Models and configurations are immutable in AWS, so each is named after its content: `ENDPOINT-`
//! and eight digits of a digest. The same settings find the existing resources and change nothing.
//! Other settings create new resources. The endpoint moves over while it keeps answering, and then
//! the old resources are removed. The same command resumes a deployment that failed halfway. Only
//! the weights of variants are changed in place.

mod capture;
mod deploy;
mod endpoint;
mod hosting;
mod registry;
mod removal;
mod rollout;
mod spec;

pub use capture::DataCapture;
pub use deploy::{Incomplete, Outcome, deploy};
pub use endpoint::async_output;
pub use hosting::{AsyncOutput, Hosting};
pub use registry::{Package, register};
pub use removal::{Removal, remove};
pub use rollout::Rollout;
pub use spec::{DeploymentSpec, Variant};
