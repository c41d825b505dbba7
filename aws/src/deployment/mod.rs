//! An endpoint: models, a configuration that names them, and the endpoint that takes the
//! configuration.
//!
//! Models and configurations cannot be changed, so each is named after its content: `ENDPOINT-` and
//! eight digits of a digest. The same settings find what is there and change nothing. Other
//! settings make new ones beside the old; the endpoint moves over while it goes on answering, and
//! then the old ones are removed. The same command goes on with a deployment that failed half way.
//! The weights of variants are the one thing that is changed in place.

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
