//! Programs of kernels to machine code: [`backend`] is the seam, `cranelift` the one backend there is, [`memory`] what its code
//! works on. All `unsafe` of the compiler is in `memory.rs` and `cranelift/jit.rs`.

pub mod backend;
mod cranelift;
pub mod memory;

/// The backend for the machine that this runs on: nothing else names one.
pub use cranelift::Cranelift as Host;
