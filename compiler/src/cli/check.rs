//! `bpc check`: every error of a program.

use super::{Failure, print, report};
use std::path::Path;

/// Loads and checks; says so if all is well.
pub fn run(program: &Path) -> Result<(), Failure> {
    let model = bpc::compile_file(program)?;
    let diagnostics = bpc::pipeline::check_gradients(model.program());
    if !diagnostics.is_empty() {
        return Err(bpc::Error::Program { diagnostics, sources: model.program().sources.clone() }.into());
    }
    report(model.warnings(), &model.program().sources);
    print(format!("{}: no errors\n", program.display()))
}
