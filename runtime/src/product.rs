//! Matrix products: large ones by the `gemm` crate, small ones by our own loops.
//!
//! Expects: shapes that fit the memory behind the pointers; a result whose elements do not overlap anything.
//! Guarantees: the order in which a sum is added depends on the shape and the machine's instruction set and caches
//! alone, so any number of threads gives the same bits.
//! Leaves out: products with few bits.

use crate::engine::for_engines;
use crate::pool::Context;
use std::cell::RefCell;

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

    /// x y + z, rounded once.
    fn mul_add(x: Self, y: Self, z: Self) -> Self;

    /// A product by our own loops, whose b has rows without gaps: see [`small`].
    ///
    /// # Safety
    /// As for [`product`].
    unsafe fn small(matrices: &Matrices<Self>);

    /// Writes the transpose of `rows` rows of `columns` elements, `stride` apart, without gaps.
    ///
    /// # Safety
    /// So many elements at `from`, and places at `to`.
    unsafe fn transpose(from: *const Self, stride: i64, rows: usize, columns: usize, to: *mut Self);
}

macro_rules! element {
    ($type:ty, $small:ident $small_on:ident, $transpose:ident $transpose_on:ident) => {
        impl Element for $type {
            const ZERO: $type = 0.0;
            const ONE: $type = 1.0;
            #[inline(always)]
            fn mul_add(x: $type, y: $type, z: $type) -> $type {
                x.mul_add(y, z)
            }
            unsafe fn small(matrices: &Matrices<$type>) {
                // SAFETY: the caller's promise.
                unsafe { $small(matrices) }
            }
            unsafe fn transpose(from: *const $type, stride: i64, rows: usize, columns: usize, to: *mut $type) {
                // SAFETY: the caller's promise.
                unsafe { $transpose(from, stride, rows, columns, to) }
            }
        }

        for_engines! {
            /// [`small`]
            unsafe fn $small(matrices: &Matrices<$type>) = $small_on {
                small(matrices)
            }
            /// [`transpose`]
            unsafe fn $transpose(from: *const $type, stride: i64, rows: usize, columns: usize, to: *mut $type) = $transpose_on {
                transpose(from, stride, rows, columns, to)
            }
        }
    };
}

element!(f32, small_f32 small_f32_on, transpose_f32 transpose_f32_on);
element!(f64, small_f64 small_f64_on, transpose_f64 transpose_f64_on);

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

/// A matrix in memory: strides in elements.
#[derive(Clone, Copy)]
struct Matrix<T> {
    first: Place<T>,
    row: i64,
    column: i64,
}

impl<T> Matrix<T> {
    fn transposed(self) -> Matrix<T> {
        Matrix { first: self.first, row: self.column, column: self.row }
    }
    fn from(self, row: u64, column: u64) -> Matrix<T> {
        let first = Place(self.first.at(row as i64 * self.row + column as i64 * self.column));
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

/// Blocks of the result have at least so many multiplications each: a hand-over to a worker costs a few microseconds.
const BLOCK_WORK: u64 = 1 << 21;
/// At most so many blocks of the result, all batches together, as far as the batches allow.
const BLOCKS: u64 = 32;
/// Rows and columns of a block are multiples of this, so that register tiles are whole inside the matrix.
const BLOCK_STEP: u64 = 48;
/// Products of at most this many multiplications are done by our own loops.
const SMALL_WORK: u64 = 4096;
/// So are those of at most this many rows.
const FEW_ROWS: u64 = 3;

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
    let matrices = |i: u64| {
        let i = i as i64;
        let a = Matrix { first: Place(a.at(i * shape.a_batch)), row: shape.a_row, column: shape.a_column };
        let b = Matrix { first: Place(b.at(i * shape.b_batch)), row: shape.b_row, column: shape.b_column };
        let c = Matrix { first: Place(c.at(i * shape.c_batch)), row: shape.c_row, column: shape.c_column };
        // As if the rows of c were without gaps: else transpose all. A single row or column has no stride.
        let by_columns = if m == 1 || n == 1 { n == 1 } else { c.column.abs() > c.row.abs() };
        if by_columns {
            Matrices { m: n, n: m, k, a: b.transposed(), b: a.transposed(), c: c.transposed() }
        } else {
            Matrices { m, n, k, a, b, c }
        }
    };
    let Matrices { m, n, b: first_b, .. } = matrices(0);
    let work = m.saturating_mul(n).saturating_mul(k);
    let all_work = work.saturating_mul(batch);
    if all_work <= BLOCK_WORK {
        for i in 0..batch {
            // SAFETY: the caller's promise.
            unsafe { block(&matrices(i)) };
        }
        return;
    }
    let (rows, columns) = block_size(m, n, k, BLOCK_WORK.max(all_work / BLOCKS), first_b.column != 1);
    let (row_blocks, column_blocks) = (m.div_ceil(rows), n.div_ceil(columns));
    let blocks = row_blocks * column_blocks;
    let grain = (BLOCK_WORK / work.max(1)).max(1);
    context.parallel(batch * blocks, grain, &|begin, end, _| {
        for i in begin..end {
            let whole = matrices(i / blocks);
            let (row, column) = (i % blocks / column_blocks * rows, i % column_blocks * columns);
            let part = Matrices {
                m: rows.min(m - row),
                n: columns.min(n - column),
                k,
                a: whole.a.from(row, 0),
                b: whole.b.from(0, column),
                c: whole.c.from(row, column),
            };
            // SAFETY: the caller's promise; blocks of c are separate.
            unsafe { block(&part) };
        }
    });
}

/// Rows and columns of the blocks of c that workers share out: halves the longer side while a half is work enough. Where b
/// has to be transposed first, rows stay together as long as there are columns to share.
fn block_size(m: u64, n: u64, k: u64, block_work: u64, transposed: bool) -> (u64, u64) {
    let (mut rows, mut columns) = (m, n);
    while rows.max(columns) > BLOCK_STEP && rows * columns / 2 * k >= block_work {
        let by_columns = columns > if transposed { 2 * BLOCK_STEP } else { rows };
        let side = if by_columns || rows <= BLOCK_STEP { &mut columns } else { &mut rows };
        *side = side.div_ceil(2).next_multiple_of(BLOCK_STEP);
    }
    (rows, columns)
}

/// One block on this thread.
///
/// # Safety
/// As for [`product`].
unsafe fn block<T: Element>(matrices: &Matrices<T>) {
    let Matrices { m, n, k, a, b, c } = *matrices;
    if b.column != 1 && b.row == 1 && m * n * k > SMALL_WORK {
        // `gemm` is slow with rows of b that are columns in memory.
        with_buffer((n * k) as usize, |buffer| {
            // SAFETY: n columns of k elements without gaps; so many places.
            unsafe { T::transpose(b.first.at(0), b.column, n as usize, k as usize, buffer) };
            let b = Matrix { first: Place(buffer), row: n as i64, column: 1 };
            // SAFETY: the caller's promise, and b's copy.
            unsafe { block(&Matrices { m, n, k, a, b, c }) };
        });
        return;
    }
    if m <= FEW_ROWS || m * n * k <= SMALL_WORK {
        // SAFETY: the caller's promise.
        unsafe { T::small(matrices) };
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            m as usize,
            n as usize,
            k as usize,
            c.first.at(0),
            c.column as isize,
            c.row as isize,
            false,
            a.first.at(0),
            a.column as isize,
            a.row as isize,
            b.first.at(0),
            b.column as isize,
            b.row as isize,
            T::ZERO,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Room for `n` elements that this thread keeps for the next time.
fn with_buffer<T: Element>(n: usize, body: impl FnOnce(*mut T)) {
    thread_local! {
        static BUFFER: RefCell<Vec<f64>> = const { RefCell::new(vec![]) };
    }
    let mut buffer = BUFFER.take();
    buffer.resize(buffer.len().max(n), 0.0);
    body(buffer.as_mut_ptr().cast());
    BUFFER.set(buffer);
}

/// A product by loops over tiles of c, each sum in the order of k.
///
/// # Safety
/// As for [`product`].
#[inline(always)]
unsafe fn small<T: Element>(matrices: &Matrices<T>) {
    let Matrices { m, n, .. } = *matrices;
    let mut row = 0;
    while row < m {
        // SAFETY: the caller's promise; the tiles lie inside.
        unsafe {
            match m - row {
                1 => tile_row::<T, 1>(matrices, row, n),
                2 => tile_row::<T, 2>(matrices, row, n),
                3 => tile_row::<T, 3>(matrices, row, n),
                _ => tile_row::<T, 4>(matrices, row, n),
            }
        }
        row += 4;
    }
}

/// `R` rows of c.
#[inline(always)]
unsafe fn tile_row<T: Element, const R: usize>(matrices: &Matrices<T>, row: u64, n: u64) {
    let mut column = 0;
    // SAFETY: as for `small`.
    unsafe {
        while column + 32 <= n {
            tile::<T, R, 32>(matrices, row, column);
            column += 32;
        }
        while column + 8 <= n {
            tile::<T, R, 8>(matrices, row, column);
            column += 8;
        }
        while column < n {
            tile::<T, R, 1>(matrices, row, column);
            column += 1;
        }
    }
}

/// `R` x `W` elements of c.
#[inline(always)]
unsafe fn tile<T: Element, const R: usize, const W: usize>(matrices: &Matrices<T>, row: u64, column: u64) {
    let (a, b, c) = (matrices.a.from(row, 0), matrices.b.from(0, column), matrices.c.from(row, column));
    let mut sums = [[T::ZERO; W]; R];
    for l in 0..matrices.k as i64 {
        let from = b.first.at(l * b.row);
        let line: [T; W] = if b.column == 1 {
            // SAFETY: W elements without gaps.
            unsafe { from.cast::<[T; W]>().read_unaligned() }
        } else {
            // SAFETY: each inside b.
            std::array::from_fn(|j| unsafe { *from.wrapping_offset(j as isize * b.column as isize) })
        };
        for i in 0..R {
            // SAFETY: inside a.
            let factor = unsafe { *a.first.at(i as i64 * a.row + l * a.column) };
            for j in 0..W {
                sums[i][j] = T::mul_add(factor, line[j], sums[i][j]);
            }
        }
    }
    for i in 0..R {
        for j in 0..W {
            // SAFETY: inside c.
            unsafe { *c.first.at(i as i64 * c.row + j as i64 * c.column) = sums[i][j] };
        }
    }
}

/// The transpose of `rows` rows of `columns` elements, `stride` apart, without gaps; in squares that fit the registers.
///
/// # Safety
/// So many elements and places.
#[inline(always)]
unsafe fn transpose<T: Element>(from: *const T, stride: i64, rows: usize, columns: usize, to: *mut T) {
    const SIDE: usize = 8;
    let stride = stride as isize;
    let mut row = 0;
    while row < rows {
        let height = SIDE.min(rows - row);
        let mut column = 0;
        while column < columns {
            let width = SIDE.min(columns - column);
            let source = from.wrapping_offset(row as isize * stride).wrapping_add(column);
            let target = to.wrapping_add(column * rows + row);
            if height == SIDE && width == SIDE {
                // SAFETY: a whole square inside.
                unsafe {
                    let square: [[T; SIDE]; SIDE] = std::array::from_fn(|i| {
                        source.wrapping_offset(i as isize * stride).cast::<[T; SIDE]>().read_unaligned()
                    });
                    for j in 0..SIDE {
                        let line: [T; SIDE] = std::array::from_fn(|i| square[i][j]);
                        target.wrapping_add(j * rows).cast::<[T; SIDE]>().write_unaligned(line);
                    }
                }
            } else {
                for i in 0..height {
                    for j in 0..width {
                        // SAFETY: inside.
                        unsafe {
                            *target.wrapping_add(j * rows + i) =
                                *source.wrapping_offset(i as isize * stride).wrapping_add(j)
                        };
                    }
                }
            }
            column += SIDE;
        }
        row += SIDE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A product of contiguous matrices, each row-major or column-major.
    fn shape(m: u64, n: u64, k: u64, layout: u32, batch: u64) -> ProductShape {
        let strides = |rows: u64, columns: u64, bit: u32| {
            if layout >> bit & 1 == 0 { (columns as i64, 1) } else { (1, rows as i64) }
        };
        let ((a_row, a_column), (b_row, b_column)) = (strides(m, k, 0), strides(k, n, 1));
        let (c_row, c_column) = strides(m, n, 2);
        let (a_batch, b_batch, c_batch) = ((m * k) as i64, (k * n) as i64, (m * n) as i64);
        ProductShape { m, n, k, a_row, a_column, b_row, b_column, c_row, c_column, batch, a_batch, b_batch, c_batch }
    }

    fn numbers(n: u64, salt: u64) -> Vec<f64> {
        (0..n).map(|i| ((i + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / 2f64.powi(23) - 1.0).collect()
    }

    /// Compares with sums in f64, by the error bound of any order of adding.
    fn check(context: &Context, shape: &ProductShape) -> (Vec<f32>, Vec<f64>) {
        let ProductShape { m, n, k, batch, .. } = *shape;
        let round = |x: &f64| f64::from(*x as f32);
        let a: Vec<f64> = numbers(m * k * batch, 1).iter().map(round).collect();
        let b: Vec<f64> = numbers(k * n * batch, 77).iter().map(round).collect();
        let mut c = vec![f64::NAN; (m * n * batch) as usize];
        let narrow = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let (a32, b32, mut c32) = (narrow(&a), narrow(&b), narrow(&c));
        // SAFETY: sizes as the shape says.
        unsafe {
            product(context, shape, a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
            product(context, shape, a32.as_ptr(), b32.as_ptr(), c32.as_mut_ptr());
        }
        for t in 0..batch as i64 {
            for i in 0..m as i64 {
                for j in 0..n as i64 {
                    let (mut sum, mut size) = (0.0, 0.0);
                    for l in 0..k as i64 {
                        let term = a[(t * shape.a_batch + i * shape.a_row + l * shape.a_column) as usize]
                            * b[(t * shape.b_batch + l * shape.b_row + j * shape.b_column) as usize];
                        (sum, size) = (sum + term, size + term.abs());
                    }
                    let at = (t * shape.c_batch + i * shape.c_row + j * shape.c_column) as usize;
                    let bound = (k as f64 + 2.0) * size;
                    assert!((c[at] - sum).abs() <= bound * 2.0 * 2f64.powi(-53), "{shape:?} {i} {j}: {} {sum}", c[at]);
                    let difference = (f64::from(c32[at]) - sum).abs();
                    assert!(difference <= bound * 2f64.powi(-24), "{shape:?} {i} {j}: {} {sum}", c32[at]);
                }
            }
        }
        (c32, c)
    }

    #[test]
    fn all_layouts_and_odd_sizes() {
        let context = Context::new(1, 0);
        let sizes = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 40, 64, 70];
        for (at, m) in sizes.into_iter().enumerate() {
            for (step, n) in sizes.into_iter().enumerate() {
                let k = sizes[(at * 5 + step * 3) % sizes.len()];
                for layout in 0..8 {
                    check(&context, &shape(m, n, k, layout, 1));
                }
            }
        }
        for k in 0..70 {
            for layout in 0..8 {
                check(&context, &shape(11, 13, k, layout, 2));
            }
        }
        for layout in 0..8 {
            check(&context, &shape(130, 90, 260, layout, 1));
        }
    }

    #[test]
    fn repeated_and_strided_matrices() {
        let context = Context::new(2, 0);
        for layout in 0..8 {
            let mut repeated = shape(20, 30, 40, layout, 5);
            repeated.b_batch = 0;
            check(&context, &repeated);
            repeated.a_batch = 0;
            check(&context, &repeated);
        }
        // Every second row and column of larger matrices, backwards.
        let (m, n, k) = (9u64, 11u64, 13u64);
        let strided = ProductShape {
            a_row: -2 * 26,
            a_column: 2,
            b_row: 2 * 22,
            b_column: -2,
            c_row: 22 * 2,
            c_column: 2,
            ..shape(m, n, k, 0, 1)
        };
        let (a, b) = (numbers(4 * m * k, 3), numbers(4 * k * n, 5));
        let mut c = vec![-9.0; (4 * m * n) as usize];
        let (a_first, b_first) = (2 * 26 * (m as usize - 1), 2 * (n as usize - 1));
        // SAFETY: all places lie inside, by the offsets.
        unsafe { product(&context, &strided, a.as_ptr().add(a_first), b.as_ptr().add(b_first), c.as_mut_ptr()) };
        for (at, value) in c.iter().enumerate() {
            let (i, j) = (at / 22, at % 22);
            let sum = |i: usize, j: usize| {
                (0..k as usize).map(|l| a[a_first - 52 * i + 2 * l] * b[44 * l + b_first - 2 * j]).sum::<f64>()
            };
            let truth = if i % 2 == 0 && j % 2 == 0 { sum(i / 2, j / 2) } else { -9.0 };
            assert!((value - truth).abs() < 1e-13, "{i} {j}: {value} {truth}");
        }
    }

    #[test]
    fn no_columns_of_a_give_zeros() {
        let context = Context::new(1, 0);
        for (m, n) in [(1, 1), (3, 5), (64, 70), (200, 1)] {
            let (c, wide) = check(&context, &shape(m, n, 0, 0, 2));
            assert!(c.iter().all(|x| *x == 0.0) && wide.iter().all(|x| *x == 0.0));
        }
    }

    #[test]
    fn threads_give_the_same_bits() {
        for (m, n, k, batch) in [
            (300, 200, 150, 1),
            (1000, 64, 70, 1),
            (5, 3000, 400, 1),
            (40, 50, 60, 40),
            (130, 140, 150, 3),
            (1, 3000, 1000, 1),
        ] {
            for layout in [0, 1, 2, 3, 6] {
                let shape = shape(m, n, k, layout, batch);
                let (a, b) = (numbers(m * k * batch, 1), numbers(k * n * batch, 2));
                let (a32, b32): (Vec<f32>, Vec<f32>) =
                    (a.iter().map(|x| *x as f32).collect(), b.iter().map(|x| *x as f32).collect());
                let results = [1, 2, 4].map(|threads| {
                    let context = Context::new(threads, 0);
                    let (mut c, mut c32) =
                        (vec![0.0f64; (m * n * batch) as usize], vec![0.0f32; (m * n * batch) as usize]);
                    // SAFETY: sizes as the shape says.
                    unsafe {
                        product(&context, &shape, a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
                        product(&context, &shape, a32.as_ptr(), b32.as_ptr(), c32.as_mut_ptr());
                    }
                    (
                        c.into_iter().map(f64::to_bits).collect::<Vec<_>>(),
                        c32.into_iter().map(f32::to_bits).collect::<Vec<_>>(),
                    )
                });
                assert!(results[0] == results[1] && results[0] == results[2], "{shape:?}");
            }
        }
    }

    /// Not a test: prints GFLOP/s.
    #[test]
    #[ignore = "a measurement"]
    fn throughput() {
        let context = Context::new(1, 0);
        // (m, k, n, layout)
        let cases = [
            (64, 64, 64, 0),
            (256, 256, 256, 0),
            (1024, 1024, 1024, 0),
            (128, 784, 512, 0),
            (128, 512, 512, 0),
            (128, 512, 10, 0),
            (128, 512, 10, 2),
            (128, 512, 784, 0),
            (128, 512, 784, 2),
            (128, 784, 512, 2),
            (128, 512, 512, 2),
            (128, 500, 784, 2),
            (784, 128, 512, 1),
            (512, 128, 512, 1),
            (512, 128, 10, 1),
            (128, 10, 512, 0),
            (32, 64, 128, 0),
            (32, 64, 128, 2),
            (64, 32, 128, 1),
            (32, 128, 10, 0),
            (32, 128, 10, 2),
            (8, 8, 8, 0),
            (1, 512, 512, 0),
            (1, 512, 512, 2),
            (512, 512, 1, 0),
            (512, 512, 1, 1),
            (2080, 192, 576, 2),
            (2080, 768, 192, 2),
            (65, 64, 65, 2),
            (65, 65, 64, 0),
            (4, 4, 4, 0),
            (128, 64, 3, 2),
        ];
        {
            for (m, k, n, layout) in cases {
                let shape = shape(m, n, k, layout, 1);
                let (a, b) = (vec![1.0f32; (m * k) as usize], vec![1.0f32; (k * n) as usize]);
                let mut c = vec![0.0f32; (m * n) as usize];
                let turns = (20_000_000 / (m * n * k)).clamp(1, 10000);
                let best = (0..12).map(|_| {
                    let start = std::time::Instant::now();
                    for _ in 0..turns {
                        // SAFETY: sizes as the shape says.
                        unsafe { product(&context, &shape, a.as_ptr(), b.as_ptr(), c.as_mut_ptr()) };
                    }
                    start.elapsed().as_secs_f64() / turns as f64
                });
                let best = best.fold(f64::INFINITY, f64::min);
                let flops = 2.0 * (m * n * k) as f64 / best / 1e9;
                println!("{m:5} {k:5} {n:5} {layout:03b}: {:9.2} us {flops:7.1} GFLOP/s", best * 1e6);
            }
        }
    }
}
