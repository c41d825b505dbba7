//! The `epitome` command: see `epitome --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(epitome::main(std::env::args_os()))
}
