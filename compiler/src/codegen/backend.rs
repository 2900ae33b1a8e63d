//! The seam between the kernel IR and what turns it into code.
//!
//! Expects: programs that `kernel::verify` accepts.
//! Guarantees: backends are interchangeable: the kernel IR fixes every bit of the result, but for the order of the sums in
//! products and routines, which is a matter of the machine.
//! Leaves out: choosing a backend ([`super::Host`]).

use super::memory::AlignedBytes;
use crate::kernel::ir::{Program, Step};
use bpc_runtime::pool::Context;

/// Turns programs into something that runs.
pub trait Backend {
    /// What one compiled program is.
    type Step: CompiledStep;

    /// Compiles the whole program, to be run at once.
    ///
    /// # Errors
    /// A sentence, when the machine is not supported or the code generator fails.
    fn compile(&self, program: &Program) -> Result<Self::Step, String>;

    /// An object file with the function [`step_symbol`]`(context, state, workspace, arguments)`, where `arguments` points at the
    /// address of each; the runtime's routines are imports.
    ///
    /// # Errors
    /// As for [`Backend::compile`].
    fn object(&self, program: &Program) -> Result<Vec<u8>, String>;

    /// The text of the code generator's own intermediate form, before its optimisations.
    ///
    /// # Errors
    /// As for [`Backend::compile`].
    fn intermediate(&self, program: &Program) -> Result<String, String>;

    /// The machine code in assembly language.
    ///
    /// # Errors
    /// As for [`Backend::compile`].
    fn assembly(&self, program: &Program) -> Result<String, String>;

    /// Bytes of scratch that each worker needs.
    fn scratch_bytes(&self, program: &Program) -> u64;

    /// Whether workers share the iterations of a step.
    fn is_shared(&self, step: &Step) -> bool;
}

/// What the function of a whole program is called.
pub fn step_symbol(program: &Program) -> String {
    let letters = program.name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' });
    format!("bpc_step_{}", letters.collect::<String>())
}

/// A tensor in memory of the caller.
pub enum Argument<'a> {
    /// Data: it is read.
    Input(&'a [u8]),
    /// An output: every element is written.
    Output(&'a mut [u8]),
}

/// A program that was compiled.
pub trait CompiledStep {
    /// Bytes of scratch that each worker needs.
    fn scratch_bytes(&self) -> usize;

    /// Workers with as much.
    fn context(&self, threads: usize) -> Context {
        Context::new(threads, self.scratch_bytes())
    }

    /// Runs one step on its two blocks of memory and on what the caller gives, in the order of [`Program::arguments`].
    ///
    /// # Panics
    /// Where a block, or the scratch of the context's workers, is smaller than the program needs, or the arguments are others.
    fn run(
        &self,
        context: &Context,
        state: &mut AlignedBytes,
        workspace: &mut AlignedBytes,
        arguments: &mut [Argument<'_>],
    );
}
