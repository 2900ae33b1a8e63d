//! Numbers times bits that stand for two numbers.
//!
//! Expects: see [`super`].
//! Guarantees: the bits are turned into numbers block by block, so that no whole copy of them exists; the order in which a
//! sum is added depends on the shape alone.
//! Leaves out: a product with fewer operations than that of numbers: with a real factor there is none.

use super::pack::Rows;
use crate::engine::for_engines;
use crate::pool::Context;
use crate::product::{Element, Matrices, multiply_room};
use crate::room::Room;
use crate::shared::Shared;

/// Rows of bits in one block: so many terms of a sum are added at a time.
const BLOCK_ROWS: usize = 1024;
/// Columns of bits in one block: whole bytes of packed bits, and whole register tiles of products.
const BLOCK_COLUMNS: usize = 256;

/// What [`matmul`] needs for numbers of so many bytes: a block of numbers for each worker, and what its product needs.
pub fn matmul_room(rows: u64, columns: u64, inner: u64, number_bytes: u64) -> Room {
    let (depth, width) = (inner.min(BLOCK_ROWS as u64), columns.min(BLOCK_COLUMNS as u64));
    let nowhere = std::ptr::null_mut::<u8>();
    let sizes = [rows, width, depth].map(|size| size as usize);
    let block = Matrices::new(
        sizes,
        (nowhere, (inner as i64, 1)),
        (nowhere, (width as i64, 1)),
        (nowhere, (columns as i64, 1)),
    );
    let decoded = (depth * width * number_bytes).next_multiple_of(64);
    Room { call: 0, worker: decoded + multiply_room(&block, number_bytes).worker }
}

/// A float that bits can become.
pub trait Number: Element {
    /// The nearest to a whole number.
    fn of(value: i64) -> Self;

    /// Writes `on` where a bit is true, else `off`.
    ///
    /// # Safety
    /// `count` bytes, and places.
    unsafe fn decode(bits: *const u8, count: usize, on: Self, off: Self, to: *mut Self);

    /// The same of packed bits, eight to a byte.
    ///
    /// # Safety
    /// As many bytes as hold `count` bits, and places.
    unsafe fn decode_packed(bits: *const u8, count: usize, on: Self, off: Self, to: *mut Self);
}

macro_rules! number {
    ($type:ty, $decode:ident $decode_on:ident, $decode_packed:ident $decode_packed_on:ident) => {
        for_engines! {
            /// [`Number::decode`]
            ///
            /// # Safety
            /// As there.
            unsafe fn $decode(bits: *const u8, count: usize, on: $type, off: $type, to: *mut $type) = $decode_on {
                for place in 0..count {
                    *to.add(place) = if *bits.add(place) == 0 { off } else { on };
                }
            }
        }

        for_engines! {
            /// [`Number::decode_packed`]
            ///
            /// # Safety
            /// As there.
            unsafe fn $decode_packed(bits: *const u8, count: usize, on: $type, off: $type, to: *mut $type) = $decode_packed_on {
                for byte in 0..count / 8 {
                    let eight = *bits.add(byte);
                    for bit in 0..8 {
                        *to.add(8 * byte + bit) = if eight & 1 << bit == 0 { off } else { on };
                    }
                }
                for place in count / 8 * 8..count {
                    *to.add(place) = if *bits.add(place / 8) >> (place % 8) & 1 == 0 { off } else { on };
                }
            }
        }

        impl Number for $type {
            fn of(value: i64) -> $type {
                value as $type
            }
            unsafe fn decode(bits: *const u8, count: usize, on: $type, off: $type, to: *mut $type) {
                // SAFETY: the caller's promise.
                unsafe { $decode(bits, count, on, off, to) }
            }
            unsafe fn decode_packed(bits: *const u8, count: usize, on: $type, off: $type, to: *mut $type) {
                // SAFETY: the caller's promise.
                unsafe { $decode_packed(bits, count, on, off, to) }
            }
        }
    };
}

number!(f32, decode_f32 decode_f32_on, decode_packed_f32 decode_packed_f32_on);
number!(f64, decode_f64 decode_f64_on, decode_packed_f64 decode_packed_f64_on);

/// result[r, c] = sum over i of z[r, i] times (`on` where bits[i, c] is true, else `off`).
///
/// # Safety
/// `rows * inner` numbers at `z`, `inner` rows of `columns` bits at `bits`, `rows * columns` places at `result`; the workers have
/// the scratch of [`matmul_room`].
pub unsafe fn matmul<T: Number>(
    context: &Context,
    (rows, columns, inner): (usize, usize, usize),
    (on, off): (T, T),
    z: *const T,
    bits: Rows,
    result: *mut T,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    let (z, result) = (Shared(z.cast_mut()), Shared(result));
    let (bits, row_bytes, is_packed) = bits.layout(columns);
    let bits = Shared(bits.cast_mut());
    let needed = matmul_room(rows as u64, columns as u64, inner as u64, size_of::<T>() as u64);
    debug_assert!(needed.worker <= context.scratch_bytes() as u64);
    context.parallel(columns.div_ceil(BLOCK_COLUMNS) as u64, 1, &|begin, end, scratch| {
        let decoded = scratch.cast::<T>();
        for job in begin as usize..end as usize {
            let first = job * BLOCK_COLUMNS;
            let width = BLOCK_COLUMNS.min(columns - first);
            let mut done = 0;
            // Once for `inner` = 0, so that the result is written.
            while done == 0 || done < inner {
                let depth = BLOCK_ROWS.min(inner - done);
                for row in 0..depth {
                    // SAFETY: a part of one row of the bits; the scratch has room for `depth` rows of `width`.
                    unsafe {
                        let (row_of_bits, to) = (bits.at((done + row) * row_bytes), decoded.add(row * width));
                        if is_packed {
                            T::decode_packed(row_of_bits.add(first / 8), width, on, off, to);
                        } else {
                            T::decode(row_of_bits.add(first), width, on, off, to);
                        }
                    }
                }
                let factors = (z.at(done).cast_const(), (inner as i64, 1));
                let to = (result.at(first), (columns as i64, 1));
                let block = Matrices::new([rows, width, depth], factors, (decoded, (width as i64, 1)), to);
                let room = decoded.wrapping_byte_add((depth * width * size_of::<T>()).next_multiple_of(64));
                // SAFETY: z has `rows` rows of which this reads a part, the block is as written above, and the columns of
                // the result are those of this job alone.
                unsafe { T::multiply(&block, done > 0, room) };
                done += depth.max(1);
            }
        }
    });
}
