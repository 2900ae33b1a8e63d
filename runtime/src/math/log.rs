//! log and log(1 + x): x = 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2), a polynomial in f (f32) or in f / (2 + f)
//! (f64, with the coefficients of FreeBSD's msun), then k log 2.

use super::polynomial;

/// log 2 in two parts, the first with so few bits that its product with k is exact.
const LN2_F32: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
pub(super) const LN2_F64: (f64, f64) = (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10);

/// Bits of sqrt(1/2), and what lies between it and 1.
const LOW_F32: u32 = 0x3f35_04f3;
const LOW_F64: u64 = 0x3fe6_a09e_667f_3bcd;

/// k and f of a positive normal x.
#[inline(always)]
fn split_f32(x: f32) -> (f32, f32) {
    let bits = x.to_bits().wrapping_sub(LOW_F32);
    let k = (bits as i32) >> 23;
    (k as f32, f32::from_bits((bits & 0x007f_ffff).wrapping_add(LOW_F32)) - 1.0)
}

/// k and f of a positive normal x.
#[inline(always)]
pub(super) fn split_f64(x: f64) -> (f64, f64) {
    let bits = x.to_bits().wrapping_add(0x3ff0_0000_0000_0000 - LOW_F64);
    // The exponent, a small whole number, as the low bits of 2^52 + exponent.
    let k = f64::from_bits((bits >> 52) | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + 1023.0);
    (k, f64::from_bits((bits & 0x000f_ffff_ffff_ffff).wrapping_add(LOW_F64)) - 1.0)
}

/// k log 2 + log(1 + f) + c for a small correction c.
#[inline(always)]
fn join_f32(k: f32, f: f32, c: f32) -> f32 {
    // (log(1 + f) - f + f^2 / 2) / f^3
    let p = polynomial!(f; 0.333_333_1, -0.249_999_87, 0.200_022_25, -0.166_692_47, 0.142_187_06, -0.123_845_12,
        0.118_728_29, -0.117_885_1, 0.069_138_52);
    let square = f * f;
    let small = (square * f).mul_add(p, k.mul_add(LN2_F32.1, c));
    k.mul_add(LN2_F32.0, f + square.mul_add(-0.5, small))
}

/// k log 2 + log(1 + f) + c for a small correction c.
#[inline(always)]
fn join_f64(k: f64, f: f64, c: f64) -> f64 {
    let half_square = 0.5 * f * f;
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * polynomial!(z; 6.666_666_666_666_735e-1, 3.999_999_999_940_942e-1, 2.857_142_874_366_239e-1,
        2.222_219_843_214_978_4e-1, 1.818_357_216_161_805e-1, 1.531_383_769_920_937_3e-1, 1.479_819_860_511_658_6e-1);
    let small = s.mul_add(half_square + r, k.mul_add(LN2_F64.1, c));
    k.mul_add(LN2_F64.0, f + (small - half_square))
}

/// Natural logarithm.
#[inline(always)]
pub fn log_f32(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let (k, f) = split_f32(if tiny { x * 16_777_216.0 } else { x });
    let y = join_f32(if tiny { k - 24.0 } else { k }, f, 0.0);
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x >= 0.0 { y } else { f32::NAN }
}

/// Natural logarithm.
#[inline(always)]
pub fn log_f64(x: f64) -> f64 {
    let tiny = x < f64::MIN_POSITIVE;
    let (k, f) = split_f64(if tiny { x * 18_014_398_509_481_984.0 } else { x });
    let y = join_f64(if tiny { k - 54.0 } else { k }, f, 0.0);
    let y = if x == f64::INFINITY { x } else { y };
    let y = if x == 0.0 { f64::NEG_INFINITY } else { y };
    if x >= 0.0 { y } else { f64::NAN }
}

/// log(1 + x): the logarithm of the rounded sum u, and what was rounded away divided by u.
#[inline(always)]
pub fn log1p_f32(x: f32) -> f32 {
    let u = 1.0 + x;
    let (k, f) = split_f32(u);
    let lost = if x >= 1.0 { 1.0 - (u - x) } else { x - (u - 1.0) };
    let near = x > -0.29 && x < 0.41;
    let (k, f, c) = if near { (0.0, x, 0.0) } else { (k, f, lost / u) };
    let y = join_f32(k, f, c);
    let y = if x == f32::INFINITY || x == 0.0 { x } else { y };
    let y = if x == -1.0 { f32::NEG_INFINITY } else { y };
    if x >= -1.0 { y } else { f32::NAN }
}

/// log(1 + x), as for f32.
#[inline(always)]
pub fn log1p_f64(x: f64) -> f64 {
    let u = 1.0 + x;
    let (k, f) = split_f64(u);
    let lost = if x >= 1.0 { 1.0 - (u - x) } else { x - (u - 1.0) };
    let near = x > -0.29 && x < 0.41;
    let (k, f, c) = if near { (0.0, x, 0.0) } else { (k, f, lost / u) };
    let y = join_f64(k, f, c);
    let y = if x == f64::INFINITY || x == 0.0 { x } else { y };
    let y = if x == -1.0 { f64::NEG_INFINITY } else { y };
    if x >= -1.0 { y } else { f64::NAN }
}
