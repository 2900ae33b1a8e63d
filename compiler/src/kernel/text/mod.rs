//! The text form of programs of kernels, for people and for tests.
//!
//! Expects: nothing of the text; a program whose ids exist, each scalar and reduction after those that it uses.
//! Guarantees: `parse(&print(program))` gives an equal program, numbers to the last bit; the ids, axes and operations
//! of a program that was read exist.
//! Leaves out: the invariants of `verify`.
//!
//! ```text
//! program "main" state 0 bytes, workspace 192 bytes
//! b0 : f32[5, 7] data "x" at workspace + 0
//! b1 : f32[5] output "y" at workspace + 128
//! nest "exp.reduce_sum" [i < 5] {
//!   stage [] reduced [j < 7] vector j {
//!     v0: f32 = b0[7 i + j]
//!     v1: f32 = exp v0
//!     r0 = sum of v1
//!     v2: f32 = r0
//!     b1[i] = v2
//!   }
//! }
//! ```
//!
//! Buffers, scalars and reductions are numbered from 0 in order, and so are loop axes: i, j, k, l, p, q, .. (outer,
//! inner, reduced). Scalars before the reductions stand inside the reduced loops, those after them behind. Other scalars:
//! `0.5`, `index 3 + 2 i - j`, `sub v0 v1`, `select v0 v1 v2`, `cast v0 to i32`, a guarded load
//! `b0[i - 1] if 1 <= i < 6 and 0 <= j < 7 else 0.0`, `gather b0 row v1 of 5 stride 7 at i`,
//! `normal site 0123abcd seed b2 step b3 at i`. Other steps:
//! `call counting_sort(b1: i32[3]) {bins = 5} -> b2 in b3`, where b3 is the memory that the routine works in,
//! `product m 5 n 6 k 4 batch [3]: b2(0, [30, 6, 1]) = b0(0, [20, 4, 1]) @ b1(0, [0, 1, 4])` with the offset and the
//! strides over batch, rows and columns, and
//! `repeat "body" 6 reverse sequences [b0 -> b3] initial [b1 -> b4] stacks [b5 -> b2] advance [b6 -> b4] { .. }`. A march
//! names its carries c0, c1, .. around a stage over turns and places, in which `c0` is a scalar:
//!
//! ```text
//! march "body" reverse {
//!   c0: f64 = b0[3 j]
//!   stage [i < 6, j < 8] {
//!     v0: f64 = c0
//!     v1: f64 = neg v0
//!     b1[8 i + j] = v0
//!   }
//!   c0 = v1 last b2[3 j]
//! }
//! ```

mod parse;
mod print;

pub use parse::parse;
pub use print::print;

use super::ir::{BufferRole, ReductionKind};

/// The names of the first loop axes; those after them are i15, i16, ...
const AXES: [&str; 15] = ["i", "j", "k", "l", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z"];

const ROLES: [(BufferRole, &str); 6] = [
    (BufferRole::Parameter, "parameter"),
    (BufferRole::State, "state"),
    (BufferRole::Data, "data"),
    (BufferRole::Output, "output"),
    (BufferRole::Warning, "warning"),
    (BufferRole::Temporary, "temporary"),
];

const REDUCTIONS: [(ReductionKind, &str); 4] = [
    (ReductionKind::Sum, "sum"),
    (ReductionKind::Max, "max"),
    (ReductionKind::Min, "min"),
    (ReductionKind::Argmax, "argmax"),
];

fn axis(index: usize) -> String {
    AXES.get(index).map_or_else(|| format!("i{index}"), |name| (*name).to_owned())
}
