//! Elementary functions over arrays.

macro_rules! simple {
    ($($name:ident $type:ty, $x:ident => $value:expr;)*) => {$(
        /// See the name; in place allowed.
        ///
        /// # Safety
        /// `n` elements at both pointers, equal or apart.
        pub unsafe fn $name(out: *mut $type, x: *const $type, n: usize) {
            for i in 0..n {
                // SAFETY: the caller's promise.
                unsafe {
                    let $x = *x.add(i) as f64;
                    *out.add(i) = $value as $type;
                }
            }
        }
    )*};
}

simple! {
    exp_f32 f32, x => x.exp();
    exp_f64 f64, x => x.exp();
    expm1_f32 f32, x => x.exp_m1();
    expm1_f64 f64, x => x.exp_m1();
    log_f32 f32, x => x.ln();
    log_f64 f64, x => x.ln();
    log1p_f32 f32, x => x.ln_1p();
    log1p_f64 f64, x => x.ln_1p();
    sin_f32 f32, x => x.sin();
    sin_f64 f64, x => x.sin();
    cos_f32 f32, x => x.cos();
    cos_f64 f64, x => x.cos();
    tanh_f32 f32, x => x.tanh();
    tanh_f64 f64, x => x.tanh();
    erf_f32 f32, x => erf(x);
    erf_f64 f64, x => erf(x);
}

/// x to the power y.
///
/// # Safety
/// `n` elements at all pointers.
pub unsafe fn pow_f32(out: *mut f32, x: *const f32, y: *const f32, n: usize) {
    for i in 0..n {
        // SAFETY: the caller's promise.
        unsafe { *out.add(i) = f64::from(*x.add(i)).powf(f64::from(*y.add(i))) as f32 };
    }
}

/// x to the power y.
///
/// # Safety
/// `n` elements at all pointers.
pub unsafe fn pow_f64(out: *mut f64, x: *const f64, y: *const f64, n: usize) {
    for i in 0..n {
        // SAFETY: the caller's promise.
        unsafe { *out.add(i) = (*x.add(i)).powf(*y.add(i)) };
    }
}

/// The error function by its Taylor series or continued fraction.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a < 3.0 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    if a > 6.0 {
        return x.signum();
    }
    let tail = (1..60).rev().fold(a, |tail, n| a + n as f64 / 2.0 / tail);
    x.signum() * (1.0 - (-a * a).exp() / tail / std::f64::consts::PI.sqrt())
}
