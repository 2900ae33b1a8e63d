//! The routines of library operations, with the one calling convention that generated code uses for all of them.
//!
//! Expects: `sizes` points at the numbers that a routine documents, `pointers` at the operands in the order of the op
//! table and then the result: whole row-major tensors, of which the result overlaps none.
//! Guarantees: no routine unwinds, or gives bits that depend on the number of threads.
//! Leaves out: checks of what the compiler has proved (sizes, alignment of elements, bounds).

#![allow(clippy::missing_safety_doc, reason = "every routine here has the one contract of the module header")]

use crate::pool::Context;
use crate::scatter;
use std::num::Wrapping;
use std::ops::AddAssign;

/// The first N elements.
unsafe fn read<T: Copy, const N: usize>(from: *const T) -> [T; N] {
    // SAFETY: the caller's promise.
    unsafe { *from.cast() }
}

/// Sizes: indices, width, rows. Pointers: indices, updates, target. See [`scatter::scatter_add`].
unsafe fn scatter_add<T: Copy + Default + AddAssign>(_: &Context, sizes: *const u64, pointers: *const *mut u8) {
    // SAFETY: three sizes and three pointers, of tensors that have these sizes.
    unsafe {
        let ([count, width, rows], [indices, updates, target]) = (read(sizes), read(pointers));
        let [count, width, rows] = [count, width, rows].map(|size: u64| size as usize);
        scatter::scatter_add::<T>(indices.cast(), count, updates.cast(), width, target.cast(), rows);
    }
}

macro_rules! routines {
    ($($symbol:ident = $body:path;)*) => {
        $(
            /// The function beside its name, in the calling convention of the module.
            pub unsafe extern "C" fn $symbol(context: *const Context, sizes: *const u64, pointers: *const *mut u8) {
                // SAFETY: the module's contract; generated code passes the context that the caller of the step gave it.
                unsafe { $body(&*context, sizes, pointers) }
            }
        )*

        /// Every routine by name.
        pub fn symbols() -> Vec<(&'static str, *const u8)> {
            vec![$((stringify!($symbol), $symbol as *const u8)),*]
        }
    };
}

routines! {
    bpc_scatter_add_f32 = scatter_add::<f32>;
    bpc_scatter_add_f64 = scatter_add::<f64>;
    bpc_scatter_add_i32 = scatter_add::<Wrapping<i32>>;
    bpc_scatter_add_i64 = scatter_add::<Wrapping<i64>>;
}
