//! `bpc check`: every error of a program.

use super::{Failure, report};
use std::path::Path;

/// Loads and checks; says so if all is well.
pub fn run(program: &Path) -> Result<(), Failure> {
    let model = bpc::compile_file(program)?;
    report(model.warnings(), &model.program().sources);
    println!("{}: no errors", program.display());
    Ok(())
}
