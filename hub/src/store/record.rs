//! Where a model of the store came from.

use epitome_export::hub_cache::ModelId;
use epitome_runtime::bundle::Precision;
use serde::{Deserialize, Serialize};

use crate::license::License;

/// The record of a model: enough to export it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The model's name on the hub.
    pub id: String,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
    /// The commit that it was then.
    pub commit: String,
    /// The precision that was asked for.
    pub precision: Precision,
    /// What an adapter was trained on, where it was named.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base: Option<String>,
    /// What the hub says about its licence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub license: Option<License>,
}

impl Record {
    /// The commit that it was made from; none where the record was changed to what the hub cannot
    /// have.
    pub fn source(&self) -> Option<ModelId> {
        ModelId::new(&self.id, Some(&self.commit)).ok()
    }
}
