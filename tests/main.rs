//! All tests of the whole program in one binary, which is linked once and runs them in parallel.

#[cfg(feature = "aws")]
mod aws;
mod batch;
mod bench;
mod calibration;
mod cases;
mod cli;
mod common;
mod compare;
mod documentation;
#[cfg(feature = "hub")]
mod hub;
#[cfg(unix)]
mod library;
mod long_documents;
mod page;
mod parity_forward;
mod parity_generate;
mod parity_optimum;
mod parity_trained;
mod precision;
mod prompt_lookup;
#[cfg(feature = "aws")]
mod s3;
mod serve;
mod stop_strings;
mod summarize;
#[cfg(unix)]
mod temporary_folders;
#[cfg(feature = "aws")]
mod train;
mod weight_formats;

/// A file that is not a module above would not be compiled.
#[test]
fn every_file_is_part_of_the_suite() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let suite = include_str!("main.rs");
    for file in std::fs::read_dir(root).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            assert!(suite.contains(&format!("mod {module};\n")), "tests/{name} is in no module");
        }
    }
}
