//! The commands of the `bpc` program.
//!
//! Expects: the process's arguments.
//! Guarantees: results go to standard output, everything else to standard error; exit status 0 fine, 1 the program or its data is wrong, 2 the
//! command line is.
//! Leaves out: everything a library user needs too (`bpc::api`).

#![warn(clippy::print_stdout, reason = "`print` has no panic for a full disk or a closed pipe")]

mod arguments;
mod bench;
mod check;
mod compare;
mod compile;
mod data;
mod eval;
mod explain;
mod grad_check;
mod run;
mod table;
mod train;

use arguments::{Arguments, Command, ProgramOptions};
use bpc::{Model, Setting};
use bpc_lang::choice;
use bpc_lang::diagnostics::{Diagnostic, render};
use bpc_lang::source::Sources;
use clap::Parser;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

/// Why a command failed.
pub enum Failure {
    /// The program, its data or the machine.
    Error(bpc::Error),
    /// The command line.
    Usage(String),
    /// A gradient is not what its rule claims; the table says which.
    Gradient,
}

impl<E: Into<bpc::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Error(error.into())
    }
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Train(options) => train::run(&options),
        Command::Eval(options) => eval::run(&options),
        Command::Check(program) => check::run(&program),
        Command::Explain { program, timings, compare } => explain::run(&program, timings, compare),
        Command::GradCheck { program, seed, samples } => grad_check::run(&program, seed, samples),
        Command::Compile { program, emit, output, eval } => compile::run(&program, emit, output.as_deref(), eval),
        Command::Run(options) => run::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::BenchWorker { folder, threads } => bench::serve(&folder, threads),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Error(bpc::Error::Program { diagnostics, sources })) => {
            report(&diagnostics, &sources);
            let blamed = diagnostics.first().map(|diagnostic| sources.path(diagnostic.primary.0.file));
            ExitCode::from(if blamed == Some(choice::PATH) { 2 } else { 1 })
        }
        Err(Failure::Error(error)) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
        Err(Failure::Gradient) => {
            eprintln!("error: a gradient is not what it claims to be; see `FAILS` above");
            ExitCode::from(1)
        }
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

/// Writes results to standard output. A reader that is gone (`| head`) wants no more of them, which is no error.
pub fn print(results: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    match output.write_all(results.as_ref()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Error(bpc::Error::Call(format!("cannot write to standard output: {error}"))))
        }
        _ => Ok(()),
    }
}

/// Prints diagnostics to standard error, and how many errors there were.
pub fn report(diagnostics: &[Diagnostic], sources: &Sources) {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for diagnostic in diagnostics {
        eprintln!("{}\n", render(diagnostic, sources, colour));
    }
    match diagnostics.iter().filter(|diagnostic| diagnostic.severity == bpc_lang::diagnostics::Severity::Error).count()
    {
        0 => {}
        1 => eprintln!("1 error"),
        many => eprintln!("{many} errors"),
    }
}

/// Loads a program and applies its options; warnings are printed.
pub fn open(options: &ProgramOptions) -> Result<Model, Failure> {
    let model = bpc::compile_file(&options.program)?;
    report(model.warnings(), &model.program().sources);
    configured(model, options)
}

/// A program with its options.
pub fn configured(mut model: Model, options: &ProgramOptions) -> Result<Model, Failure> {
    if let Some(name) = &options.model {
        model = model.choose(name);
    }
    for setting in &options.set {
        let (name, value) = pair(setting, "--set wants NAME=VALUE, as in --set B=128")?;
        if model.setting(name).is_some() {
            return Err(Failure::Usage(format!("--set gives `{name}` twice")));
        }
        model = model.set(name, Setting::from_text(value));
    }
    for text in &options.grad {
        model = model.choose_rule(text)?;
    }
    Ok(model)
}

/// The two sides of `NAME=VALUE`.
pub fn pair<'a>(text: &'a str, usage: &str) -> Result<(&'a str, &'a str), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.trim(), value.trim())),
        _ => Err(Failure::Usage(format!("`{text}`: {usage}"))),
    }
}
