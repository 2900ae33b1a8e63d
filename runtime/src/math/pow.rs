//! x^y: e^(y log x), the logarithm of f64 in twice the precision.

use super::exp::exp_of_sum_f64;
use super::log::{LN2_F64, log_f64, split_f64};
use super::polynomial;

/// x to the power y. In f64 precision, which leaves plenty.
#[inline(always)]
pub fn pow_f32(x: f32, y: f32) -> f32 {
    let (x, y) = (f64::from(x), f64::from(y));
    let product = y * log_f64(x.abs());
    select_special(x, y, exp_of_sum_f64(product, 0.0)) as f32
}

/// x to the power y.
#[inline(always)]
pub fn pow_f64(x: f64, y: f64) -> f64 {
    let (log, rest) = log_in_two_parts(x.abs());
    let product = y * log;
    let rest = y.mul_add(log, -product) + y * rest;
    // Where the product is beyond all bounds the rest is nothing, or NaN.
    let rest = if product.abs() < 1000.0 { rest } else { 0.0 };
    select_special(x, y, exp_of_sum_f64(product, rest))
}

/// log x of a positive finite x as a sum of two; good to some 2^-63 of its size. Others: finite or not, `select_special`
/// does not look at what they give.
#[inline(always)]
fn log_in_two_parts(x: f64) -> (f64, f64) {
    let tiny = x < f64::MIN_POSITIVE;
    let (k, f) = split_f64(if tiny { x * 18_014_398_509_481_984.0 } else { x });
    let k = if tiny { k - 54.0 } else { k };
    // log(1 + f) = 2 atanh(s), s = f / (2 + f) = s_high + s_low
    let d = 2.0 + f;
    let d_low = f - (d - 2.0);
    let s = f / d;
    let s_low = (-s).mul_add(d_low, (-s).mul_add(d, f)) / d;
    let z = s * s;
    let z_low = s.mul_add(s, -z) + 2.0 * s * s_low;
    // (atanh(s) / s - 1 - s^2 / 3) / s^4
    let tail = polynomial!(z; 0.199_999_999_999_999_9, 0.142_857_142_857_225_8, 0.111_111_111_087_628_54,
        0.090_909_094_357_213_49, 0.076_922_784_019_163_82, 0.066_681_598_618_660_4, 0.058_373_879_331_710_26,
        0.059_946_718_189_055_656);
    // b = z (1/3 + z tail)
    let (third, third_low) = (0.333_333_333_333_333_3, 1.850_371_707_708_594e-17);
    let w = z * tail;
    let a = third + w;
    let a_low = (third - a) + w + third_low;
    let b = z * a;
    let b_low = z.mul_add(a, -b) + z.mul_add(a_low, z_low * a);
    // 2 s (1 + b)
    let c = 2.0 * s;
    let t = c * b;
    let t_low = c.mul_add(b, -t) + c * b_low;
    let high = c + t;
    let low = (c - high) + t + (t_low + 2.0 * s_low * (1.0 + b));
    // + k log 2
    let whole = k * LN2_F64.0;
    let sum = whole + high;
    let rest = (whole - sum) + high + k.mul_add(LN2_F64.1, low);
    let result = sum + rest;
    (result, (sum - result) + rest)
}

/// The power with the special cases of C's Annex F, given |x|^y for finite positive |x|.
#[inline(always)]
fn select_special(x: f64, y: f64, power: f64) -> f64 {
    let a = x.abs();
    let whole = y.trunc() == y;
    let half = 0.5 * y;
    let odd = whole && half.trunc() != half;
    let negative = x.is_sign_negative();
    let vanishing = if y > 0.0 { 0.0 } else { f64::INFINITY };
    let growing = if y > 0.0 { f64::INFINITY } else { 0.0 };
    let power = if a == 0.0 { vanishing } else { power };
    let power = if a == f64::INFINITY { growing } else { power };
    let power = if y == f64::INFINITY { if a > 1.0 { f64::INFINITY } else { 0.0 } } else { power };
    let power = if y == f64::NEG_INFINITY { if a > 1.0 { 0.0 } else { f64::INFINITY } } else { power };
    let power = if a == 1.0 { 1.0 } else { power };
    let power = if x < 0.0 && !whole && a != f64::INFINITY { f64::NAN } else { power };
    let power = if negative && odd { -power } else { power };
    let power = if x.is_nan() || y.is_nan() { f64::NAN } else { power };
    if y == 0.0 || x == 1.0 { 1.0 } else { power }
}
