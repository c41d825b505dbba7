//! The `epitome` command: see `epitome --help`.

fn main() {
    epitome::main(std::env::args_os())
}
