//! The compiler of `bpc`: a checked program becomes one native function for each training step.
//!
//! Expects: a program loaded by `bpc-lang`, and the sizes and rules that its user chose.
//! Guarantees: same texts and options in, same bytes out, whatever the clock, the environment and the number of workers say.
//! Leaves out: what runs beside the generated code (`bpc-runtime`).

mod api;
pub mod codegen;
pub mod differentiate;
pub mod egraph;
pub mod gradcheck;
pub mod header;
pub mod initial;
pub mod ir;
pub mod kernel;
pub mod lower;
pub mod measure;
pub mod pipeline;
mod trial_sizes;

pub use api::{Error, Mode, Model, State, Step, Tensors, compile_file, compile_text};
pub use lower::Setting;
