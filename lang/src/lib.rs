//! The front end of `bpc`: text to a checked program.
//!
//! Expects: texts, never paths; whoever calls reads the files.
//! Guarantees: bad input gives [`diagnostics::Diagnostic`]s, several in one run, and never a panic; the result depends
//! on nothing but the texts.
//! Leaves out: graphs, gradients and code; this crate knows nothing of them.

mod build;
pub mod builtins;
pub mod choice;
pub mod diagnostics;
mod grammar_rules {
    lalrpop_util::lalrpop_mod!(#[allow(missing_docs, clippy::all, clippy::pedantic, unused)] pub grammar);
}
pub mod lexer;
pub mod loader;
mod names;
pub mod parser;
pub mod print;
pub mod program;
pub mod source;
pub mod stdlib;
pub mod suggest;
#[allow(missing_docs, reason = "fields are documented at their variant")]
pub mod tree;
