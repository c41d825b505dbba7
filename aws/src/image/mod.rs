//! The container's image: made of this program and the libraries that it has loaded, and sent to a
//! registry over HTTP. No Docker and no other image is needed.

mod contents;
mod ecr;
mod layout;
mod push;

use crate::service::domain;

pub use contents::{Contents, Entry, EntryKind};
pub use ecr::Ecr;
pub use layout::Image;
pub use push::{InvalidReference, Reference, Registry};

/// The repository that the image is pushed to, unless another one is named.
pub const REPOSITORY: &str = "epitome";

/// The image that this version pushes, in the account of a role.
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
