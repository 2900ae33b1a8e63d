//! The front end of `bpc`: text to a checked program.
//!
//! Expects: texts, never paths; whoever calls reads the files.
//! Guarantees: bad input gives [`diagnostics::Diagnostic`]s, several in one run, and never a panic; the result depends
//! on nothing but the texts.
//! Leaves out: graphs, gradients and code; this crate knows nothing of them.

pub mod builtins;
pub mod diagnostics;
pub mod program;
pub mod source;
#[allow(missing_docs, reason = "fields are documented at their variant")]
pub mod tree;
