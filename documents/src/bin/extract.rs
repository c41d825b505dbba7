//! `extract FILE` prints a document as JSON. Like the program, it reads the document in a child
//! process.

use std::io::Write;
use std::process::ExitCode;

use epitome_documents::isolated::{Extractor, child_main};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [command, request] if command == "extract-document" => ExitCode::from(child_main(request)),
        [file] => {
            let extractor = Extractor::of_this_program().expect("this program");
            match extractor.read_file(file.as_ref()) {
                Ok(documents) => {
                    let json = serde_json::to_string(&documents).expect("JSON");
                    let _ = writeln!(std::io::stdout(), "{json}");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            }
        }
        _ => {
            eprintln!("extract FILE");
            ExitCode::from(2)
        }
    }
}
