//! `bpc check`: every error of a program.
//!
//! Expects: a program; data or `--set` may give sizes of its models.
//! Guarantees: a model is checked at the sizes that its data and `--set` give; for others some are tried, and a model that fits none of
//! them is spoken of.
//! Leaves out: compiling anything.

use super::arguments::ProgramOptions;
use super::data::input_types;
use super::{Failure, open, print};
use bpc_lang::program::Program;
use bpc_lang::tree::Item;

/// Loads and checks; says so if all is well.
pub fn run(options: &ProgramOptions) -> Result<(), Failure> {
    let model = open(options)?;
    let mut failed = Vec::new();
    // What the command line chooses is chosen for one model.
    let names = if options.model.is_some() || !options.set.is_empty() || !options.grad.is_empty() {
        vec![model.signature()?.model]
    } else {
        models(model.program())
    };
    for name in names {
        let model = model.clone().choose(name.clone());
        match model.check_gradients(&input_types(&model, options)?) {
            Ok(None) => {}
            Ok(Some(reason)) => eprintln!(
                "note: the gradients of `{name}` were not looked at: {reason}; \
                 `bpc check {} --model {name} --set NAME=VALUE` checks them at your sizes",
                options.program.display()
            ),
            Err(bpc::Error::Program { diagnostics, .. }) => failed.extend(diagnostics),
            Err(other) => return Err(other.into()),
        }
    }
    if !failed.is_empty() {
        return Err(bpc::Error::Program { diagnostics: failed, sources: model.program().sources.clone() }.into());
    }
    print(format!("{}: no errors\n", options.program.display()))
}

/// The models of the program's own file.
fn models(program: &Program) -> Vec<String> {
    let items = &program.modules[Program::ROOT.0 as usize].items;
    let name = |item: &Item| if let Item::Model(model) = item { Some(model.name.text.clone()) } else { None };
    items.iter().filter_map(name).collect()
}
