//! The Cranelift backend: x86-64 and AArch64 code for the machine it runs on, in milliseconds.
//!
//! Expects: a program that `kernel::verify` accepts; it is asked before any code is made.
//! Guarantees: one function a step; the bits of the results depend on the program alone, not on threads.
//! Leaves out: products, heavy functions, random numbers and library operations, which are calls of `bpc_runtime::abi`.

mod arithmetic;
mod bits;
mod emitter;
mod jit;
mod kernel;
mod march;
mod module;
mod plan;
mod runtime;
mod scalar;
mod step;
mod vector;

use super::backend::Backend;
use crate::kernel::ir::{Program, Step};
use crate::kernel::library;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::default_libcall_names;
use cranelift_object::{ObjectBuilder, ObjectModule};
use jit::JitStep;
use module::Listing;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cranelift;

impl Backend for Cranelift {
    type Step = JitStep;

    fn compile(&self, program: &Program) -> Result<JitStep, String> {
        let mut builder = JITBuilder::with_isa(module::isa(false)?, default_libcall_names());
        builder.symbols(bpc_runtime::abi::symbols());
        let mut module = JITModule::new(builder);
        let main = module::generate(&mut module, program, &mut Listing::None)?;
        JitStep::new(module, main, program, self.scratch_bytes(program))
    }

    fn object(&self, program: &Program) -> Result<Vec<u8>, String> {
        let mut module = object_module(program)?;
        module::generate(&mut module, program, &mut Listing::None)?;
        module.finish().emit().map_err(|error| format!("cannot write the object file: {error}"))
    }

    fn intermediate(&self, program: &Program) -> Result<String, String> {
        listing(program, Listing::Clif(String::new()))
    }

    fn assembly(&self, program: &Program) -> Result<String, String> {
        listing(program, Listing::Assembly(String::new()))
    }

    fn scratch_bytes(&self, program: &Program) -> u64 {
        let kernels = step::kernels(program).iter().map(|(kernel, _)| kernel.scratch_bytes()).max();
        kernels.unwrap_or(0).max(library::room(program).worker)
    }

    fn is_shared(&self, step: &Step) -> bool {
        match step {
            Step::Nest(nest) => step::is_shared(&kernel::Iterations::of(nest)),
            Step::March(march) => step::is_shared(&march::iterations(march)),
            Step::Product(_) | Step::Call(_) | Step::Repeat(_) => false,
        }
    }
}

fn listing(program: &Program, mut listing: Listing) -> Result<String, String> {
    module::generate(&mut object_module(program)?, program, &mut listing)?;
    Ok(listing.into_text())
}

fn object_module(program: &Program) -> Result<ObjectModule, String> {
    let builder = ObjectBuilder::new(module::isa(true)?, program.name.clone(), default_libcall_names());
    Ok(ObjectModule::new(builder.map_err(|error| format!("cannot write object files here: {error}"))?))
}
