//! Networks of bits against golden numbers (written in double precision by independent code, `tests/golden/boolean`) and against
//! the definitions: what a flip of a bit changes.

mod golden;
mod layers;
mod logic;
mod packing;
mod products;
mod training;
