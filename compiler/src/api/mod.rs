//! The Rust interface: a program file becomes a handle that runs training steps and evaluations.
//!
//! Expects: paths and tensors from the caller.
//! Guarantees: names, shapes and dtypes of everything that goes in are checked; a new shape compiles a new
//! specialisation and keeps the parameters.
//! Leaves out: reading data sets and loops over epochs (the `bpc` program has them).

mod error;
mod model;
mod state;
mod step;
mod values;

pub use error::Error;
pub use model::{Model, compile_file, compile_text};
pub use state::State;
pub use step::{Mode, Step};
pub use values::Tensors;
