//! Keys and runs of rows: histogram, stable counting sort, and products of each run of rows with a matrix of its own.
//!
//! Expects: pointers to as many elements as the sizes say, results apart from the operands, and the [`Room`] that each
//! routine asks for.
//! Guarantees: any number of threads gives the same bits; whatever the counts are, nothing outside is read or written: a
//! negative count is 0, and no run goes beyond the last row. The work of a product grows with its rows, not with its runs.
//! Leaves out: fusing the look-up of rows into the products.

use crate::pool::Context;
use crate::product::{Element, Matrices, multiply_room, products};
use crate::room::Room;
use crate::shared::Shared;
use std::ops::Range;

/// The bin that a key names.
fn bin(key: i32, bins: usize) -> Option<usize> {
    usize::try_from(key).ok().filter(|bin| *bin < bins)
}

/// How many of the keys name each bin.
pub fn histogram(keys: &[i32], counts: &mut [i32]) {
    counts.fill(0);
    let bins = counts.len();
    keys.iter().filter_map(|key| bin(*key, bins)).for_each(|bin| counts[bin] += 1);
}

/// What [`counting_sort`] needs: a number for each bin and one for the keys outside.
pub fn counting_sort_room(bins: u64) -> Room {
    Room { call: 4 * (bins + 1), ..Room::default() }
}

/// The places of the keys in the order of their bins, then of the places; keys outside come last. `next` has a place for
/// each bin and one more, which are overwritten.
pub fn counting_sort(keys: &[i32], next: &mut [u32], places: &mut [i32]) {
    let bins = next.len() - 1;
    next.fill(0);
    let slot = |key: i32| bin(key, bins).unwrap_or(bins);
    keys.iter().for_each(|key| next[slot(*key)] += 1);
    let mut begin = 0;
    for count in &mut *next {
        begin += std::mem::replace(count, begin);
    }
    for (place, key) in keys.iter().enumerate() {
        let next = &mut next[slot(*key)];
        places[*next as usize] = place as i32;
        *next += 1;
    }
}

/// Sizes of a product of runs of rows.
#[derive(Clone, Copy, Debug)]
pub struct RowsShape {
    /// Rows of all runs, and beyond.
    pub rows: usize,
    /// Numbers in a row of the result.
    pub width: usize,
    /// Numbers in a row that goes in.
    pub inner: usize,
    /// Whether the matrices are [inner, width] and not [width, inner].
    pub transposed: bool,
}

impl RowsShape {
    /// The product of so many rows with one matrix.
    fn product<T: Copy>(&self, rows: usize, from: *const T, matrix: *const T, result: *mut T) -> Matrices<T> {
        let RowsShape { width, inner, transposed, .. } = *self;
        let strides = if transposed { (width as i64, 1) } else { (1, inner as i64) };
        let to = (result, (width as i64, 1));
        Matrices::new([rows, width, inner], (from, (inner as i64, 1)), (matrix, strides), to)
    }
}

/// The sum of `rows` outer products.
fn outer_product<T: Copy>(
    rows: usize,
    [height, width]: [usize; 2],
    x: *const T,
    y: *const T,
    result: *mut T,
) -> Matrices<T> {
    let to = (result, (width as i64, 1));
    Matrices::new([height, width, rows], (x, (1, height as i64)), (y, (width as i64, 1)), to)
}

/// For each run two numbers in the memory of a call: where its rows end, and where its blocks do.
const RUN_BYTES: u64 = 16;

/// Writes where the rows of each run end; gives that, and the places for the other numbers.
fn row_ends<'a>(counts: &[i32], rows: usize, memory: &'a mut [u64]) -> (&'a [u64], &'a mut [u64]) {
    let (ends, others) = memory.split_at_mut(counts.len());
    let mut begin = 0;
    for (end, count) in ends.iter_mut().zip(counts) {
        begin = (rows as u64).min(begin + u64::try_from(*count).unwrap_or(0));
        *end = begin;
    }
    (ends, others)
}

/// The rows of a run.
fn run(row_ends: &[u64], index: usize) -> Range<usize> {
    let begin = index.checked_sub(1).map_or(0, |before| row_ends[before]);
    begin as usize..row_ends[index] as usize
}

/// What [`matmul`] needs for so many runs and elements of so many bytes.
pub fn matmul_room(runs: u64, shape: RowsShape, element_bytes: u64) -> Room {
    let nowhere = std::ptr::null_mut::<u8>();
    let largest = shape.product(shape.rows, nowhere, nowhere, nowhere);
    Room { call: RUN_BYTES * runs, ..multiply_room(&largest, element_bytes) }
}

/// Each run of rows [rows, inner] times the transpose of its matrix, or, `transposed`, its matrix; zeros beyond the last run.
///
/// # Safety
/// As many elements as the shape says, one matrix and two numbers of memory for each count; the workers have the scratch of
/// [`matmul_room`].
pub unsafe fn matmul<T: Element>(
    context: &Context,
    shape: RowsShape,
    (rows, matrices, counts): (*const T, *const T, &[i32]),
    result: *mut T,
    memory: &mut [u64],
) {
    let RowsShape { rows: n_rows, width, inner, .. } = shape;
    let (row_ends, block_ends) = row_ends(counts, n_rows, memory);
    let last = row_ends.last().map_or(0, |end| *end as usize);
    for place in last * width..n_rows * width {
        // SAFETY: inside the result, beyond the last run.
        unsafe { result.add(place).write(T::ZERO) };
    }
    let operands = (Shared(rows.cast_mut()), Shared(matrices.cast_mut()), Shared(result));
    let of = |index: usize| {
        let (run, (rows, matrices, result)) = (run(row_ends, index), &operands);
        let (from, to) = (rows.at(run.start * inner), result.at(run.start * width));
        shape.product(run.len(), from, matrices.at(index * width * inner), to)
    };
    // SAFETY: the runs are separate rows of the result.
    unsafe { products(context, block_ends, &of) };
}

/// What [`outer`] needs for so many runs and elements of so many bytes.
pub fn outer_room(runs: u64, [rows, height, width]: [usize; 3], element_bytes: u64) -> Room {
    let nowhere = std::ptr::null_mut::<u8>();
    let largest = outer_product(rows, [height, width], nowhere, nowhere, nowhere);
    Room { call: RUN_BYTES * runs, ..multiply_room(&largest, element_bytes) }
}

/// For each run of rows the sum of the outer products of x [rows, height] and y [rows, width].
///
/// # Safety
/// As many elements as the sizes say, height * width places of the result and two numbers of memory for each count; the
/// workers have the scratch of [`outer_room`].
pub unsafe fn outer<T: Element>(
    context: &Context,
    [rows, height, width]: [usize; 3],
    (x, y, counts): (*const T, *const T, &[i32]),
    result: *mut T,
    memory: &mut [u64],
) {
    let (row_ends, block_ends) = row_ends(counts, rows, memory);
    let operands = (Shared(x.cast_mut()), Shared(y.cast_mut()), Shared(result));
    let of = |index: usize| {
        let (run, (x, y, result)) = (run(row_ends, index), &operands);
        let (left, right) = (x.at(run.start * height), y.at(run.start * width));
        outer_product(run.len(), [height, width], left, right, result.at(index * height * width))
    };
    // SAFETY: every run has its own part of the result.
    unsafe { products(context, block_ends, &of) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_and_sorted_stably() {
        let keys = [2, 0, -1, 2, 3, 0, i32::MAX, 2];
        let mut counts = [9; 3];
        histogram(&keys, &mut counts);
        assert_eq!(counts, [2, 0, 3]);
        let mut places = [9; 8];
        counting_sort(&keys, &mut [7; 4], &mut places);
        assert_eq!(places, [1, 5, 0, 3, 7, 2, 4, 6]);
        let mut inverse = [9; 8];
        counting_sort(&places, &mut [7; 9], &mut inverse);
        assert!(places.iter().enumerate().all(|(rank, place)| inverse[*place as usize] == rank as i32));
        counting_sort(&[], &mut [7], &mut []);
        let mut places = [9; 2];
        counting_sort(&[5, -5], &mut [7], &mut places);
        assert_eq!(places, [0, 1]);
    }

    fn numbers(n: usize, salt: u64) -> Vec<f64> {
        (0..n as u64)
            .map(|i| ((i + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / 2f64.powi(23) - 1.0)
            .collect()
    }

    /// Both products of a shape against plain sums, and one thread against four.
    fn check(counts: &[i32], rows: usize, width: usize, inner: usize) {
        let n = counts.len();
        let shapes = [false, true].map(|transposed| RowsShape { rows, width, inner, transposed });
        let rooms = shapes.map(|shape| matmul_room(n as u64, shape, 8));
        let room = rooms.into_iter().fold(outer_room(n as u64, [rows, width, inner], 8), Room::max);
        let [one, four] = [1, 4].map(|threads| Context::new(threads, room.worker as usize));
        let mut memory = vec![u64::MAX; room.call as usize / 8];
        let (a, w) = (numbers(rows * inner, 1), numbers(n * width * inner, 5));
        let mut begin = 0;
        let segments: Vec<Range<usize>> = counts
            .iter()
            .map(|count| {
                let end = rows.min(begin + usize::try_from(*count).unwrap_or(0));
                std::mem::replace(&mut begin, end)..end
            })
            .collect();
        for shape in shapes {
            let transposed = shape.transposed;
            let [found, again] = [&one, &four].map(|context| {
                let mut result = vec![f64::NAN; rows * width];
                let operands = (a.as_ptr(), w.as_ptr(), counts);
                // SAFETY: sizes as the shape says, room as asked for.
                unsafe { matmul(context, shape, operands, result.as_mut_ptr(), &mut memory) };
                result
            });
            assert!(found.iter().zip(&again).all(|(x, y)| x.to_bits() == y.to_bits()), "threads change bits");
            for row in 0..rows {
                let owner = segments.iter().position(|run| run.contains(&row));
                for column in 0..width {
                    let weight = |k: usize, e: usize| {
                        let place = if transposed { k * width + column } else { column * inner + k };
                        w[e * width * inner + place]
                    };
                    let sum = owner.map_or(0.0, |e| (0..inner).map(|k| a[row * inner + k] * weight(k, e)).sum());
                    let value = found[row * width + column];
                    assert!((value - sum).abs() <= 1e-13 * inner as f64, "{counts:?} {row} {column}: {value} {sum}");
                }
            }
        }
        let g = numbers(rows * width, 11);
        let [found, again] = [&one, &four].map(|context| {
            let mut result = vec![f64::NAN; n * width * inner];
            let operands = (g.as_ptr(), a.as_ptr(), counts);
            // SAFETY: sizes as they say, room as asked for.
            unsafe { outer(context, [rows, width, inner], operands, result.as_mut_ptr(), &mut memory) };
            result
        });
        assert!(found.iter().zip(&again).all(|(x, y)| x.to_bits() == y.to_bits()), "threads change bits");
        for (place, value) in found.iter().enumerate() {
            let (e, i, j) = (place / (width * inner), place / inner % width, place % inner);
            let sum: f64 = segments[e].clone().map(|row| g[row * width + i] * a[row * inner + j]).sum();
            assert!((value - sum).abs() <= 1e-13 * (1.0 + rows as f64), "{counts:?} {e} {i} {j}: {value} {sum}");
        }
    }

    #[test]
    fn products_of_runs_agree_with_sums() {
        check(&[2, 0, 3, 1], 7, 3, 5);
        check(&[6], 6, 4, 4);
        check(&[0, 0], 3, 2, 3);
        check(&[-4, 2, 9], 5, 3, 2);
        check(&[i32::MAX, i32::MAX], 5, 3, 2);
        check(&[], 4, 3, 2);
        check(&[0, 0, 0], 0, 3, 2);
        check(&[1; 9], 9, 17, 33);
        check(&[3, 40, 0, 21, 1], 70, 64, 50);
        check(&[200, 31], 240, 96, 130);
        check(&[2, 1], 3, 0, 2);
        check(&[2, 1], 3, 2, 0);
    }
}
