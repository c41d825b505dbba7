//! Options of [`super::prepare`].

use epitome_runtime::Progress;

/// Columns to read, and parameters of the split.
pub struct PrepareOptions<'a> {
    /// The column of CSV, or the field of JSON lines, that holds the documents.
    pub text_column: &'a str,
    /// The column or field that holds the summaries.
    pub summary_column: &'a str,
    /// The share of rows to validate with, in (0, 1).
    pub validation: f64,
    /// Seed of the split. The same seed splits the same rows in the same way.
    pub seed: u64,
    /// Receives the progress, and can stop the work.
    pub progress: &'a dyn Progress,
}
