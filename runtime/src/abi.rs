//! The routines that generated code calls, with the C calling convention, and what a C program needs to call generated
//! code. All are exported by name, for those who link the static library; [`symbols`] lists what generated code calls.
//!
//! Expects: pointers and counts as each routine says; generated code is trusted to pass them rightly. A count of zero
//! allows any pointer.
//! Guarantees: nothing unwinds; no routine that generated code calls allocates, or gives bits that depend on the number
//! of threads.
//! Leaves out: checks of what the compiler has proved (sizes, alignment of elements, bounds).

#![allow(clippy::missing_safety_doc, reason = "every routine here has the one contract of the module header")]

pub use crate::pool::Context;
pub use crate::product::ProductShape;
use crate::shared::Shared;
use crate::{library, math, philox, product};

/// A generated loop nest: runs outer iterations `begin..end`.
pub type KernelFunction =
    unsafe extern "C" fn(state: *mut u8, workspace: *mut u8, scratch: *mut u8, begin: u64, end: u64);

/// [`Context::try_new`] for C: `threads` workers, each with so many bytes of scratch; null where memory is lacking.
#[unsafe(no_mangle)]
pub extern "C" fn bpc_context_new(threads: usize, scratch_bytes: usize) -> *mut Context {
    // The context itself is some words, for which Rust has no fallible box; without them no program goes on.
    Context::try_new(threads, scratch_bytes).map_or(std::ptr::null_mut(), |context| Box::into_raw(Box::new(context)))
}

/// Ends the workers of a context of [`bpc_context_new`] and frees it; null is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bpc_context_free(context: *mut Context) {
    if !context.is_null() {
        // SAFETY: the caller gives back what `bpc_context_new` gave, once.
        drop(unsafe { Box::from_raw(context) });
    }
}

/// Runs a kernel on `0..count` in ranges of `grain` on all workers, each range with its worker's own scratch; the
/// ranges do not depend on the number of workers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bpc_parallel(
    context: *const Context,
    kernel: KernelFunction,
    state: *mut u8,
    workspace: *mut u8,
    count: u64,
    grain: u64,
) {
    let (state, workspace) = (Shared(state), Shared(workspace));
    // SAFETY: generated code passes the context that the caller of the step gave it.
    let context = unsafe { &*context };
    context.parallel(count, grain, &|begin, end, scratch| {
        // SAFETY: the kernel was compiled for these blocks and this range of outer iterations.
        unsafe { kernel(state.at(0), workspace.at(0), scratch, begin, end) }
    });
}

/// The scratch of the calling thread, 64-byte aligned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bpc_scratch(context: *const Context) -> *mut u8 {
    // SAFETY: as in `bpc_parallel`.
    unsafe { &*context }.scratch()
}

/// c = a b, overwritten; k = 0 gives zeros. See [`ProductShape`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bpc_product_f32(
    context: *const Context,
    shape: *const ProductShape,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
) {
    // SAFETY: the context and the shape live during the call; the matrices are as the shape says.
    unsafe { product::product(&*context, &*shape, a, b, c) }
}

/// [`bpc_product_f32`] in f64.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bpc_product_f64(
    context: *const Context,
    shape: *const ProductShape,
    a: *const f64,
    b: *const f64,
    c: *mut f64,
) {
    // SAFETY: as for f32.
    unsafe { product::product(&*context, &*shape, a, b, c) }
}

macro_rules! unary {
    ($($symbol:ident $function:ident $type:ty;)*) => {$(
        /// The function of its name, element by element; in place (`out == x`) allowed.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol(out: *mut $type, x: *const $type, n: u64) {
            // SAFETY: n elements at both pointers, which are equal or do not overlap.
            unsafe { math::array::$function(out, x, n as usize) }
        }
    )*};
}

unary! {
    bpc_exp_f32 exp_f32 f32;
    bpc_exp_f64 exp_f64 f64;
    bpc_expm1_f32 expm1_f32 f32;
    bpc_expm1_f64 expm1_f64 f64;
    bpc_log_f32 log_f32 f32;
    bpc_log_f64 log_f64 f64;
    bpc_log1p_f32 log1p_f32 f32;
    bpc_log1p_f64 log1p_f64 f64;
    bpc_sin_f32 sin_f32 f32;
    bpc_sin_f64 sin_f64 f64;
    bpc_cos_f32 cos_f32 f32;
    bpc_cos_f64 cos_f64 f64;
    bpc_tanh_f32 tanh_f32 f32;
    bpc_tanh_f64 tanh_f64 f64;
    bpc_erf_f32 erf_f32 f32;
    bpc_erf_f64 erf_f64 f64;
}

/// x to the power y, element by element; `out` may be `x` or `y`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bpc_pow_f32(out: *mut f32, x: *const f32, y: *const f32, n: u64) {
    // SAFETY: n elements at each pointer, which are equal or do not overlap.
    unsafe { math::array::pow_f32(out, x, y, n as usize) }
}

/// [`bpc_pow_f32`] in f64.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bpc_pow_f64(out: *mut f64, x: *const f64, y: *const f64, n: u64) {
    // SAFETY: as for f32.
    unsafe { math::array::pow_f64(out, x, y, n as usize) }
}

macro_rules! random {
    ($($symbol:ident $function:ident $type:ty;)*) => {$(
        /// Elements `first..first + n` of a random tensor; see [`philox`]. `seed` points at two numbers.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol(
            out: *mut $type,
            seed: *const u32,
            step: i32,
            site: u32,
            first: u64,
            n: u64,
        ) {
            if n == 0 {
                return;
            }
            // SAFETY: two numbers at `seed`, n elements at `out`.
            let (seed, out) = unsafe { ([*seed, *seed.add(1)], std::slice::from_raw_parts_mut(out, n as usize)) };
            philox::$function(seed, step, site, first, out);
        }
    )*};
}

random! {
    bpc_uniform_f32 fill_uniform_f32 f32;
    bpc_uniform_f64 fill_uniform_f64 f64;
    bpc_normal_f32 fill_normal_f32 f32;
    bpc_normal_f64 fill_normal_f64 f64;
}

/// The hash by which a random place is known to [`philox`]: FNV-1a, 32 bits, over the bytes of its name.
pub fn site_hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Every routine that generated code calls, by name, for the JIT. That the static library has them all is what the test
/// of object files links.
pub fn symbols() -> Vec<(&'static str, *const u8)> {
    macro_rules! table {
        ($($name:ident)*) => { vec![$((stringify!($name), $name as *const u8)),*] };
    }
    table! {
        bpc_parallel bpc_scratch bpc_product_f32 bpc_product_f64
        bpc_exp_f32 bpc_exp_f64 bpc_expm1_f32 bpc_expm1_f64 bpc_log_f32 bpc_log_f64 bpc_log1p_f32 bpc_log1p_f64
        bpc_sin_f32 bpc_sin_f64 bpc_cos_f32 bpc_cos_f64 bpc_tanh_f32 bpc_tanh_f64 bpc_erf_f32 bpc_erf_f64
        bpc_pow_f32 bpc_pow_f64 bpc_uniform_f32 bpc_uniform_f64 bpc_normal_f32 bpc_normal_f64
    }
    .into_iter()
    .chain(library::symbols())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_known_answers() {
        assert_eq!(site_hash(""), 0x811c_9dc5);
        assert_eq!(site_hash("a"), 0xe40c_292c);
        assert_eq!(site_hash("foobar"), 0xbf9c_f968);
    }

    #[test]
    fn parallel_kernel_gets_its_blocks() {
        unsafe extern "C" fn kernel(state: *mut u8, workspace: *mut u8, scratch: *mut u8, begin: u64, end: u64) {
            // SAFETY: the blocks below.
            unsafe {
                *scratch.cast::<u64>() = begin;
                for i in begin..end {
                    let (from, to) = (state.cast::<u64>().add(i as usize), workspace.cast::<u64>().add(i as usize));
                    *to = *from * 3 + *scratch.cast::<u64>();
                }
            }
        }
        let mut state: Vec<u64> = (0..1000).collect();
        for threads in [1, 2, 4] {
            let mut workspace = vec![0u64; 1000];
            let context = Context::new(threads, 64);
            let (state, to) = (state.as_mut_ptr().cast(), workspace.as_mut_ptr().cast());
            // SAFETY: 1000 elements each, scratch of 64 bytes.
            unsafe { bpc_parallel(&context, kernel, state, to, 1000, 16) };
            assert!((0..1000).all(|i| workspace[i] as usize == i * 3 + i / 16 * 16));
        }
    }

    #[test]
    fn symbols_are_distinct() {
        let mut names: Vec<_> = symbols().into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), symbols().len());
    }
}
