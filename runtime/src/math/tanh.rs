//! tanh: near zero x + x^3 p(x^2), farther out 1 - 2 / (e^(2|x|) + 1).

use super::exp::{exp_f64, near_exp_f32};
use super::polynomial;

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh_f32(x: f32) -> f32 {
    let s = x * x;
    // (tanh x - x) / x^3
    let p = polynomial!(s; -0.333_332_84, 0.133_314_71, -0.053_741_8, 0.020_644_763, -0.005_710_211_6);
    let near = (x * s).mul_add(p, x);
    let a = x.abs();
    // From here on the result rounds to 1.
    let a = if a > 10.0 { 10.0 } else { a };
    let far = 1.0 - 2.0 / (near_exp_f32(2.0 * a) + 1.0);
    (if a < 0.625 { near } else { far }).copysign(x)
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh_f64(x: f64) -> f64 {
    let s = x * x;
    // (tanh x - x) / x^3
    let p = polynomial!(s; -0.333_333_333_333_333_15, 0.133_333_333_333_297_72, -0.053_968_253_966_070_75,
        0.021_869_488_468_913_297, -0.008_863_234_313_907_292, 0.003_592_113_996_961_712, -0.001_455_725_835_265_388,
        0.000_589_450_949_495_485_3, -0.000_237_008_395_069_387_7, 9.155_093_746_383_548e-5, -3.017_815_755_950_665_5e-5,
        6.037_843_372_194_238e-6);
    let near = (x * s).mul_add(p, x);
    let a = x.abs();
    let a = if a > 20.0 { 20.0 } else { a };
    let far = 1.0 - 2.0 / (exp_f64(2.0 * a) + 1.0);
    (if a < 0.625 { near } else { far }).copysign(x)
}
