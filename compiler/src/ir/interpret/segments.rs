//! Keys and segments: histogram, counting sort, products over runs of rows.

use super::Tensor;
use crate::ir::types::TensorType;
use std::ops::Range;

/// The bin that a key names.
fn bin(key: f64, bins: u64) -> Option<usize> {
    (key >= 0.0 && key < bins as f64).then_some(key as usize)
}

/// How many keys name each bin.
pub fn histogram(keys: &Tensor, ty: &TensorType) -> Vec<f64> {
    let mut counts = vec![0.0; ty.elements() as usize];
    keys.data.iter().filter_map(|key| bin(*key, ty.shape[0])).for_each(|bin| counts[bin] += 1.0);
    counts
}

/// The places of the keys in the order of their bins, then of the places; keys outside come last.
pub fn counting_sort(keys: &Tensor, bins: u64) -> Vec<f64> {
    let mut places: Vec<usize> = (0..keys.data.len()).collect();
    places.sort_by_key(|place| bin(keys.data[*place], bins).unwrap_or(usize::MAX));
    places.into_iter().map(|place| place as f64).collect()
}

/// The rows of each segment; none beyond the last row.
fn segments(counts: &Tensor, rows: u64) -> Vec<Range<usize>> {
    let mut begin = 0;
    let ends = counts.data.iter().map(|count| {
        let end = (begin + count.max(0.0) as usize).min(rows as usize);
        std::mem::replace(&mut begin, end)..end
    });
    ends.collect()
}

/// Rows times the matrix of their segment; zeros beyond the last one.
pub fn segment_matmul(
    rows: &Tensor,
    matrices: &Tensor,
    counts: &Tensor,
    transposed: bool,
    ty: &TensorType,
) -> Vec<f64> {
    let (width, inner) = (ty.shape[1] as usize, rows.ty.shape[1] as usize);
    let (step, inner_step) = if transposed { (1, width) } else { (inner, 1) };
    let mut result = vec![0.0; ty.elements() as usize];
    for (index, segment) in segments(counts, ty.shape[0]).into_iter().enumerate() {
        let matrix = &matrices.data[index * width * inner..][..width * inner];
        for row in segment {
            for column in 0..width {
                let terms = (0..inner).map(|k| rows.data[row * inner + k] * matrix[column * step + k * inner_step]);
                result[row * width + column] = terms.fold(0.0, |sum, term| sum + term);
            }
        }
    }
    result
}

/// For each segment the sum of the outer products of its rows.
pub fn segment_outer(x: &Tensor, y: &Tensor, counts: &Tensor, ty: &TensorType) -> Vec<f64> {
    let (height, width) = (ty.shape[1] as usize, ty.shape[2] as usize);
    let mut result = vec![0.0; ty.elements() as usize];
    for (index, segment) in segments(counts, x.ty.shape[0]).into_iter().enumerate() {
        let target = &mut result[index * height * width..][..height * width];
        for row in segment {
            for (place, sum) in target.iter_mut().enumerate() {
                *sum += x.data[row * height + place / width] * y.data[row * width + place % width];
            }
        }
    }
    result
}
