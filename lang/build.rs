//! Builds the parser from `src/grammar.lalrpop`.

fn main() {
    if let Err(error) = lalrpop::process_src() {
        eprintln!("src/grammar.lalrpop: {error}");
        std::process::exit(1);
    }
}
