//! Random programs through the whole compiler: what the tests and the fuzz target share.

pub mod compare;
pub mod generator;
