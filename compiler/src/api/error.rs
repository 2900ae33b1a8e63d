//! What can go wrong for a caller of the Rust interface.
//!
//! Expects: nothing.
//! Guarantees: the shown text is complete: diagnostics are rendered with their source lines.
//! Leaves out: colours; the `bpc` program renders diagnostics itself.

use bpc_lang::diagnostics::{Diagnostic, render};
use bpc_lang::source::Sources;
use bpc_runtime::error::DataError;
use std::fmt;

/// Why a model could not be compiled or run. Its debug form is the shown text, which is what a `main` that returns it prints.
pub enum Error {
    /// The program is wrong.
    Program {
        /// What is wrong, in the order of the text.
        diagnostics: Vec<Diagnostic>,
        /// The texts they point into.
        sources: Sources,
    },
    /// A file or tensor is wrong.
    Data(DataError),
    /// A call asks for what the model does not have, or gives it the wrong thing.
    Call(String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Program { diagnostics, sources } => {
                for (place, diagnostic) in diagnostics.iter().enumerate() {
                    if place > 0 {
                        formatter.write_str("\n")?;
                    }
                    formatter.write_str(&render(diagnostic, sources, false))?;
                }
                Ok(())
            }
            Error::Data(error) => error.fmt(formatter),
            Error::Call(message) => formatter.write_str(message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for Error {}

impl From<DataError> for Error {
    fn from(error: DataError) -> Error {
        Error::Data(error)
    }
}
