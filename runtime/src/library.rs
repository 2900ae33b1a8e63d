//! The routines of library operations, with the one calling convention that generated code uses for all of them.
//!
//! Expects: `sizes` points at the numbers that a routine documents, `pointers` at the operands in the order of the op
//! table and then the result: whole row-major tensors, of which the result overlaps none; then the memory
//! for the call that the [`crate::room::Room`] of the routine asks for, or null. The workers have the scratch of that room.
//! Guarantees: no routine unwinds, allocates, or gives bits that depend on the number
//! of threads.
//! Leaves out: checks of what the compiler has proved (sizes, alignment of elements, bounds).

#![allow(clippy::missing_safety_doc, reason = "every routine here has the one contract of the module header")]

use crate::pool::Context;
use crate::product::Element;
use crate::segments::RowsShape;
use crate::{bits, scatter, segments, walsh};
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

/// So many elements; a count of zero allows any pointer.
unsafe fn slice<'a, T>(from: *mut u8, count: u64) -> &'a mut [T] {
    if count == 0 {
        return &mut [];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(from.cast(), count as usize) }
}

/// Sizes: keys, bins. Pointers: keys, counts. See [`segments::histogram`].
unsafe fn histogram(_: &Context, sizes: *const u64, pointers: *const *mut u8) {
    // SAFETY: two sizes and two pointers, of tensors that have these sizes.
    unsafe {
        let ([count, bins], [keys, counts]) = (read(sizes), read(pointers));
        segments::histogram(slice(keys, count), slice(counts, bins));
    }
}

/// Sizes: keys, bins. Pointers: keys, places, memory. See [`segments::counting_sort`].
unsafe fn counting_sort(_: &Context, sizes: *const u64, pointers: *const *mut u8) {
    // SAFETY: two sizes and three pointers, of tensors that have these sizes and memory as the room says.
    unsafe {
        let ([count, bins], [keys, places, next]): ([u64; 2], _) = (read(sizes), read(pointers));
        segments::counting_sort(slice(keys, count), slice(next, bins + 1), slice(places, count));
    }
}

/// Sizes: runs, rows, width, inner, whether transposed. Pointers: rows, matrices, counts, result, memory. See
/// [`segments::matmul`].
unsafe fn segment_matmul<T: Element>(context: &Context, sizes: *const u64, pointers: *const *mut u8) {
    // SAFETY: five sizes and five pointers, of tensors that have these sizes and memory as the room says.
    unsafe {
        let [runs, rows, width, inner, transposed] = read(sizes);
        let [from, matrices, counts, result, memory] = read(pointers);
        let [rows, width, inner] = [rows, width, inner].map(|size: u64| size as usize);
        let shape = RowsShape { rows, width, inner, transposed: transposed != 0 };
        let operands = (from.cast_const().cast(), matrices.cast_const().cast(), &*slice(counts, runs));
        segments::matmul::<T>(context, shape, operands, result.cast(), slice(memory, 2 * runs));
    }
}

/// Sizes: runs, rows, height, width. Pointers: x, y, counts, result, memory. See [`segments::outer`].
unsafe fn segment_outer<T: Element>(context: &Context, sizes: *const u64, pointers: *const *mut u8) {
    // SAFETY: four sizes and five pointers, of tensors that have these sizes and memory as the room says.
    unsafe {
        let ([runs, rows, height, width], [x, y, counts, result, memory]) = (read(sizes), read(pointers));
        let sizes = [rows, height, width].map(|size: u64| size as usize);
        let operands = (x.cast_const().cast(), y.cast_const().cast(), &*slice(counts, runs));
        segments::outer::<T>(context, sizes, operands, result.cast(), slice(memory, 2 * runs));
    }
}

/// Rows of bits at an address, packed or not.
fn bit_rows(from: *mut u8, is_packed: u64) -> bits::Rows {
    if is_packed == 0 { bits::Rows::Bytes(from) } else { bits::Rows::Words(from.cast()) }
}

/// Sizes: rows, columns, inner, whether x and w are packed. Pointers: x, w, result, memory. See [`bits::count`].
unsafe fn bit_count<const GATE: usize>(context: &Context, sizes: *const u64, pointers: *const *mut u8) {
    // SAFETY: five sizes and four pointers, of tensors that have these sizes and memory as the room says.
    unsafe {
        let [rows, columns, inner, x_is_packed, w_is_packed] = read::<u64, 5>(sizes);
        let [x, w, result, packed] = read::<*mut u8, 4>(pointers);
        let shape = (rows as usize, columns as usize, inner as usize);
        let operands = (bit_rows(x, x_is_packed), bit_rows(w, w_is_packed));
        bits::count(context, bits::Gate::ALL[GATE], shape, operands, result.cast(), packed.cast());
    }
}

/// Sizes: rows, columns, inner, the numbers that true and false stand for, whether the bits are packed. Pointers: z, bits, result.
/// See [`bits::matmul`].
unsafe fn bit_matmul<T: bits::Number>(context: &Context, sizes: *const u64, pointers: *const *mut u8) {
    // SAFETY: six sizes and three pointers, of tensors that have these sizes.
    unsafe {
        let ([rows, columns, inner, on, off, is_packed], [z, bits, result]) = (read::<u64, 6>(sizes), read(pointers));
        let shape = (rows as usize, columns as usize, inner as usize);
        let numbers = (T::of(on as i64), T::of(off as i64));
        bits::matmul::<T>(context, shape, numbers, z.cast(), bit_rows(bits, is_packed), result.cast());
    }
}

/// A routine of [`walsh`] on [batch, grid.., channels] and [batch, P, Q, kept, channels].
type BlockTransform<T> = unsafe fn(&Context, walsh::Shape, &[u64], &[u64], *const T, *mut T);

/// Sizes: batch, rows and columns of the grid, channels, rows and columns of a block, whether padding mirrors, kept
/// functions, then the row sequencies of those, then their column sequencies. Pointers: operand, result.
unsafe fn block_transform<T>(
    routine: BlockTransform<T>,
    context: &Context,
    sizes: *const u64,
    pointers: *const *mut u8,
) {
    // SAFETY: so many sizes, and two pointers, of tensors that have these sizes.
    unsafe {
        let [batch, rows, columns, channels, height, width, mirror, kept] =
            read::<u64, 8>(sizes).map(|size| size as usize);
        let [row_sequencies, column_sequencies] =
            [0, kept].map(|first| std::slice::from_raw_parts(sizes.add(8 + first), kept));
        let [operand, result] = read(pointers);
        let (grid, block) = ([rows, columns], [height, width]);
        let shape = walsh::Shape { batch, grid, channels, block, mirror: mirror != 0 };
        routine(context, shape, row_sequencies, column_sequencies, operand.cast_const().cast(), result.cast());
    }
}

/// See [`walsh::block_wht`].
unsafe fn block_wht<T: walsh::Lane>(context: &Context, sizes: *const u64, pointers: *const *mut u8) {
    // SAFETY: the same contract.
    unsafe { block_transform::<T>(walsh::block_wht, context, sizes, pointers) }
}

/// See [`walsh::block_wht_t`].
unsafe fn block_wht_t<T: walsh::Lane>(context: &Context, sizes: *const u64, pointers: *const *mut u8) {
    // SAFETY: the same contract.
    unsafe { block_transform::<T>(walsh::block_wht_t, context, sizes, pointers) }
}

macro_rules! routines {
    ($($symbol:ident = $body:path;)*) => {
        $(
            /// The function beside its name, in the calling convention of the module.
            #[unsafe(no_mangle)]
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
    bpc_histogram = histogram;
    bpc_counting_sort = counting_sort;
    bpc_segment_matmul_f32 = segment_matmul::<f32>;
    bpc_segment_matmul_f64 = segment_matmul::<f64>;
    bpc_segment_outer_f32 = segment_outer::<f32>;
    bpc_segment_outer_f64 = segment_outer::<f64>;
    bpc_scatter_add_i64 = scatter_add::<Wrapping<i64>>;
    bpc_bit_count_xnor = bit_count::<0>;
    bpc_bit_count_xor = bit_count::<1>;
    bpc_bit_count_and = bit_count::<2>;
    bpc_bit_count_or = bit_count::<3>;
    bpc_bit_matmul_f32 = bit_matmul::<f32>;
    bpc_bit_matmul_f64 = bit_matmul::<f64>;
    bpc_block_wht_f32 = block_wht::<f32>;
    bpc_block_wht_f64 = block_wht::<f64>;
    bpc_block_wht_t_f32 = block_wht_t::<f32>;
    bpc_block_wht_t_f64 = block_wht_t::<f64>;
}
