//! The repository's trained model and documents.

use std::env;
use std::path::{Path, PathBuf};

/// Archive of the trained model.
const TRAINED: &str = "pegasus-debian.tar.gz";
/// Documents and summaries that the model was not trained on.
const HELD_OUT: &str = "summaries/validation-1000.csv";
/// Environment variable with an archive or a checkpoint folder to measure in place of the trained
/// model.
const SOURCE_VARIABLE: &str = "EPITOME_BENCH_SOURCE";

/// The repository's `fixtures/`: below the current folder, or in the folder where this program was
/// built.
pub(crate) fn folder() -> PathBuf {
    let here = PathBuf::from("fixtures");
    if here.join(HELD_OUT).is_file() {
        here
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
    }
}

/// Documents with reference summaries that the model was not trained on.
pub fn held_out() -> PathBuf {
    folder().join(HELD_OUT)
}

/// The trained model's archive.
pub fn trained() -> PathBuf {
    env::var_os(SOURCE_VARIABLE).map_or_else(|| folder().join(TRAINED), PathBuf::from)
}
