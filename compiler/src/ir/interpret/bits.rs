//! Products of bits by their definitions.

use super::Tensor;
use crate::ir::types::TensorType;
use bpc_runtime::bits::Gate;

/// How often a gate is true along each row of x and each row of w.
pub fn count(gate: Gate, x: &Tensor, w: &Tensor, ty: &TensorType) -> Vec<f64> {
    let inner = w.ty.shape[1] as usize;
    let columns = w.ty.shape[0] as usize;
    let hit = |x: f64, w: f64| match gate {
        Gate::Xnor => x == w,
        Gate::Xor => x != w,
        Gate::And => x != 0.0 && w != 0.0,
        Gate::Or => x != 0.0 || w != 0.0,
    };
    let place = |place: usize| {
        let (row, column) = (place / columns, place % columns);
        let pairs = x.data[row * inner..][..inner].iter().zip(&w.data[column * inner..][..inner]);
        pairs.filter(|(x, w)| hit(**x, **w)).count() as f64
    };
    (0..ty.elements() as usize).map(place).collect()
}

/// Rows of z by the columns of the bits; each element is a sum in the order of k.
pub fn matmul(on: i64, off: i64, z: &Tensor, bits: &Tensor, ty: &TensorType) -> Vec<f64> {
    let (inner, columns) = (bits.ty.shape[0] as usize, bits.ty.shape[1] as usize);
    let place = |place: usize| {
        let (row, column) = (place / columns, place % columns);
        let terms = z.data[row * inner..][..inner].iter().enumerate().map(|(k, z)| {
            let number = if bits.data[k * columns + column] == 0.0 { off } else { on };
            z * number as f64
        });
        terms.fold(0.0, |sum, term| sum + term)
    };
    (0..ty.elements() as usize).map(place).collect()
}
