//! Special functions.

/// erf
pub fn erf(x: f64) -> f64 {
    x
}
