//! What compiled `bpc` code needs when it runs, and what feeds it.

pub mod abi;
pub mod bits;
pub mod checkpoint;
pub mod data;
pub mod engine;
pub mod error;
pub mod file;
pub mod json_tensor;
pub mod library;
pub mod math;
pub mod philox;
pub mod pool;
pub mod product;
pub mod room;
pub mod scatter;
pub mod segments;
mod shared;
pub mod tensor;
pub mod tensor_file;
pub mod walsh;
