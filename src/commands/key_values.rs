//! Flags of the form NAME=VALUE.

use clap::Args;

/// Tags of AWS resources.
#[derive(Args)]
pub(super) struct TagFlags {
    /// Tags of everything that is made in the account
    #[arg(
        long = "tag",
        visible_alias = "tags",
        value_name = "NAME=VALUE,...",
        value_parser = key_value,
        value_delimiter = ','
    )]
    pub(super) tags: Vec<(String, String)>,
}

/// Splits at the first equals sign into name and value.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("give NAME=VALUE".into()),
    }
}
