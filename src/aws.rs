//! The connection of this command to AWS, made when it is first needed.

use std::sync::OnceLock;

use anyhow::Result;
use epitome_aws::{Connection, ControlPlane, S3};

/// The connection.
pub(crate) fn connection() -> Result<&'static Connection> {
    static CONNECTION: OnceLock<Connection> = OnceLock::new();
    once(&CONNECTION, || Ok(Connection::open()?))
}

/// The client of S3.
pub(crate) fn s3() -> Result<&'static S3> {
    static S3_CLIENT: OnceLock<S3> = OnceLock::new();
    once(&S3_CLIENT, || Ok(S3::new(connection()?)?))
}

/// The control plane, in the region that the environment names.
pub(crate) fn control_plane() -> Result<ControlPlane> {
    Ok(ControlPlane::new(connection()?)?)
}

fn once<T>(cell: &'static OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&'static T> {
    match cell.get() {
        Some(made) => Ok(made),
        None => {
            let made = make()?;
            Ok(cell.get_or_init(|| made))
        }
    }
}
