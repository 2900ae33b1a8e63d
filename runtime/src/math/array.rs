//! The functions over arrays, compiled for every instruction set (see [`crate::engine`]).
//!
//! Expects: `n` elements at every pointer; `out` equal to an input, or apart from it.
//! Guarantees: each element is that of the scalar function, a NaN that of `NAN`, on every instruction set.
//! Leaves out: threads.

#![allow(clippy::missing_safety_doc, reason = "every function here has the one contract of the module header")]

use super::trigonometric as trig;
use super::{erf, exp, log, pow, tanh};
use crate::engine::for_engines;

/// Elements that are worked on at a time: some vectors, so that their long chains of operations overlap.
const CHUNK: usize = 64;

/// A float type's NaN, for the last selection.
pub(super) trait Float: Copy + Default {
    /// x, but every NaN the same.
    fn with_one_nan(self) -> Self;
}
impl Float for f32 {
    #[inline(always)]
    fn with_one_nan(self) -> f32 {
        if self.is_nan() { f32::NAN } else { self }
    }
}
impl Float for f64 {
    #[inline(always)]
    fn with_one_nan(self) -> f64 {
        if self.is_nan() { f64::NAN } else { self }
    }
}

/// Elements first..first + count at `from`, then whatever.
#[inline(always)]
unsafe fn load<T: Float>(from: *const T, first: usize, count: usize) -> [T; CHUNK] {
    if count == CHUNK {
        // A size that is known makes this no call.
        // SAFETY: the caller has a chunk of elements, and their alignment is that of the chunk.
        return unsafe { from.add(first).cast::<[T; CHUNK]>().read() };
    }
    let mut chunk = [T::default(); CHUNK];
    // SAFETY: the caller has as many elements; the chunk is ours.
    unsafe { std::ptr::copy_nonoverlapping(from.add(first), chunk.as_mut_ptr(), count) };
    chunk
}

/// Writes the first `count` of a chunk.
#[inline(always)]
unsafe fn store<T: Float>(chunk: &[T; CHUNK], to: *mut T, first: usize, count: usize) {
    if count == CHUNK {
        // SAFETY: the caller has as many places, and their alignment is that of the chunk.
        return unsafe { to.add(first).cast::<[T; CHUNK]>().write(*chunk) };
    }
    // SAFETY: the caller has as many places.
    unsafe { std::ptr::copy_nonoverlapping(chunk.as_ptr(), to.add(first), count) };
}

/// Chunk by chunk, through copies, since `out` may be an input: element i of the result is `value` of elements i of the
/// inputs. With `far`: elements where it holds are done again by a function that need not be vector code. A macro,
/// because a closure of this size is not inlined, and then has not the instruction set of the function around it.
macro_rules! map {
    ($out:ident, $n:ident, |$($x:ident),+| $value:expr $(, far |$y:ident| $far:expr => $slow:path)?) => {{
        let whole = $n - $n % CHUNK;
        let mut first = 0;
        while first < whole {
            map!(chunk $out, first, CHUNK, |$($x),+| $value $(, far |$y| $far => $slow)?);
            first += CHUNK;
        }
        if first < $n {
            map!(chunk $out, first, $n - first, |$($x),+| $value $(, far |$y| $far => $slow)?);
        }
    }};
    (chunk $out:ident, $first:ident, $count:expr, |$($x:ident),+| $value:expr $(, far |$y:ident| $far:expr => $slow:path)?) => {{
            $(let $x = load($x, $first, $count);)+
            let mut result = [Default::default(); CHUNK];
            for i in 0..CHUNK {
                $(let $x = $x[i];)+
                result[i] = $value.with_one_nan();
            }
            $(
                let mut any_far = false;
                for $y in $y {
                    any_far |= $far;
                }
                if any_far {
                    for (result, $y) in result.iter_mut().zip($y) {
                        if $far {
                            *result = $slow($y).with_one_nan();
                        }
                    }
                }
            )?
            store(&result, $out, $first, $count);
    }};
}

macro_rules! arrays {
    ($($name:ident $on:ident $type:ty = $function:path;)*) => {
        for_engines! {$(
            /// The function of its name.
            unsafe fn $name(out: *mut $type, x: *const $type, n: usize) = $on {
                map!(out, n, |x| $function(x))
            }
        )*}
    };
}

arrays! {
    exp_f32 exp_f32_on f32 = exp::exp_f32;
    exp_f64 exp_f64_on f64 = exp::exp_f64;
    expm1_f32 expm1_f32_on f32 = exp::expm1_f32;
    expm1_f64 expm1_f64_on f64 = exp::expm1_f64;
    log_f32 log_f32_on f32 = log::log_f32;
    log_f64 log_f64_on f64 = log::log_f64;
    log1p_f32 log1p_f32_on f32 = log::log1p_f32;
    log1p_f64 log1p_f64_on f64 = log::log1p_f64;
    tanh_f32 tanh_f32_on f32 = tanh::tanh_f32;
    tanh_f64 tanh_f64_on f64 = tanh::tanh_f64;
    erf_f32 erf_f32_on f32 = erf::erf_f32;
    erf_f64 erf_f64_on f64 = erf::erf_f64;
}

for_engines! {
    /// sin
    unsafe fn sin_f32(out: *mut f32, x: *const f32, n: usize) = sin_f32_on {
        map!(out, n, |x| trig::sin_f32(x), far |x| x.abs() >= trig::LIMIT_F32 => trig::far_sin_f32)
    }
    /// sin
    unsafe fn sin_f64(out: *mut f64, x: *const f64, n: usize) = sin_f64_on {
        map!(out, n, |x| trig::sin_f64(x), far |x| x.abs() >= trig::LIMIT_F64 => trig::far_sin_f64)
    }
    /// cos
    unsafe fn cos_f32(out: *mut f32, x: *const f32, n: usize) = cos_f32_on {
        map!(out, n, |x| trig::cos_f32(x), far |x| x.abs() >= trig::LIMIT_F32 => trig::far_cos_f32)
    }
    /// cos
    unsafe fn cos_f64(out: *mut f64, x: *const f64, n: usize) = cos_f64_on {
        map!(out, n, |x| trig::cos_f64(x), far |x| x.abs() >= trig::LIMIT_F64 => trig::far_cos_f64)
    }
    /// x to the power y
    unsafe fn pow_f32(out: *mut f32, x: *const f32, y: *const f32, n: usize) = pow_f32_on {
        map!(out, n, |x, y| pow::pow_f32(x, y))
    }
    /// x to the power y
    unsafe fn pow_f64(out: *mut f64, x: *const f64, y: *const f64, n: usize) = pow_f64_on {
        map!(out, n, |x, y| pow::pow_f64(x, y))
    }
}
