//! The graph IR: typed tensor operations in regions.
//!
//! [`op`] holds the table of operations, whose type rules are in [`infer`]; [`graph`] the arenas; [`text`] the text form
//! and [`dot`] a picture; [`verify`] the invariants; [`interpret`] the meaning of every operation, and
//! [`rounded`] what it gives for single numbers to the bit; [`work`] what it takes. Passes build new graphs with [`copy`] and ask petgraph
//! about old ones through [`view`].

pub mod attribute;
pub mod copy;
pub mod dot;
pub mod graph;
pub mod infer;
pub mod interpret;
pub mod op;
pub mod rounded;
pub mod text;
pub mod types;
pub mod verify;
pub mod view;
pub mod work;
