//! Copies of parts of the factors of a product, in the order in which [`super::large`] reads them.
//!
//! Expects: matrices and room as each function says.
//! Guarantees: the same elements; zeros beyond the last column.
//! Leaves out: when a copy pays.

use super::vector::Vector;
use super::{Element, Matrix};

/// The most rows of a band panel.
pub(super) const TILE_ROWS: usize = 6;

/// The first `rows` rows and `depth` columns of a matrix in panels of [`TILE_ROWS`] rows, each panel column by column. The last
/// panel is as long as the others; what lies beyond the rows is not written.
///
/// # Safety
/// So many elements, and `rows`, up to whole panels, times `depth` places.
#[inline(always)]
pub(super) unsafe fn pack_rows<T: Element>(from: Matrix<T>, rows: usize, depth: usize, to: *mut T) {
    for row in (0..rows).step_by(TILE_ROWS) {
        let high = TILE_ROWS.min(rows - row);
        let (from, to) = (from.from(row as u64, 0), to.wrapping_add(row * depth));
        for l in 0..depth {
            let (column, place) = (from.from(0, l as u64), to.wrapping_add(l * TILE_ROWS));
            // SAFETY: inside the matrix and the panel.
            unsafe {
                if column.row == 1 && high == TILE_ROWS {
                    let elements = column.first.at(0).cast::<[T; TILE_ROWS]>().read_unaligned();
                    place.cast::<[T; TILE_ROWS]>().write_unaligned(elements);
                } else {
                    for i in 0..high {
                        *place.wrapping_add(i) = *column.first.offset(i as i64 * column.row);
                    }
                }
            }
        }
    }
}

/// The first `depth` rows and `columns` columns of a matrix in panels of `WIDEST` vectors, each panel row by row; the last one is
/// as wide as whole vectors need.
///
/// # Safety
/// So many elements, and `depth` times `columns`, up to whole vectors, places.
#[inline(always)]
pub(super) unsafe fn pack_columns<V: Vector, const WIDEST: usize>(
    from: Matrix<V::Element>,
    depth: usize,
    columns: usize,
    to: *mut V::Element,
) {
    let widest = WIDEST * V::LANES;
    for column in (0..columns).step_by(widest) {
        let (from, to) = (from.from(0, column as u64), to.wrapping_add(column * depth));
        let wide = widest.min(columns - column);
        let width = wide.next_multiple_of(V::LANES);
        // SAFETY: inside the matrix and the panel.
        unsafe {
            if from.column == 1 && wide == widest {
                for l in 0..depth {
                    let (line, to) = (from.first.offset(l as i64 * from.row), to.wrapping_add(l * widest));
                    for v in 0..WIDEST {
                        V::load(line.wrapping_add(v * V::LANES)).store(to.wrapping_add(v * V::LANES));
                    }
                }
                continue;
            }
            // Rows of memory are columns here: squares of them go through the registers.
            let (deep, whole) = if from.row == 1 { (depth / SIDE * SIDE, wide / SIDE * SIDE) } else { (0, 0) };
            for l in (0..deep).step_by(SIDE) {
                for j in (0..whole).step_by(SIDE) {
                    let square = from.from(l as u64, j as u64);
                    transpose(square.first.at(0), square.column, to.wrapping_add(l * width + j), width);
                }
            }
            for l in 0..depth {
                let line = to.wrapping_add(l * width);
                for j in if l < deep { whole } else { 0 }..wide {
                    *line.wrapping_add(j) = *from.first.offset(l as i64 * from.row + j as i64 * from.column);
                }
                for j in wide..width {
                    *line.wrapping_add(j) = V::Element::ZERO;
                }
            }
        }
    }
}

/// Rows and columns of a square that is transposed in registers.
const SIDE: usize = 8;

/// A square whose rows lie `stride` apart to the other way round, `to_stride` apart.
#[inline(always)]
unsafe fn transpose<T: Element>(from: *const T, stride: i64, to: *mut T, to_stride: usize) {
    let mut square = [[T::ZERO; SIDE]; SIDE];
    for (i, line) in square.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *line = unsafe { from.wrapping_offset(i as isize * stride as isize).cast::<[T; SIDE]>().read_unaligned() };
    }
    for j in 0..SIDE {
        let line = square.map(|row| row[j]);
        // SAFETY: the caller's promise.
        unsafe { to.wrapping_add(j * to_stride).cast::<[T; SIDE]>().write_unaligned(line) };
    }
}
