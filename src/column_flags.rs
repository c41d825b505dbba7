//! The flags that name the columns of a file of documents.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use epitome_evaluation::data::{Columns, Dataset};

/// Which columns to read.
#[derive(Args, Clone, Debug)]
pub(crate) struct ColumnFlags {
    /// Column of the texts; without it, a usual name is looked for: text, article, document,
    /// dialogue and more
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Column of the reference summaries; without it, a usual name is looked for: summary,
    /// highlights, abstract and more
    #[arg(long, value_name = "NAME")]
    summary_column: Option<String>,
}

impl ColumnFlags {
    /// Reads at most `limit` documents of a file.
    pub(crate) fn read(&self, path: &Path, limit: Option<usize>) -> Result<Dataset> {
        let columns =
            Columns { text: self.text_column.clone(), summary: self.summary_column.clone() };
        Ok(Dataset::read_columns(path, limit, &columns)?)
    }
}
