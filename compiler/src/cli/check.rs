//! `bpc check`: every error of a program.

use super::{Failure, print, report};
use std::path::Path;

/// Loads and checks; says so if all is well.
pub fn run(program: &Path) -> Result<(), Failure> {
    let model = bpc::compile_file(program)?;
    let check = bpc::pipeline::check_gradients(model.program());
    if !check.diagnostics.is_empty() {
        return Err(
            bpc::Error::Program { diagnostics: check.diagnostics, sources: model.program().sources.clone() }.into()
        );
    }
    report(model.warnings(), &model.program().sources);
    for model in &check.unchecked {
        eprintln!(
            "note: the gradients of `{model}` were not checked: none of the sizes that were tried for its dims fit together; \
             `bpc explain --model {model} --set NAME=SIZE` checks them at your sizes"
        );
    }
    print(format!("{}: no errors\n", program.display()))
}
