//! The seam between the kernel IR and what turns it into code.
//!
//! Expects: a program whose buffers all have a place.
//! Guarantees: backends are interchangeable: the kernel IR fixes every bit of the result.
//! Leaves out: choosing a backend.

use crate::kernel::ir::Program;

/// Turns programs into something that runs.
pub trait Backend {
    /// What one compiled program is.
    type Step;

    /// Compiles the whole program.
    ///
    /// # Errors
    /// A sentence, when the machine is not supported or the code generator fails.
    fn compile(&self, program: &Program) -> Result<Self::Step, String>;
}
