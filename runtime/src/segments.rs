//! Keys and runs of rows: histogram, stable counting sort, and products of each run of rows with a matrix of its own.
//!
//! Expects: pointers to as many elements as the sizes say, results apart from the operands.
//! Guarantees: any number of threads gives the same bits; whatever the counts are, nothing outside is read or written: a
//! negative count is 0, and no run goes beyond the last row. The work of a product grows with its rows, not with its runs.
//! Leaves out: fusing the look-up of rows into the products.

use crate::pool::Context;
use crate::product::{Element, Matrices, products};
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

/// The places of the keys in the order of their bins, then of the places; keys outside come last.
pub fn counting_sort(keys: &[i32], bins: usize, places: &mut [i32]) {
    let mut next = vec![0usize; bins + 1];
    let slot = |key: i32| bin(key, bins).unwrap_or(bins);
    keys.iter().for_each(|key| next[slot(*key)] += 1);
    let mut begin = 0;
    for count in &mut next {
        begin += std::mem::replace(count, begin);
    }
    for (place, key) in keys.iter().enumerate() {
        let next = &mut next[slot(*key)];
        places[*next] = place as i32;
        *next += 1;
    }
}

/// The rows of each run.
fn runs(counts: &[i32], rows: usize) -> impl Iterator<Item = Range<usize>> {
    let mut begin = 0;
    counts.iter().map(move |count| {
        let end = rows.min(begin + usize::try_from(*count).unwrap_or(0));
        std::mem::replace(&mut begin, end)..end
    })
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

/// Each run of rows [rows, inner] times the transpose of its matrix, or, `transposed`, its matrix; zeros beyond the last run.
///
/// # Safety
/// As many elements as the shape says, and one matrix for each count.
pub unsafe fn matmul<T: Element>(
    context: &Context,
    shape: RowsShape,
    (rows, matrices, counts): (*const T, *const T, &[i32]),
    result: *mut T,
) {
    let RowsShape { rows: n_rows, width, inner, transposed } = shape;
    let strides = if transposed { (width as i64, 1) } else { (1, inner as i64) };
    let mut all = Vec::with_capacity(counts.len());
    let mut last = 0;
    for (index, run) in runs(counts, n_rows).enumerate() {
        last = run.end;
        if !run.is_empty() {
            let factor = (rows.wrapping_add(run.start * inner), (inner as i64, 1));
            let matrix = (matrices.wrapping_add(index * width * inner), strides);
            let target = result.wrapping_add(run.start * width);
            all.push(Matrices::row_major([run.len(), width, inner], factor, matrix, target));
        }
    }
    for place in last * width..n_rows * width {
        // SAFETY: inside the result, beyond the last run.
        unsafe { result.add(place).write(T::ZERO) };
    }
    // SAFETY: the runs are separate rows of the result.
    unsafe { products(context, &all) };
}

/// For each run of rows the sum of the outer products of x [rows, height] and y [rows, width].
///
/// # Safety
/// As many elements as the sizes say, and height * width places for each count.
pub unsafe fn outer<T: Element>(
    context: &Context,
    [rows, height, width]: [usize; 3],
    (x, y, counts): (*const T, *const T, &[i32]),
    result: *mut T,
) {
    let sums = runs(counts, rows).enumerate().map(|(index, run)| {
        let left = (x.wrapping_add(run.start * height), (1, height as i64));
        let right = (y.wrapping_add(run.start * width), (width as i64, 1));
        Matrices::row_major([height, width, run.len()], left, right, result.wrapping_add(index * height * width))
    });
    let all: Vec<Matrices<T>> = sums.collect();
    // SAFETY: every run has its own part of the result.
    unsafe { products(context, &all) };
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
        counting_sort(&keys, 3, &mut places);
        assert_eq!(places, [1, 5, 0, 3, 7, 2, 4, 6]);
        let mut inverse = [9; 8];
        counting_sort(&places, 8, &mut inverse);
        assert!(places.iter().enumerate().all(|(rank, place)| inverse[*place as usize] == rank as i32));
        counting_sort(&[], 0, &mut []);
        let mut places = [9; 2];
        counting_sort(&[5, -5], 0, &mut places);
        assert_eq!(places, [0, 1]);
    }

    fn numbers(n: usize, salt: u64) -> Vec<f64> {
        (0..n as u64)
            .map(|i| ((i + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / 2f64.powi(23) - 1.0)
            .collect()
    }

    /// Both products of a shape against plain sums, and one thread against four.
    fn check(counts: &[i32], rows: usize, width: usize, inner: usize) {
        let (n, one, four) = (counts.len(), Context::new(1, 0), Context::new(4, 0));
        let (a, w) = (numbers(rows * inner, 1), numbers(n * width * inner, 5));
        let segments: Vec<Range<usize>> = runs(counts, rows).collect();
        for transposed in [false, true] {
            let shape = RowsShape { rows, width, inner, transposed };
            let [found, again] = [&one, &four].map(|context| {
                let mut result = vec![f64::NAN; rows * width];
                // SAFETY: sizes as the shape says.
                unsafe { matmul(context, shape, (a.as_ptr(), w.as_ptr(), counts), result.as_mut_ptr()) };
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
            // SAFETY: sizes as they say.
            unsafe { outer(context, [rows, width, inner], (g.as_ptr(), a.as_ptr(), counts), result.as_mut_ptr()) };
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
