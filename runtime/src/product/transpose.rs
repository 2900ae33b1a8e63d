//! Copies of matrices the other way round, as products read them.
//!
//! Expects: see [`transpose`].
//! Guarantees: the same elements.
//! Leaves out: which factors are worth it (`product`).

use super::Element;

/// The transpose of `rows` rows of `columns` elements, `stride` apart, without gaps: in panels that stay in the first cache,
/// these in squares that fit the registers.
///
/// # Safety
/// So many elements and places.
#[inline(always)]
pub(super) unsafe fn transpose<T: Element>(from: *const T, stride: i64, rows: usize, columns: usize, to: *mut T) {
    const PANEL: usize = 64;
    let stride = stride as isize;
    for first_row in (0..rows).step_by(PANEL) {
        for first_column in (0..columns).step_by(PANEL) {
            let (rows_end, columns_end) = (rows.min(first_row + PANEL), columns.min(first_column + PANEL));
            for row in (first_row..rows_end).step_by(SIDE) {
                for column in (first_column..columns_end).step_by(SIDE) {
                    let source = from.wrapping_offset(row as isize * stride).wrapping_add(column);
                    let target = to.wrapping_add(column * rows + row);
                    // SAFETY: inside, as far as the numbers of rows and columns say.
                    unsafe {
                        if row + SIDE <= rows_end && column + SIDE <= columns_end {
                            transpose_square(source, stride, target, rows);
                        } else {
                            for i in 0..rows_end.min(row + SIDE) - row {
                                for j in 0..columns_end.min(column + SIDE) - column {
                                    *target.wrapping_add(j * rows + i) =
                                        *source.wrapping_offset(i as isize * stride).wrapping_add(j);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Rows and columns of a square that is transposed in registers.
const SIDE: usize = 8;

#[inline(always)]
unsafe fn transpose_square<T: Element>(from: *const T, stride: isize, to: *mut T, to_stride: usize) {
    let mut square = [[T::ZERO; SIDE]; SIDE];
    for (i, line) in square.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *line = unsafe { from.wrapping_offset(i as isize * stride).cast::<[T; SIDE]>().read_unaligned() };
    }
    for j in 0..SIDE {
        let line = square.map(|row| row[j]);
        // SAFETY: the caller's promise.
        unsafe { to.wrapping_add(j * to_stride).cast::<[T; SIDE]>().write_unaligned(line) };
    }
}
