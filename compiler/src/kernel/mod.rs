//! From an optimised graph to a program of kernels over two blocks of memory. See [`ir`] for what a program is.

pub mod emit;
pub mod ir;
pub mod memory;
pub mod product;
pub mod region;
pub mod repeat;
pub mod views;
