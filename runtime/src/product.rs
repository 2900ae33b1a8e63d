//! Matrix products.
//!
//! Expects: shapes that fit the memory behind the pointers; a result whose elements do not overlap anything; a context whose
//! workers have the scratch of the [`Room`] of the product.
//! Guarantees: the order in which a sum is added depends on the sizes and the layout alone, so any number of threads gives the
//! same bits, and so does any machine. Nothing is allocated.
//! Leaves out: products with few bits.

mod large;
mod pack;
mod small;
mod vector;

use crate::engine::{Engine, for_engines};
use crate::pool::Context;
use crate::room::Room;
use crate::shared::Shared;
use small::small;

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

    /// x + y
    fn add(x: Self, y: Self) -> Self;

    /// x y + z, rounded once.
    fn mul_add(x: Self, y: Self, z: Self) -> Self;

    /// A product by our own loops, whose b has rows without gaps: see [`small`].
    ///
    /// # Safety
    /// As for [`product`].
    unsafe fn small(matrices: &Matrices<Self>);

    /// A product of packed panels, added to c where `add`: see [`large`].
    ///
    /// # Safety
    /// As for [`product`], with the scratch of [`multiply_room`].
    unsafe fn multiply(matrices: &Matrices<Self>, add: bool, scratch: *mut Self);
}

macro_rules! element {
    ($type:ty, $small:ident $small_on:ident, $multiply_on:path) => {
        impl Element for $type {
            const ZERO: $type = 0.0;
            #[inline(always)]
            fn add(x: $type, y: $type) -> $type {
                x + y
            }
            #[inline(always)]
            fn mul_add(x: $type, y: $type, z: $type) -> $type {
                x.mul_add(y, z)
            }
            unsafe fn small(matrices: &Matrices<$type>) {
                // SAFETY: the caller's promise.
                unsafe { $small(matrices) }
            }
            unsafe fn multiply(matrices: &Matrices<$type>, add: bool, scratch: *mut $type) {
                // SAFETY: the caller's promise; the machine has its best engine.
                unsafe { $multiply_on(Engine::best(), matrices, add, scratch) }
            }
        }

        for_engines! {
            /// [`small`]
            ///
            /// # Safety
            /// As there.
            unsafe fn $small(matrices: &Matrices<$type>) = $small_on {
                small(matrices)
            }
        }
    };
}

element!(f32, small_f32 small_f32_on, large::multiply_f32);
element!(f64, small_f64 small_f64_on, large::multiply_f64);

/// A matrix in memory: strides in elements.
#[derive(Clone, Copy)]
struct Matrix<T> {
    first: Shared<T>,
    row: i64,
    column: i64,
}

impl<T: Copy> Matrix<T> {
    fn transposed(self) -> Matrix<T> {
        Matrix { first: self.first, row: self.column, column: self.row }
    }
    fn from(self, row: u64, column: u64) -> Matrix<T> {
        let first = Shared(self.first.offset(row as i64 * self.row + column as i64 * self.column));
        Matrix { first, ..self }
    }
}

/// c [m, n] = a [m, k] b [k, n].
#[derive(Clone, Copy)]
pub struct Matrices<T> {
    m: u64,
    n: u64,
    k: u64,
    a: Matrix<T>,
    b: Matrix<T>,
    c: Matrix<T>,
}

impl<T: Copy> Matrices<T> {
    /// Of sizes m, n and k; each with its strides from row to row and from column to column.
    pub(crate) fn new(
        [m, n, k]: [usize; 3],
        (a, a_strides): (*const T, (i64, i64)),
        (b, b_strides): (*const T, (i64, i64)),
        (c, c_strides): (*mut T, (i64, i64)),
    ) -> Matrices<T> {
        let matrix = |first: *mut T, (row, column)| Matrix { first: Shared(first), row, column };
        let (a, b) = (matrix(a.cast_mut(), a_strides), matrix(b.cast_mut(), b_strides));
        Matrices { m: m as u64, n: n as u64, k: k as u64, a, b, c: matrix(c, c_strides) }
    }

    /// Multiplications.
    fn work(&self) -> u64 {
        self.m.saturating_mul(self.n).saturating_mul(self.k)
    }

    fn transposed(&self) -> Matrices<T> {
        let Matrices { m, n, k, a, b, c } = *self;
        Matrices { m: n, n: m, k, a: b.transposed(), b: a.transposed(), c: c.transposed() }
    }

    /// The same product or that of the transposes, whichever is faster. The rows of c are what tiles have few of and the
    /// columns are in vectors: few columns are better as rows; and where columns of b lie along memory and only few rows of a
    /// do, these are packed instead.
    fn oriented(self) -> Matrices<T> {
        // As if the rows of c were without gaps. A single row or column has no stride.
        let by_columns = match (self.m, self.n) {
            (1, _) => false,
            (_, 1) => true,
            _ => self.c.column.abs() > self.c.row.abs(),
        };
        let matrices = if by_columns { self.transposed() } else { self };
        let Matrices { m, n, a, b, .. } = matrices;
        let has_few_columns = n <= FEW_ROWS && n < m;
        let packs_fewer_rows = b.column != 1 && a.column == 1 && FEW_DOTS < m && m <= FLIPPED_ROWS.min(n);
        if has_few_columns || packs_fewer_rows { matrices.transposed() } else { matrices }
    }

    /// Whether our loops over few rows do it: the whole product, not a part of it.
    fn is_small(&self) -> bool {
        let Matrices { m, a, b, .. } = *self;
        let is_dots = a.column == 1 && b.row == 1 && b.column != 1;
        m <= if is_dots { FEW_DOTS } else { FEW_ROWS } || self.work() <= SMALL_WORK
    }
}

/// Blocks of the result have at least so many multiplications each: a hand-over to a worker costs a few microseconds.
const BLOCK_WORK: u64 = 1 << 21;
/// So many blocks for each worker, all batches together, are enough to share them evenly.
const BLOCKS: u64 = 4;
/// Rows and columns of a block are multiples of these, so that register tiles are whole inside the matrix.
const BLOCK_STEPS: [u64; 2] = [48, 64];
/// Products of at most this many multiplications are done by our loops for small ones.
const SMALL_WORK: u64 = 4096;
/// So are those of at most this many rows,
const FEW_ROWS: u64 = 3;
/// or this many where the sums run along memory in both factors.
const FEW_DOTS: u64 = 6;
/// With more rows, scattering the result costs more than packing the other factor.
const FLIPPED_ROWS: u64 = 128;

impl ProductShape {
    /// Product `i` of the batch, of factors and a result that begin here.
    fn matrices<T: Copy>(&self, i: u64, a: Shared<T>, b: Shared<T>, c: Shared<T>) -> Matrices<T> {
        let (ProductShape { m, n, k, .. }, i) = (*self, i as i64);
        let a = Matrix { first: Shared(a.offset(i * self.a_batch)), row: self.a_row, column: self.a_column };
        let b = Matrix { first: Shared(b.offset(i * self.b_batch)), row: self.b_row, column: self.b_column };
        let c = Matrix { first: Shared(c.offset(i * self.c_batch)), row: self.c_row, column: self.c_column };
        Matrices { m, n, k, a, b, c }.oriented()
    }
}

/// What [`product`] needs for elements of so many bytes.
pub fn room(shape: &ProductShape, element_bytes: u64) -> Room {
    if shape.m == 0 || shape.n == 0 || shape.batch == 0 {
        return Room::default();
    }
    let nowhere = Shared(std::ptr::null_mut::<u8>());
    let first = shape.matrices(0, nowhere, nowhere, nowhere);
    if first.is_small() { Room::default() } else { multiply_room(&first, element_bytes) }
}

/// What [`Element::multiply`] needs for a product, all smaller ones, and their transposes.
pub(crate) fn multiply_room<T: Copy>(largest: &Matrices<T>, element_bytes: u64) -> Room {
    let bytes = |matrices| large::scratch_bytes(&matrices, element_bytes);
    Room { call: 0, worker: bytes(*largest).max(bytes(largest.transposed())) }
}

/// c = a b, overwritten.
///
/// # Safety
/// The matrices lie behind the pointers as the shape says, c apart from a and b; the workers have the scratch of [`room`].
pub unsafe fn product<T: Element>(context: &Context, shape: &ProductShape, a: *const T, b: *const T, c: *mut T) {
    let ProductShape { m, n, batch, .. } = *shape;
    if m == 0 || n == 0 || batch == 0 {
        return;
    }
    debug_assert!(room(shape, size_of::<T>() as u64).worker <= context.scratch_bytes() as u64, "{shape:?}");
    let (a, b, c) = (Shared(a.cast_mut()), Shared(b.cast_mut()), Shared(c));
    let first = shape.matrices(0, a, b, c);
    let all_work = first.work().saturating_mul(batch);
    let blocks = Blocks::new(&first, all_work, context.threads());
    let grain = (BLOCK_WORK / first.work().max(1)).max(1);
    context.parallel(batch * blocks.count(), grain, &|begin, end, scratch| {
        for i in begin..end {
            let matrices = shape.matrices(i / blocks.count(), a, b, c);
            // SAFETY: the caller's promise; blocks of c are separate.
            unsafe { blocks.multiply(&matrices, i % blocks.count(), scratch) };
        }
    });
}

/// Several products of any sizes as one job: `of` gives each, and `ends` has a place for each, which is overwritten.
///
/// # Safety
/// As for [`product`]; the results lie apart.
pub(crate) unsafe fn products<T: Element>(
    context: &Context,
    ends: &mut [u64],
    of: &(dyn Fn(usize) -> Matrices<T> + Sync),
) {
    let all_work = (0..ends.len()).map(|index| of(index).work()).fold(0, u64::saturating_add);
    let threads = context.threads();
    let blocks = |matrices: &Matrices<T>| Blocks::new(matrices, all_work, threads);
    let mut count = 0;
    for (index, end) in ends.iter_mut().enumerate() {
        count += blocks(&of(index).oriented()).count();
        *end = count;
    }
    let ends = &*ends;
    let grain = if all_work <= BLOCK_WORK { count } else { 1 };
    context.parallel(count, grain, &|begin, end, scratch| {
        for i in begin..end {
            let index = ends.partition_point(|end| *end <= i);
            let matrices = of(index).oriented();
            let blocks = blocks(&matrices);
            let first = ends[index] - blocks.count();
            // SAFETY: the caller's promise; blocks of c are separate.
            unsafe { blocks.multiply(&matrices, i - first, scratch) };
        }
    });
}

/// How a result is cut into blocks that workers share out; its bits do not depend on it.
struct Blocks {
    rows: u64,
    columns: u64,
    down: u64,
    across: u64,
}

impl Blocks {
    /// For a product that is a part of so much work: halves the longer side while a half is work enough for one of so many
    /// workers.
    fn new<T: Copy>(matrices: &Matrices<T>, all_work: u64, threads: usize) -> Blocks {
        let Matrices { m, n, k, .. } = *matrices;
        let [mut rows, mut columns] = [m, n];
        let [row_step, column_step] = BLOCK_STEPS;
        let block_work = (all_work / (BLOCKS * threads as u64)).max(BLOCK_WORK);
        while threads > 1 && rows * columns / 2 * k >= block_work {
            if columns > rows && columns > column_step {
                columns = columns.div_ceil(2).next_multiple_of(column_step);
            } else if rows > row_step {
                rows = rows.div_ceil(2).next_multiple_of(row_step);
            } else {
                break;
            }
        }
        Blocks { rows, columns, down: m.div_ceil(rows.max(1)), across: n.div_ceil(columns.max(1)) }
    }

    fn count(&self) -> u64 {
        self.down * self.across
    }

    /// Block `index` of a product, on this thread, which has this scratch.
    ///
    /// # Safety
    /// As for [`product`].
    unsafe fn multiply<T: Element>(&self, whole: &Matrices<T>, index: u64, scratch: *mut u8) {
        let (row, column) = (index / self.across * self.rows, index % self.across * self.columns);
        let part = Matrices {
            m: self.rows.min(whole.m - row),
            n: self.columns.min(whole.n - column),
            k: whole.k,
            a: whole.a.from(row, 0),
            b: whole.b.from(0, column),
            c: whole.c.from(row, column),
        };
        // SAFETY: the caller's promise.
        unsafe {
            if whole.is_small() {
                T::small(&part);
            } else {
                T::multiply(&part, false, scratch.cast());
            }
        }
    }
}

#[cfg(test)]
mod tests;
