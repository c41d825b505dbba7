//! An endpoint: a model, a configuration that names it, and the endpoint that takes the
//! configuration.
//!
//! Models and configurations cannot be changed, so each is named after its content: `ENDPOINT-` and
//! eight digits of a digest. The same settings find what is there and change nothing. Other
//! settings make new ones beside the old; the endpoint moves over while it goes on answering, and
//! then the old ones are removed. The same command goes on with a deployment that failed half way.

mod deploy;
mod endpoint;
mod removal;
mod spec;

pub use deploy::{Incomplete, Outcome, deploy};
pub use endpoint::in_service;
pub use removal::{Removal, remove};
pub use spec::{DeploymentSpec, Hosting, Step};
