//! Matrix products, by the `gemm` crate.
//!
//! Expects: shapes that fit the memory behind the pointers; a result whose elements do not overlap anything.
//! Guarantees: the order in which a sum is added depends on the shape and the machine's instruction set and caches
//! alone, so any number of threads gives the same bits.
//! Leaves out: products with few bits.

use crate::pool::Context;

/// c = a b for each of `batch` triples of matrices: c[m, n] = sum over k of a[m, k] b[k, n]. Strides in elements.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductShape {
    /// Rows of a and c.
    pub m: u64,
    /// Columns of b and c.
    pub n: u64,
    /// Columns of a and rows of b; with 0, c becomes zeros.
    pub k: u64,
    /// From row to row of a.
    pub a_row: i64,
    /// From column to column of a.
    pub a_column: i64,
    /// From row to row of b.
    pub b_row: i64,
    /// From column to column of b.
    pub b_column: i64,
    /// From row to row of c.
    pub c_row: i64,
    /// From column to column of c.
    pub c_column: i64,
    /// How many products.
    pub batch: u64,
    /// From matrix to matrix of a; 0 repeats it.
    pub a_batch: i64,
    /// From matrix to matrix of b; 0 repeats it.
    pub b_batch: i64,
    /// From matrix to matrix of c.
    pub c_batch: i64,
}

/// f32 or f64.
pub trait Element: Copy + Send + Sync + 'static {
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
}
impl Element for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
}
impl Element for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
}

/// A pointer that may go to another worker.
#[derive(Clone, Copy)]
struct Place<T>(*mut T);
// SAFETY: blocks of the result are separate, and the factors are only read.
unsafe impl<T> Sync for Place<T> {}
impl<T> Place<T> {
    fn at(&self, offset: i64) -> *mut T {
        self.0.wrapping_offset(offset as isize)
    }
}

/// Products of at most this many multiplications, and blocks of larger ones, stay on one worker.
const BLOCK_WORK: u64 = 1 << 21;
/// Rows and columns of a block are multiples of this, so that no block has ragged register tiles inside the matrix.
const BLOCK_STEP: u64 = 48;

/// c = a b, overwritten.
///
/// # Safety
/// The matrices lie behind the pointers as the shape says, c apart from a and b.
pub unsafe fn product<T: Element>(context: &Context, shape: &ProductShape, a: *const T, b: *const T, c: *mut T) {
    let ProductShape { m, n, k, batch, .. } = *shape;
    if m == 0 || n == 0 || batch == 0 {
        return;
    }
    let (a, b, c) = (Place(a.cast_mut()), Place(b.cast_mut()), Place(c));
    let work = m.saturating_mul(n).saturating_mul(k);
    if work.saturating_mul(batch) <= BLOCK_WORK {
        for i in 0..batch {
            // SAFETY: the caller's promise.
            unsafe { block(shape, i, (0, m), (0, n), a, b, c) };
        }
        return;
    }
    let (rows, columns) = block_size(m, n, k);
    let (row_blocks, column_blocks) = (m.div_ceil(rows), n.div_ceil(columns));
    let blocks = row_blocks * column_blocks;
    let grain = (BLOCK_WORK / work.max(1)).max(1);
    context.parallel(batch * blocks, grain, &|begin, end, _| {
        for i in begin..end {
            let (matrix, row, column) = (i / blocks, i % blocks / column_blocks, i % column_blocks);
            let row = (row * rows, rows.min(m - row * rows));
            let column = (column * columns, columns.min(n - column * columns));
            // SAFETY: the caller's promise; blocks of c are separate.
            unsafe { block(shape, matrix, row, column, a, b, c) };
        }
    });
}

/// Rows and columns of the blocks of c that workers share out: halves the longer side while a half is work enough.
fn block_size(m: u64, n: u64, k: u64) -> (u64, u64) {
    let (mut rows, mut columns) = (m, n);
    while rows.max(columns) > BLOCK_STEP && rows * columns / 2 * k >= BLOCK_WORK {
        let side = if rows >= columns { &mut rows } else { &mut columns };
        *side = side.div_ceil(2).next_multiple_of(BLOCK_STEP);
    }
    (rows, columns)
}

/// Rows and columns (first, how many) of matrix `i` of the result.
///
/// # Safety
/// As for [`product`].
unsafe fn block<T: Element>(
    shape: &ProductShape,
    i: u64,
    (row, rows): (u64, u64),
    (column, columns): (u64, u64),
    a: Place<T>,
    b: Place<T>,
    c: Place<T>,
) {
    let (i, row, column) = (i as i64, row as i64, column as i64);
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            rows as usize,
            columns as usize,
            shape.k as usize,
            c.at(i * shape.c_batch + row * shape.c_row + column * shape.c_column),
            shape.c_column as isize,
            shape.c_row as isize,
            false,
            a.at(i * shape.a_batch + row * shape.a_row),
            shape.a_column as isize,
            shape.a_row as isize,
            b.at(i * shape.b_batch + column * shape.b_column),
            shape.b_column as isize,
            shape.b_row as isize,
            T::ZERO,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
