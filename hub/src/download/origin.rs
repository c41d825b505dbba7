//! A model of the hub as an origin for the export.

use std::path::Path;

use epitome_export::Result;
use epitome_export::hub_cache::ModelId;
use epitome_export::source::{Origin, Source, adapter_base};
use epitome_runtime::Progress;

use super::{CONFIG, Fetched, Hub};

/// Configuration of a PEFT adapter.
const ADAPTER_CONFIG: &str = "adapter_config.json";
/// Number of digits of a shortened commit.
const DIGITS: usize = 12;

/// A model of the hub, which is fetched when it is opened.
#[derive(Clone, Debug)]
pub struct HubModel {
    /// The hub.
    pub hub: Hub,
    /// The model.
    pub id: ModelId,
    /// Whether the base of an adapter is fetched too, if the adapter names it.
    pub with_base: bool,
}

impl Origin for HubModel {
    fn open(&self, scratch: Option<&Path>, progress: &dyn Progress) -> Result<Source> {
        let fetched = self.hub.fetch(&self.id, progress)?;
        self.open_fetched(&fetched, scratch, progress)
    }
}

impl HubModel {
    /// Opens a model that was fetched.
    pub fn open_fetched(
        &self,
        fetched: &Fetched,
        scratch: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Source> {
        let folder = &fetched.folder;
        let is_adapter = folder.join(ADAPTER_CONFIG).is_file() && !folder.join(CONFIG).is_file();
        if self.with_base
            && is_adapter
            && let Some(base) = adapter_base(folder)?
        {
            self.hub.fetch(&base, progress)?;
        }
        let source = Source::open(folder, scratch, progress)?;
        let digits = fetched.commit.get(..DIGITS).unwrap_or(&fetched.commit);
        Ok(source.with_name(&format!("{}@{digits}", self.id.name())))
    }
}
