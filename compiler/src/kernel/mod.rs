//! From an optimised graph to a program of kernels over two blocks of memory. See [`ir`] for what a program is.

pub mod ir;
