//! sin and cos: x = q pi/2 + r with |r| <= pi/4, then the polynomials of FreeBSD's msun (f64), or fits (f32).
//!
//! Up to [`LIMIT_F64`] and [`LIMIT_F32`] the reduction subtracts parts of pi/2 (Cody and Waite); beyond, the `far_`
//! functions, which take any x, multiply by enough of the 1280 stored bits of 2/pi (Payne and Hanek). They are for single elements.

use super::exp::{ROUND_F32, ROUND_F64};
use super::polynomial;

/// |x| from which the near functions of f64 must not be used.
pub const LIMIT_F64: f64 = 134_217_728.0;
/// |x| from which the near functions of f32 must not be used.
pub const LIMIT_F32: f32 = 1_099_511_627_776.0;

const HALF_PI: [f64; 3] = [std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17, -1.497_384_904_859_169_8e-33];

/// sin of |x| < [`LIMIT_F32`].
#[inline(always)]
pub fn sin_f32(x: f32) -> f32 {
    let y = near_f32(x, 0);
    if x == 0.0 { x } else { y }
}

/// cos of |x| < [`LIMIT_F32`].
#[inline(always)]
pub fn cos_f32(x: f32) -> f32 {
    near_f32(x, 1)
}

/// sin of |x| < [`LIMIT_F64`].
#[inline(always)]
pub fn sin_f64(x: f64) -> f64 {
    let y = near_f64(x, 0);
    if x == 0.0 { x } else { y }
}

/// cos of |x| < [`LIMIT_F64`].
#[inline(always)]
pub fn cos_f64(x: f64) -> f64 {
    near_f64(x, 1)
}

/// sin of any x.
pub fn far_sin_f32(x: f32) -> f32 {
    if x.abs() < LIMIT_F32 { sin_f32(x) } else { far(f64::from(x), 0) as f32 }
}

/// cos of any x.
pub fn far_cos_f32(x: f32) -> f32 {
    if x.abs() < LIMIT_F32 { cos_f32(x) } else { far(f64::from(x), 1) as f32 }
}

/// sin of any x.
pub fn far_sin_f64(x: f64) -> f64 {
    if x.abs() < LIMIT_F64 { sin_f64(x) } else { far(x, 0) }
}

/// cos of any x.
pub fn far_cos_f64(x: f64) -> f64 {
    if x.abs() < LIMIT_F64 { cos_f64(x) } else { far(x, 1) }
}

/// cos and sin of 2 pi turns, for 0 <= turns <= 1.
#[inline(always)]
pub fn cos_sin_turns_f32(turns: f32) -> (f32, f32) {
    let shifted = turns.mul_add(4.0, ROUND_F32);
    let quarter = shifted.to_bits();
    // Exact: both are multiples of the last place of `turns`.
    let r = (shifted - ROUND_F32).mul_add(-0.25, turns) * std::f32::consts::TAU;
    let s = r * r;
    // (sin r - r) / r^3 and (cos r - 1 + r^2 / 2) / r^4
    let sin = (r * s).mul_add(polynomial!(s; -0.166_666_55, 0.008_332_17, -0.000_195_162_57), r);
    let q = polynomial!(s; 0.041_666_646, -0.001_388_737, 2.443_868e-5);
    let cos = (s * s).mul_add(q, s.mul_add(-0.5, 1.0));
    let pick = |quarter: u32| {
        let value = if quarter & 1 == 0 { sin } else { cos };
        f32::from_bits(value.to_bits() ^ (quarter & 2) << 30)
    };
    (pick(quarter.wrapping_add(1)), pick(quarter))
}

/// cos and sin of 2 pi turns, for 0 <= turns <= 1.
#[inline(always)]
pub fn cos_sin_turns_f64(turns: f64) -> (f64, f64) {
    let shifted = turns.mul_add(4.0, ROUND_F64);
    let quarter = shifted.to_bits();
    let r = (shifted - ROUND_F64).mul_add(-0.25, turns);
    let (tau, tau_low) = (std::f64::consts::TAU, 2.449_293_598_294_706_4e-16);
    let high = r * tau;
    let low = r.mul_add(tau_low, r.mul_add(tau, -high));
    (quadrant(quarter.wrapping_add(1), high, low), quadrant(quarter, high, low))
}

/// sin(x + turn pi/2); the arithmetic is f64's.
#[inline(always)]
fn near_f32(x: f32, turn: u64) -> f32 {
    let x = f64::from(x);
    let shifted = x.mul_add(std::f64::consts::FRAC_2_PI, ROUND_F64);
    let n = shifted - ROUND_F64;
    let r = n.mul_add(-HALF_PI[1], n.mul_add(-HALF_PI[0], x));
    let s = r * r;
    // (sin r - r) / r^3 and (cos r - 1 + r^2 / 2) / r^4
    let sin = (r * s).mul_add(
        polynomial!(s; -0.166_666_666_415_660_36, 0.008_333_329_379_680_943, -0.000_198_393_326_314_829_84,
            2.718_287_235_934_233e-6),
        r,
    );
    let q = polynomial!(s; 0.041_666_666_622_657_306, -0.001_388_888_373_493_481, 2.479_951_469_652_959_2e-5,
        -2.720_977_947_282_877e-7);
    let cos = (s * s).mul_add(q, s.mul_add(-0.5, 1.0));
    let quarter = shifted.to_bits().wrapping_add(turn);
    let value = if quarter & 1 == 0 { sin } else { cos };
    f64::from_bits(value.to_bits() ^ (quarter & 2) << 62) as f32
}

/// sin(x + turn pi/2).
#[inline(always)]
fn near_f64(x: f64, turn: u64) -> f64 {
    let shifted = x.mul_add(std::f64::consts::FRAC_2_PI, ROUND_F64);
    let n = shifted - ROUND_F64;
    // Exact: a multiple of 2^-53 below 1.
    let r = n.mul_add(-HALF_PI[0], x);
    let w = n * HALF_PI[1];
    let w_low = n.mul_add(HALF_PI[2], n.mul_add(HALF_PI[1], -w));
    // r - w in two parts.
    let high = r - w;
    let part = high - r;
    let low = (r - (high - part)) - (w + part) - w_low;
    quadrant(shifted.to_bits().wrapping_add(turn), high, low)
}

/// sin(x + y + quarter pi/2) for |x| <= pi/4 and y below its last place.
#[inline(always)]
fn quadrant(quarter: u64, x: f64, y: f64) -> f64 {
    let z = x * x;
    let v = z * x;
    let r = polynomial!(z; 8.333_333_333_322_49e-3, -1.984_126_982_985_795e-4, 2.755_731_370_707_006_8e-6,
        -2.505_076_025_340_686_3e-8, 1.589_690_995_211_55e-10);
    let sin = x - ((z * (0.5 * y - v * r) - y) - v * -1.666_666_666_666_663_2e-1);
    let q = z * polynomial!(z; 4.166_666_666_666_66e-2, -1.388_888_888_887_411e-3,
        2.480_158_728_947_673e-5, -2.755_731_435_139_066_3e-7, 2.087_572_321_298_175e-9,
        -1.135_964_755_778_819_5e-11);
    let half = 0.5 * z;
    let w = 1.0 - half;
    let cos = w + (((1.0 - w) - half) + (z * q - x * y));
    let value = if quarter & 1 == 0 { sin } else { cos };
    f64::from_bits(value.to_bits() ^ (quarter & 2) << 62)
}

/// The bits of 2/pi, most significant first, after a word of zeros.
const TWO_OVER_PI: [u64; 21] = [
    0,
    0xa2f9836e4e441529,
    0xfc2757d1f534ddc0,
    0xdb6295993c439041,
    0xfe5163abdebbc561,
    0xb7246e3a424dd2e0,
    0x06492eea09d1921c,
    0xfe1deb1cb129a73e,
    0xe88235f52ebb4484,
    0xe99c7026b45f7e41,
    0x3991d639835339f4,
    0x9c845f8bbdf9283b,
    0x1ff897ffde05980f,
    0xef2f118b5a0a6d1f,
    0x6d367ecf27cb09b7,
    0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b,
    0x3d0739f78a5292ea,
    0x6bfb5fb11f8d5d08,
    0x56033046fc7b6bab,
    0xf0cfbc209af4361d,
];

/// sin(x + turn pi/2) for |x| >= 2^27; NaN for infinities and NaN.
fn far(x: f64, turn: u64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    let bits = x.to_bits();
    let mantissa = u128::from(bits & 0x000f_ffff_ffff_ffff | 0x0010_0000_0000_0000);
    let exponent = (bits >> 52 & 0x7ff) as i64 - 1075;
    // |x| = mantissa 2^exponent. Bits of 2/pi above 2^(2 - exponent) give multiples of 4 quarter turns; the next 192
    // times the mantissa, modulo 2^192, are the quarter turns with 2 bits before the point and 190 after it.
    let first = (exponent - 2 + 64) as usize;
    let word = |i: usize| {
        let (at, shift) = (first / 64 + i, first % 64);
        let two = u128::from(TWO_OVER_PI[at]) << 64 | u128::from(TWO_OVER_PI[at + 1]);
        u128::from((two << shift >> 64) as u64)
    };
    let low = word(2) * mantissa;
    let middle = word(1) * mantissa + (low >> 64);
    let high = (word(0) * mantissa + (middle >> 64)) as u64;
    let quarter = high >> 62;
    // The fraction of a quarter turn, 190 bits: to 128, then signed to within half a quarter.
    let fraction =
        u128::from(high << 2 | (middle as u64) >> 62) << 64 | u128::from((middle as u64) << 2 | (low as u64) >> 62);
    let up = fraction >> 127 == 1;
    let (quarter, size) = if up { (quarter + 1, fraction.wrapping_neg()) } else { (quarter, fraction) };
    // In two parts of 53 bits from the first bit that is set.
    let zeros = size.leading_zeros().min(127);
    let size = size << zeros;
    let scale = f64::from_bits((1023 - 53 - u64::from(zeros)) << 52);
    let part = (size >> 75) as f64 * scale;
    let part_low = (size << 53 >> 75) as f64 * scale * (1.0 / 9_007_199_254_740_992.0);
    let r = part * HALF_PI[0];
    let r_low = part.mul_add(HALF_PI[0], -r) + part.mul_add(HALF_PI[1], part_low * HALF_PI[0]);
    let (r, r_low) = if up { (-r, -r_low) } else { (r, r_low) };
    // sin(-x) = -sin(x), cos(-x) = cos(x).
    let value = quadrant(quarter + turn, r, r_low);
    if x < 0.0 && turn == 0 { -value } else { value }
}
