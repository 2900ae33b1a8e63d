//! Elementary functions, one family a file: scalars here, whole arrays in [`array`].
//!
//! Expects: nothing; every float is an argument.
//! Guarantees: the same bits on every machine and instruction set: no function of the system's mathematical library is
//! called but `fma` (exact), and bodies are straight lines of IEEE operations that a compiler may vectorise but not
//! round otherwise. Errors stay below 2 units in the last place of f32 and f64 (tested); special values are those of C's
//! Annex F; a NaN is a NaN, its payload unspecified (arrays give the one of `NAN`).
//! Leaves out: rounding modes and exception flags.
//!
//! Every function is free of branches (its `if`s are selections) so that loops over it become vector code. Polynomials
//! are near-minimax fits of the functions named beside them, made in 60 digits and rounded to the working precision.

pub mod array;
pub mod erf;
pub mod exp;
pub mod log;
pub mod pow;
pub mod tanh;
pub mod trigonometric;

/// The error function.
pub fn erf(x: f64) -> f64 {
    erf::erf_f64(x)
}

/// c0 + c1 x + c2 x^2 + .. by Horner's rule with fused steps.
macro_rules! polynomial {
    ($x:expr; $constant:expr) => { $constant };
    ($x:expr; $constant:expr, $($rest:expr),+ $(,)?) => { $x.mul_add($crate::math::polynomial!($x; $($rest),+), $constant) };
}
pub(crate) use polynomial;

#[cfg(test)]
mod tests;
