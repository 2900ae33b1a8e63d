//! Matrix products: large ones by the `gemm` crate, small ones by our own loops.
//!
//! Expects: shapes that fit the memory behind the pointers; a result whose elements do not overlap anything; a context whose
//! workers have the scratch of the [`Room`] of the product.
//! Guarantees: the order in which a sum is added depends on the shape and the machine's instruction set and caches
//! alone, so any number of threads gives the same bits. Nothing is allocated here; `gemm` takes what it packs from the
//! system for the length of a call, which it leaves no way to avoid ([`Room::packing`] says how much).
//! Leaves out: products with few bits.

mod transpose;

use crate::engine::{Engine, for_engines};
use crate::pool::Context;
use crate::room::Room;
use crate::shared::Shared;
use transpose::transpose;

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
            ///
            /// # Safety
            /// As there.
            unsafe fn $small(matrices: &Matrices<$type>) = $small_on {
                small(matrices)
            }
            /// [`transpose`]
            ///
            /// # Safety
            /// As there.
            unsafe fn $transpose(from: *const $type, stride: i64, rows: usize, columns: usize, to: *mut $type) = $transpose_on {
                transpose(from, stride, rows, columns, to)
            }
        }
    };
}

element!(f32, small_f32 small_f32_on, transpose_f32 transpose_f32_on);
element!(f64, small_f64 small_f64_on, transpose_f64 transpose_f64_on);

/// A matrix in memory: strides in elements.
#[derive(Clone, Copy)]
struct Matrix<T> {
    first: Shared<T>,
    row: i64,
    column: i64,
}

impl<T> Matrix<T> {
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

impl<T> Matrices<T> {
    /// Of sizes m, n and k; the factors with their strides from row to row and from column to column, c without gaps.
    pub(crate) fn row_major(
        [m, n, k]: [usize; 3],
        (a, a_strides): (*const T, (i64, i64)),
        (b, b_strides): (*const T, (i64, i64)),
        c: *mut T,
    ) -> Matrices<T> {
        let matrix = |first: *mut T, (row, column)| Matrix { first: Shared(first), row, column };
        let (a, b) = (matrix(a.cast_mut(), a_strides), matrix(b.cast_mut(), b_strides));
        Matrices { m: m as u64, n: n as u64, k: k as u64, a, b, c: matrix(c, (n as i64, 1)) }
    }

    /// Multiplications.
    fn work(&self) -> u64 {
        self.m.saturating_mul(self.n).saturating_mul(self.k)
    }

    /// Whether columns of b, and not its rows, lie without gaps.
    fn has_columns(&self) -> bool {
        self.b.column != 1 && self.b.row == 1
    }
}

/// Whether our own loops do it.
fn is_small(m: u64, n: u64, k: u64) -> bool {
    m <= FEW_ROWS || m * n * k <= SMALL_WORK
}

/// Blocks of the result have at least so many multiplications each: a hand-over to a worker costs a few microseconds.
const BLOCK_WORK: u64 = 1 << 21;
/// So many blocks, all batches together, are enough for workers to share.
const BLOCKS: u64 = 32;
/// Larger blocks do not stay in the second cache.
const LARGEST_BLOCK_WORK: u64 = 1 << 26;
/// Rows and columns of a block are multiples of this, so that register tiles are whole inside the matrix.
const BLOCK_STEP: u64 = 48;
/// See [`block_size`].
const TRANSPOSED_ROWS: u64 = 256;
/// Products of at most this many multiplications are done by our own loops.
const SMALL_WORK: u64 = 4096;
/// So are those of at most this many rows.
const FEW_ROWS: u64 = 3;

impl ProductShape {
    /// Product `i` of the batch, of factors and a result that begin here.
    fn matrices<T>(&self, i: u64, a: Shared<T>, b: Shared<T>, c: Shared<T>) -> Matrices<T> {
        let (ProductShape { m, n, k, .. }, i) = (*self, i as i64);
        let a = Matrix { first: Shared(a.offset(i * self.a_batch)), row: self.a_row, column: self.a_column };
        let b = Matrix { first: Shared(b.offset(i * self.b_batch)), row: self.b_row, column: self.b_column };
        let c = Matrix { first: Shared(c.offset(i * self.c_batch)), row: self.c_row, column: self.c_column };
        // As if the rows of c were without gaps: else transpose all. A single row or column has no stride.
        let by_columns = if m == 1 || n == 1 { n == 1 } else { c.column.abs() > c.row.abs() };
        if by_columns {
            Matrices { m: n, n: m, k, a: b.transposed(), b: a.transposed(), c: c.transposed() }
        } else {
            Matrices { m, n, k, a, b, c }
        }
    }
}

/// What [`product`] needs for elements of so many bytes.
pub fn room(shape: &ProductShape, element_bytes: u64) -> Room {
    if shape.m == 0 || shape.n == 0 || shape.batch == 0 {
        return Room::default();
    }
    let nowhere = Shared(std::ptr::null_mut::<u8>());
    let first = shape.matrices(0, nowhere, nowhere, nowhere);
    let all_work = first.work().saturating_mul(shape.batch);
    let largest = if all_work <= BLOCK_WORK { first } else { Blocks::new(&first, all_work).part(&first, 0) };
    block_room(&largest, element_bytes)
}

/// What a block and all smaller ones with its strides need; so [`products`], which needs what the largest of them may.
pub(crate) fn block_room<T>(block: &Matrices<T>, element_bytes: u64) -> Room {
    let Matrices { m, n, k, .. } = *block;
    if is_small(m, n, k) {
        return Room::default();
    }
    let worker = if block.has_columns() { n * k * element_bytes } else { 0 };
    Room { call: 0, worker, packing: packing_bytes(m, n, k, element_bytes) }
}

/// At most what `gemm` packs of the factors of a product at a time: both, with rows and columns to whole register tiles.
pub(crate) fn packing_bytes(m: u64, n: u64, k: u64, element_bytes: u64) -> u64 {
    (m.next_multiple_of(BLOCK_STEP) + n.next_multiple_of(BLOCK_STEP)) * k * element_bytes
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
    if all_work <= BLOCK_WORK {
        for i in 0..batch {
            // SAFETY: the caller's promise.
            unsafe { block(&shape.matrices(i, a, b, c), context.scratch()) };
        }
        return;
    }
    let blocks = Blocks::new(&first, all_work);
    let grain = (BLOCK_WORK / first.work().max(1)).max(1);
    context.parallel(batch * blocks.count(), grain, &|begin, end, scratch| {
        for i in begin..end {
            let matrices = shape.matrices(i / blocks.count(), a, b, c);
            // SAFETY: the caller's promise; blocks of c are separate.
            unsafe { block(&blocks.part(&matrices, i % blocks.count()), scratch) };
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
    let mut count = 0;
    for (index, end) in ends.iter_mut().enumerate() {
        count += Blocks::new(&of(index), all_work).count();
        *end = count;
    }
    let ends = &*ends;
    let grain = if all_work <= BLOCK_WORK { count } else { 1 };
    context.parallel(count, grain, &|begin, end, scratch| {
        for i in begin..end {
            let index = ends.partition_point(|end| *end <= i);
            let matrices = of(index);
            let blocks = Blocks::new(&matrices, all_work);
            let first = ends[index] - blocks.count();
            // SAFETY: the caller's promise; blocks of c are separate.
            unsafe { block(&blocks.part(&matrices, i - first), scratch) };
        }
    });
}

/// How a result is cut into blocks that workers share out.
struct Blocks {
    rows: u64,
    columns: u64,
    down: u64,
    across: u64,
}

impl Blocks {
    /// For a product that is a part of so much work.
    fn new<T: Copy>(matrices: &Matrices<T>, all_work: u64) -> Blocks {
        let Matrices { m, n, k, b, .. } = *matrices;
        let block_work = (all_work / BLOCKS).clamp(BLOCK_WORK, LARGEST_BLOCK_WORK);
        let (rows, columns) = block_size(m, n, k, block_work, b.column != 1);
        Blocks { rows, columns, down: m.div_ceil(rows.max(1)), across: n.div_ceil(columns.max(1)) }
    }

    fn count(&self) -> u64 {
        self.down * self.across
    }

    fn part<T: Copy>(&self, whole: &Matrices<T>, index: u64) -> Matrices<T> {
        let (row, column) = (index / self.across * self.rows, index % self.across * self.columns);
        Matrices {
            m: self.rows.min(whole.m - row),
            n: self.columns.min(whole.n - column),
            k: whole.k,
            a: whole.a.from(row, 0),
            b: whole.b.from(0, column),
            c: whole.c.from(row, column),
        }
    }
}

/// Rows and columns of the blocks of c that workers share out: halves the longer side while a half is work enough. Where b
/// has to be transposed first, which every block does for its columns, blocks keep rows enough for that to pay.
fn block_size(m: u64, n: u64, k: u64, block_work: u64, transposed: bool) -> (u64, u64) {
    let (mut rows, mut columns) = (m, n);
    let fewest_rows = if transposed { TRANSPOSED_ROWS } else { BLOCK_STEP };
    while rows * columns / 2 * k >= block_work {
        let side = if columns > BLOCK_STEP && (columns > rows || rows <= fewest_rows) {
            &mut columns
        } else if rows > fewest_rows {
            &mut rows
        } else {
            break;
        };
        *side = side.div_ceil(2).next_multiple_of(BLOCK_STEP);
    }
    (rows, columns)
}

/// So many rows times columns, both along memory, are done by our own loops: a transposed copy of b costs as much. With fewer
/// registers the sums of a tile do not fit.
fn dot_rows() -> u64 {
    match Engine::best() {
        #[cfg(target_arch = "x86_64")]
        Engine::Avx512 => 64,
        _ => FEW_ROWS,
    }
}

/// One block on this thread, which has this scratch.
///
/// # Safety
/// As for [`product`].
unsafe fn block<T: Element>(matrices: &Matrices<T>, scratch: *mut u8) {
    let Matrices { m, n, k, a, mut b, c } = *matrices;
    let are_few_dots = matrices.has_columns() && a.column == 1 && m <= dot_rows();
    if are_few_dots || is_small(m, n, k) {
        // SAFETY: the caller's promise.
        unsafe { T::small(matrices) };
        return;
    }
    if matrices.has_columns() {
        // `gemm` is slow with rows of b that are columns in memory.
        let copy = scratch.cast::<T>();
        // SAFETY: n columns of k elements without gaps; so many places, by `block_room`.
        unsafe { T::transpose(b.first.offset(0), b.column, n as usize, k as usize, copy) };
        b = Matrix { first: Shared(copy), row: n as i64, column: 1 };
    }
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            m as usize,
            n as usize,
            k as usize,
            c.first.offset(0),
            c.column as isize,
            c.row as isize,
            false,
            a.first.offset(0),
            a.column as isize,
            a.row as isize,
            b.first.offset(0),
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

/// A product by loops over tiles of c, each sum in the order of k.
///
/// # Safety
/// As for [`product`].
#[inline(always)]
unsafe fn small<T: Element>(matrices: &Matrices<T>) {
    let Matrices { m, n, a, b, .. } = *matrices;
    if a.column == 1 && b.row == 1 && b.column != 1 {
        // SAFETY: the caller's promise.
        return unsafe { dots(matrices) };
    }
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

/// Sums along memory: element l of a row goes to lane l % 16; the lanes are added pairwise at the end.
#[inline(always)]
unsafe fn dots<T: Element>(matrices: &Matrices<T>) {
    let n = matrices.n;
    let mut column = 0;
    // SAFETY: as for `small`.
    unsafe {
        while column + 4 <= n {
            dot_column::<T, 4>(matrices, column);
            column += 4;
        }
        while column < n {
            dot_column::<T, 1>(matrices, column);
            column += 1;
        }
    }
}

/// `C` columns of c. The sums of a tile stay in the registers: 16 of 512 bits.
#[inline(always)]
unsafe fn dot_column<T: Element, const C: usize>(matrices: &Matrices<T>, column: u64) {
    let rows = if size_of::<T>() == 4 { 4 } else { 2 };
    let mut row = 0;
    // SAFETY: as for `small`.
    unsafe {
        while row + rows <= matrices.m {
            match rows {
                4 => dot::<T, 4, C>(matrices, row, column),
                _ => dot::<T, 2, C>(matrices, row, column),
            }
            row += rows;
        }
        while row < matrices.m {
            dot::<T, 1, C>(matrices, row, column);
            row += 1;
        }
    }
}

/// `R` x `C` elements of c.
#[inline(always)]
unsafe fn dot<T: Element, const R: usize, const C: usize>(matrices: &Matrices<T>, row: u64, column: u64) {
    const LANES: usize = 16;
    let (a, b, c) = (matrices.a.from(row, 0), matrices.b.from(0, column), matrices.c.from(row, column));
    let mut sums = [[[T::ZERO; LANES]; C]; R];
    let k = matrices.k as i64;
    let mut l = 0;
    while l + LANES as i64 <= k {
        // SAFETY: so many elements without gaps.
        let lines: [[T; LANES]; C] = std::array::from_fn(|j| unsafe {
            b.first.offset(l + j as i64 * b.column).cast::<[T; LANES]>().read_unaligned()
        });
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as before.
            let factors = unsafe { a.first.offset(l + i as i64 * a.row).cast::<[T; LANES]>().read_unaligned() };
            for (line, sums) in lines.iter().zip(sums) {
                for lane in 0..LANES {
                    sums[lane] = T::mul_add(factors[lane], line[lane], sums[lane]);
                }
            }
        }
        l += LANES as i64;
    }
    for (i, sums) in sums.iter_mut().enumerate() {
        for (j, sums) in sums.iter_mut().enumerate() {
            let (x, y) = (i as i64 * a.row, j as i64 * b.column);
            for (lane, l) in (l..k).enumerate() {
                // SAFETY: inside a and b.
                unsafe { sums[lane] = T::mul_add(*a.first.offset(l + x), *b.first.offset(l + y), sums[lane]) };
            }
            let mut width = LANES / 2;
            while width > 0 {
                for lane in 0..width {
                    sums[lane] = T::mul_add(T::ONE, sums[lane], sums[lane + width]);
                }
                width /= 2;
            }
            // SAFETY: inside c.
            unsafe { *c.first.offset(i as i64 * c.row + j as i64 * c.column) = sums[0] };
        }
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
        let from = b.first.offset(l * b.row);
        let line: [T; W] = if b.column == 1 {
            // SAFETY: W elements without gaps.
            unsafe { from.cast::<[T; W]>().read_unaligned() }
        } else {
            // SAFETY: each inside b.
            std::array::from_fn(|j| unsafe { *from.wrapping_offset(j as isize * b.column as isize) })
        };
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: inside a.
            let factor = unsafe { *a.first.offset(i as i64 * a.row + l * a.column) };
            for j in 0..W {
                sums[j] = T::mul_add(factor, line[j], sums[j]);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (j, sum) in sums.iter().enumerate() {
            // SAFETY: inside c.
            unsafe { *c.first.offset(i as i64 * c.row + j as i64 * c.column) = *sum };
        }
    }
}

#[cfg(test)]
mod tests;
