//! The graph IR: typed tensor operations in regions. See [`op`] for the table of operations.

pub mod attribute;
pub mod copy;
pub mod dot;
pub mod graph;
pub mod infer;
pub mod interpret;
pub mod op;
pub mod text;
pub mod types;
pub mod verify;
pub mod view;
