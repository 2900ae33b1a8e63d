//! Programs of kernels to machine code: [`backend`] is the seam, [`cranelift`] the one backend there is, [`jit`] the
//! memory that holds its code and the calls into it, [`library`] the table of runtime routines.

pub mod backend;
pub mod cranelift;
pub mod jit;
pub mod library;
