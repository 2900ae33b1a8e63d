//! Programs of kernels to machine code: [`backend`] is the seam, [`cranelift`] the one backend there is, [`jit`] the
//! memory that holds its code and the calls into it.

pub mod backend;
mod cranelift;
pub mod jit;

/// The backend for the machine that this runs on: nothing else names one.
pub use cranelift::Cranelift as Host;
