//! exp and exp - 1: x = n log 2 + r with |r| <= log 2 / 2, a polynomial in r, then 2^n.

use super::polynomial;

/// 1.5 * 2^23: adding it rounds to a whole number and leaves that number in the low bits.
pub(super) const ROUND_F32: f32 = 12_582_912.0;
/// 1.5 * 2^52, for f64.
pub(super) const ROUND_F64: f64 = 6_755_399_441_055_744.0;

const LOG2E_F32: f32 = std::f32::consts::LOG2_E;
const LOG2E_F64: f64 = std::f64::consts::LOG2_E;
/// log 2 in two parts; fused steps need no room at the end of the first.
const LN2_F32: (f32, f32) = (std::f32::consts::LN_2, -1.904_654_2e-9);
const LN2_F64: (f64, f64) = (std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17);

/// n and r of x, n also as bits.
#[inline(always)]
fn reduce_f32(x: f32) -> (i32, f32) {
    let shifted = x.mul_add(LOG2E_F32, ROUND_F32);
    let n = shifted - ROUND_F32;
    let r = n.mul_add(-LN2_F32.1, n.mul_add(-LN2_F32.0, x));
    (shifted.to_bits().wrapping_sub(ROUND_F32.to_bits()) as i32, r)
}

#[inline(always)]
fn reduce_f64(x: f64) -> (f64, i64, f64) {
    let shifted = x.mul_add(LOG2E_F64, ROUND_F64);
    let n = shifted - ROUND_F64;
    let r = n.mul_add(-LN2_F64.1, n.mul_add(-LN2_F64.0, x));
    (n, shifted.to_bits().wrapping_sub(ROUND_F64.to_bits()) as i64, r)
}

/// 2^n for -126 <= n <= 127.
#[inline(always)]
fn power_f32(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// 2^n for -1022 <= n <= 1023.
#[inline(always)]
fn power_f64(n: i64) -> f64 {
    f64::from_bits((n.wrapping_add(1023) as u64) << 52)
}

/// n and y with e^x = 2^n y.
#[inline(always)]
fn parts_f32(x: f32) -> (i32, f32) {
    let (n, r) = reduce_f32(x);
    // (e^r - 1 - r) / r^2
    let q = polynomial!(r; 0.5, 0.166_665_18, 0.041_666_187, 0.008_368_896, 0.001_395_156_7);
    (n, (r * r).mul_add(q, r) + 1.0)
}

/// [`exp_f32`] for x between -80 and 80, where the result is a normal number.
#[inline(always)]
pub(super) fn near_exp_f32(x: f32) -> f32 {
    let (n, y) = parts_f32(x);
    y * power_f32(n)
}

/// e^x.
#[inline(always)]
pub fn exp_f32(x: f32) -> f32 {
    // Beyond these bounds the result is infinite or zero; a NaN passes.
    let x = if x > 89.5 { 89.5 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let (n, y) = parts_f32(x);
    // In two steps, so that results below the normal range are rounded once.
    let half = n >> 1;
    y * power_f32(half) * power_f32(n.wrapping_sub(half))
}

/// e^x.
#[inline(always)]
pub fn exp_f64(x: f64) -> f64 {
    exp_of_sum_f64(x, 0.0)
}

/// e^(x + y) for y far below x's last place.
#[inline(always)]
pub(super) fn exp_of_sum_f64(x: f64, y: f64) -> f64 {
    let x = if x > 710.0 { 710.0 } else { x };
    let x = if x < -746.0 { -746.0 } else { x };
    let (n, bits, r) = reduce_f64(x);
    let r = r + y;
    // (e^r - 1 - r) / r^2
    let q = polynomial!(r; 0.5, 0.166_666_666_666_666_85, 0.041_666_666_666_666_73, 0.008_333_333_333_316_616,
        0.001_388_888_888_885_827_4, 0.000_198_412_698_973_707_6, 2.480_158_737_391_371e-5, 2.755_723_392_336_073e-6,
        2.755_723_329_206_746_4e-7, 2.511_234_938_930_145_3e-8, 2.092_694_852_406_643e-9);
    let y = (r * r).mul_add(q, r) + 1.0;
    // Half of n by rounding: shifting i64 with its sign is no vector instruction before AVX-512.
    let half = n.mul_add(0.5, ROUND_F64).to_bits().wrapping_sub(ROUND_F64.to_bits()) as i64;
    y * power_f64(half) * power_f64(bits.wrapping_sub(half))
}

/// e^x - 1.
#[inline(always)]
pub fn expm1_f32(x: f32) -> f32 {
    let bounded = if x > 89.0 { 89.0 } else { x };
    let bounded = if bounded < -20.0 { -20.0 } else { bounded };
    let (n, r) = reduce_f32(bounded);
    // (e^r - 1 - r) / r^2
    let q = polynomial!(r; 0.5, 0.166_666_67, 0.041_666_355, 0.008_333_279, 0.001_394_109_5, 0.000_199_110_7);
    let p = (r * r).mul_add(q, r);
    // 2^n p + 2^n - 1, halved because 2^128 is no number.
    let half = power_f32(n.wrapping_sub(1));
    let y = 2.0 * half.mul_add(p, half - 0.5);
    let y = if n == 0 { p } else { y };
    if x == 0.0 { x } else { y }
}

/// e^x - 1.
#[inline(always)]
pub fn expm1_f64(x: f64) -> f64 {
    let bounded = if x > 710.0 { 710.0 } else { x };
    let bounded = if bounded < -40.0 { -40.0 } else { bounded };
    let (n, bits, r) = reduce_f64(bounded);
    // (e^r - 1 - r) / r^2
    let q = polynomial!(r; 0.5, 0.166_666_666_666_666_66, 0.041_666_666_666_666_69, 0.008_333_333_333_333_338,
        0.001_388_888_888_887_183_3, 0.000_198_412_698_412_471_54, 2.480_158_735_026_573e-5, 2.755_731_927_517_855e-6,
        2.755_725_173_912_291e-7, 2.505_204_926_966_184_3e-8, 2.092_163_999_588_486e-9, 1.609_293_184_314_127_8e-10);
    let p = (r * r).mul_add(q, r);
    let half = power_f64(bits.wrapping_sub(1));
    let y = 2.0 * half.mul_add(p, half - 0.5);
    let y = if n == 0.0 { p } else { y };
    if x == 0.0 { x } else { y }
}
