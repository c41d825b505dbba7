//! The container image. It is built from this program and the libraries that it has loaded, and
//! pushed to a registry over HTTP. This needs neither Docker nor a base image.

mod contents;
mod ecr;
mod layout;
mod push;

use crate::service::domain;

pub use contents::{Contents, Entry, EntryKind};
pub use ecr::Ecr;
pub use layout::Image;
pub use push::{InvalidReference, Reference, Registry};

/// Name of the default repository.
pub const REPOSITORY: &str = "epitome";

/// The default image of this version, in the account of a role.
pub fn default_uri(role: &str, region: &str) -> Option<String> {
    let account = role.split(':').nth(4)?;
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    is_account.then(|| {
        format!(
            "{account}.dkr.ecr.{region}.{}/{REPOSITORY}:{}",
            domain(region),
            env!("CARGO_PKG_VERSION")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_tells_the_account() {
        let uri = default_uri("arn:aws:iam::123456789012:role/service-role/a", "eu-west-1");
        let uri = uri.unwrap();
        let start = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/epitome:";
        assert!(uri.starts_with(start), "{uri}");
        assert_eq!(default_uri("arn:aws:iam::me:role/a", "eu-west-1"), None);
        assert_eq!(default_uri("me", "eu-west-1"), None);
    }
}
