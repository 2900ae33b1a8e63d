//! A choice of a gradient rule that stands outside of the program: `linear in blocks.*=wht(k = 2)`.
//!
//! Expects: a loaded program, and the text of the choice.
//! Guarantees: the text is read by the grammar of the language and becomes one of the program's texts, so that every later message
//! can point into it; names in the arguments are those that the root module sees.
//! Leaves out: whether the function is called and has such a rule (the compiler's lowering finds that).

use crate::diagnostics::Diagnostic;
use crate::names;
use crate::parser;
use crate::program::Program;
use crate::tree::GradChoice;

/// What messages call the text of a choice.
pub const PATH: &str = "--grad";

/// Reads a choice and adds its text to the program.
///
/// # Errors
/// What is wrong with it.
pub fn read_choice(program: &mut Program, text: &str) -> Result<GradChoice, Vec<Diagnostic>> {
    let file = program.sources.add(PATH, text);
    let choice = parser::parse_choice(&program.sources, file)?;
    let wrong = names::check_arguments(program, &choice.rule.args);
    if wrong.is_empty() { Ok(choice) } else { Err(wrong) }
}
