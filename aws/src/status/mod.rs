//! Status of the account: endpoints with their last hour, jobs, and logs.

mod endpoints;
mod jobs;
mod logs;
mod metrics;

pub use endpoints::{EndpointStatus, VariantStatus, describe, names};
pub use jobs::{Job, JobKind, jobs};
pub use logs::{LogLine, Logs};
pub use metrics::{LastHour, measure};
