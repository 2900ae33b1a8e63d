//! `bpc compile`: one stage of a compilation as text, or an object file or its C header.

use super::arguments::{ProgramOptions, Stage};
use super::data::input_types;
use super::{Failure, open, print};
use bpc::codegen::Host;
use bpc::codegen::backend::Backend;
use bpc::egraph;
use bpc::header;
use bpc::ir::{dot, text};
use bpc::kernel;
use bpc_lang::{parser, print};
use bpc_runtime::error::DataError;
use std::path::Path;

/// Prints the stage, or writes it to `output`.
pub fn run(options: &ProgramOptions, stage: Stage, output: Option<&Path>, eval: bool) -> Result<(), Failure> {
    if matches!(stage, Stage::Tokens | Stage::Ast) {
        return write(output, syntax(options, stage)?.as_bytes());
    }
    if stage == Stage::Obj && output.is_none() {
        return Err(Failure::Usage("--emit obj wants a file: --output step.o".to_string()));
    }
    let model = open(options)?;
    let compilation = model.compile(&input_types(&model, options)?, !eval)?;
    let backend = |error: String| Failure::Error(bpc::Error::Call(format!("no code for this machine: {error}")));
    let bytes = match stage {
        Stage::Tokens | Stage::Ast => unreachable!("bug in bpc: handled above"),
        Stage::Graph => text::print(&compilation.lowered.graph).into_bytes(),
        Stage::Grad => text::print(&compilation.gradient).into_bytes(),
        Stage::Egraph => egraph::report::text(&compilation.report).into_bytes(),
        Stage::Optimized => text::print(&compilation.optimized).into_bytes(),
        Stage::Kernels => kernel::text::print(&compilation.kernels).into_bytes(),
        Stage::Clif => Host.intermediate(&compilation.kernels).map_err(backend)?.into_bytes(),
        Stage::Asm => Host.assembly(&compilation.kernels).map_err(backend)?.into_bytes(),
        Stage::Obj => Host.object(&compilation.kernels).map_err(backend)?,
        Stage::Header => header::header(&compilation, Host.scratch_bytes(&compilation.kernels)).into_bytes(),
        Stage::Dot => dot::dot(&compilation.optimized).into_bytes(),
    };
    write(output, &bytes)
}

/// Tokens and tree need no correct program.
fn syntax(options: &ProgramOptions, stage: Stage) -> Result<String, Failure> {
    let path = &options.program;
    let text = std::fs::read_to_string(path)
        .map_err(|error| DataError::in_file(path, error.to_string(), "give the path of a .bp program"))?;
    let mut sources = bpc_lang::source::Sources::default();
    let file = sources.add(path.display().to_string(), text);
    if stage == Stage::Tokens {
        return Ok(print::tokens(&sources, file));
    }
    let (module, diagnostics) = parser::parse(&sources, file);
    if diagnostics.is_empty() {
        Ok(print::tree(&module))
    } else {
        Err(bpc::Error::Program { diagnostics, sources }.into())
    }
}

fn write(output: Option<&Path>, bytes: &[u8]) -> Result<(), Failure> {
    match output {
        Some(path) => std::fs::write(path, bytes)
            .map_err(|error| DataError::in_file(path, error.to_string(), "choose a file that can be written"))?,
        None => print(bytes)?,
    }
    Ok(())
}
