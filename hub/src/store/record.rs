//! The origin of a model in the store.

use epitome_export::hub_cache::ModelId;
use epitome_runtime::bundle::Precision;
use serde::{Deserialize, Serialize};

use crate::license::License;

/// The origin of a model, sufficient for another export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The model's name on the hub.
    pub id: String,
    /// The requested branch, tag or commit.
    pub revision: String,
    /// The commit of the revision at that time.
    pub commit: String,
    /// The requested precision.
    pub precision: Precision,
    /// The base of an adapter, if it was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base: Option<String>,
    /// The license that the hub states.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub license: Option<License>,
}

impl Record {
    /// The commit that the model was made from; `None` if the record was edited to values that are
    /// not valid on the hub.
    pub fn source(&self) -> Option<ModelId> {
        ModelId::new(&self.id, Some(&self.commit)).ok()
    }
}
