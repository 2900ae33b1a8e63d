//! What compiled `bpc` code needs when it runs, and what feeds it.

pub mod error;
pub mod file;
pub mod math;
pub mod tensor;
