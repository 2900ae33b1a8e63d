//! Matrix products, and rows that indices name.

use super::Tensor;
use super::elementwise::add;
use crate::ir::types::TensorType;

/// [.., M, K] by [.., K, N]; each element is a sum in the order of k.
pub fn matmul(x: &Tensor, y: &Tensor, ty: &TensorType) -> Vec<f64> {
    let mut result = vec![0.0; ty.elements() as usize];
    let (columns, inner) = (ty.shape[ty.rank() - 1] as usize, x.ty.shape[x.ty.rank() - 1] as usize);
    let rows = ty.shape[ty.rank() - 2] as usize;
    if columns == 0 || inner == 0 || rows == 0 {
        return result;
    }
    for (row, (target, left)) in result.chunks_exact_mut(columns).zip(x.data.chunks_exact(inner)).enumerate() {
        let matrix = &y.data[row / rows * inner * columns..][..inner * columns];
        for (factor, right) in left.iter().zip(matrix.chunks_exact(columns)) {
            for (sum, value) in target.iter_mut().zip(right) {
                *sum += factor * value;
            }
        }
    }
    result
}

/// The row of a table of `rows` rows that an index names.
fn row(index: f64, rows: u64) -> Option<usize> {
    (index >= 0.0 && index < rows as f64).then_some(index as usize)
}

/// Rows of a table; NaN or 0 for an index outside.
pub fn take(table: &Tensor, indices: &Tensor, ty: &TensorType) -> Vec<f64> {
    let width = table.ty.shape[1..].iter().product::<u64>() as usize;
    let outside = if ty.dtype.is_float() { f64::NAN } else { 0.0 };
    let mut result = Vec::with_capacity(ty.elements() as usize);
    for index in &indices.data {
        match row(*index, table.ty.shape[0]) {
            Some(row) => result.extend_from_slice(&table.data[row * width..][..width]),
            None => result.extend(std::iter::repeat_n(outside, width)),
        }
    }
    result
}

/// Adds rows into zeros; an index outside is left out.
pub fn scatter_add(indices: &Tensor, updates: &Tensor, ty: &TensorType) -> Vec<f64> {
    let width = ty.shape[1..].iter().product::<u64>() as usize;
    let mut result = vec![0.0; ty.elements() as usize];
    let add = add(ty.dtype);
    for (position, index) in indices.data.iter().enumerate() {
        let Some(row) = row(*index, ty.shape[0]) else { continue };
        let update = &updates.data[position * width..][..width];
        for (sum, value) in result[row * width..][..width].iter_mut().zip(update) {
            *sum = add(*sum, *value);
        }
    }
    result
}
