//! Small products, and those of a few rows.
//!
//! Expects: see [`small`].
//! Guarantees: the order in which a sum is added depends on the shape and the layout alone.
//! Leaves out: larger products ([`super::large`]).

use super::{Element, Matrices};

/// A product by loops over tiles of c, each sum in the order of k.
///
/// # Safety
/// As for [`product`].
#[inline(always)]
pub(super) unsafe fn small<T: Element>(matrices: &Matrices<T>) {
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
                    sums[lane] = T::add(sums[lane], sums[lane + width]);
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
