//! Reductions over axes.

use super::Tensor;
use super::elementwise::add;
use super::places::{Places, inner, row_major};
use crate::ir::op::Op;
use crate::ir::types::TensorType;

/// All reductions; `ty` is the type of the result.
pub fn reduction(op: &Op, x: &Tensor, ty: &TensorType) -> Result<Vec<f64>, String> {
    match op {
        Op::ReduceSum { .. } => Ok(fold(x, ty, 0.0, add(ty.dtype))),
        // The first element equals or replaces the start; a NaN stays once it is there.
        Op::ReduceMax { .. } => {
            Ok(fold(x, ty, f64::NEG_INFINITY, |best, x| if best.is_nan() || best >= x { best } else { x }))
        }
        Op::ReduceMin { .. } => {
            Ok(fold(x, ty, f64::INFINITY, |best, x| if best.is_nan() || best <= x { best } else { x }))
        }
        Op::Argmax { axis } => Ok(argmax(x, *axis, ty)),
        _ => Err(format!("bug in bpc: {} is no reduction", op.name())),
    }
}

/// Where the elements of x go in the result: reduced axes, which have size 1 there, move nothing.
fn targets(x: &Tensor, ty: &TensorType) -> Places {
    let mut strides = row_major(&ty.shape);
    for (axis, size) in ty.shape.iter().enumerate() {
        if *size == 1 {
            strides[axis] = 0;
        }
    }
    Places::new(&x.ty.shape, strides, 0)
}

fn fold(x: &Tensor, ty: &TensorType, start: f64, put: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let mut result = vec![start; ty.elements() as usize];
    for (place, value) in targets(x, ty).zip(&x.data) {
        result[place] = put(result[place], *value);
    }
    result
}

fn argmax(x: &Tensor, axis: u32, ty: &TensorType) -> Vec<f64> {
    let (inner, size) = (inner(&x.ty, axis), x.ty.shape[axis as usize] as usize);
    let mut best = vec![f64::NAN; ty.elements() as usize];
    let mut result = vec![0.0; best.len()];
    for (position, (place, value)) in targets(x, ty).zip(&x.data).enumerate() {
        let index = position / inner % size;
        let larger = value > &best[place] || value.is_nan() && !best[place].is_nan();
        if index == 0 || larger {
            (best[place], result[place]) = (*value, index as f64);
        }
    }
    result
}
