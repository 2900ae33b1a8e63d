//! Gradients against the mathematics: exact rules and whole models against finite differences, estimators against the
//! derivative of what they estimate: by enumeration where few outcomes are drawn, else by samples. Everything runs in double precision by the interpreter.
//!
//! Expects: a compiled training step.
//! Guarantees: the same seed gives the same numbers.
//! Leaves out: how results are shown.

mod double;
mod draws;
mod estimator;
mod exact;
mod expectation;
mod model;
mod numbers;
mod piece;

pub use estimator::{Bias, Estimator, KINDS, Method, Verdict, estimators};
pub use exact::{Exact, exact_rules};
pub use expectation::{Enumeration, Expectation, Moments};
pub use model::{Comparison, Loss, losses};

/// The largest relative error of a derivative that holds.
pub const TOLERANCE: f64 = 1e-5;

/// The most outcomes of discrete draws that are enumerated.
pub const MOST_OUTCOMES: usize = 4096;

/// The most operations of one run of the interpreter.
const LARGEST_WORK: u64 = 20_000_000;

/// Steps of the differences. A derivative holds if it agrees with one of them: within the first there may be a kink (of a
/// relu, say), which the second avoids at the price of more rounding.
const STEPS: [f64; 2] = [1e-6, 1e-8];
