//! Views, which read or write places along strides, and the adjoint of windows.

use super::Tensor;
use super::elementwise::add;
use super::places::{Places, row_major};
use crate::ir::op::Op;
use crate::ir::types::TensorType;

/// All views; `ty` is the type of the result.
pub fn view(op: &Op, operands: &[&Tensor], ty: &TensorType) -> Result<Vec<f64>, String> {
    let x = operands[0];
    let mut strides = row_major(&x.ty.shape);
    let mut offset = 0;
    match op {
        Op::Reshape { .. } => return Ok(x.data.clone()),
        Op::Pad { low, value, .. } => {
            let mut result = vec![value.as_f64(); ty.elements() as usize];
            let target = row_major(&ty.shape);
            let offset = low.iter().zip(&target).map(|(low, stride)| *low as isize * stride).sum();
            write(&mut result, x, target, offset);
            return Ok(result);
        }
        Op::Concat { axis } => {
            let mut result = vec![0.0; ty.elements() as usize];
            let target = row_major(&ty.shape);
            let offset = x.ty.shape[*axis as usize] as isize * target[*axis as usize];
            write(&mut result, x, target.clone(), 0);
            write(&mut result, operands[1], target, offset);
            return Ok(result);
        }
        Op::Permute { axes } => strides = axes.iter().map(|axis| strides[*axis as usize]).collect(),
        Op::Broadcast { .. } => {
            for (axis, size) in x.ty.shape.iter().enumerate() {
                if *size == 1 {
                    strides[axis] = 0;
                }
            }
        }
        Op::Slice { starts, .. } => {
            offset = starts.iter().zip(&strides).map(|(start, stride)| *start as isize * stride).sum();
        }
        Op::Reverse { axis } => {
            let stride = strides[*axis as usize];
            offset = (x.ty.shape[*axis as usize] as isize - 1) * stride;
            strides[*axis as usize] = -stride;
        }
        Op::Windows { axis, stride, .. } => windowed(&mut strides, *axis, *stride),
        _ => return Err(format!("bug in bpc: {} is no view", op.name())),
    }
    Ok(Places::new(&ty.shape, strides, offset).map(|place| x.data[place]).collect())
}

/// Adds windows back.
pub fn unwindows(axis: u32, stride: u64, x: &Tensor, ty: &TensorType) -> Vec<f64> {
    let mut result = vec![0.0; ty.elements() as usize];
    let mut strides = row_major(&ty.shape);
    windowed(&mut strides, axis, stride);
    let add = add(ty.dtype);
    for (place, value) in Places::new(&x.ty.shape, strides, 0).zip(&x.data) {
        result[place] = add(result[place], *value);
    }
    result
}

/// The strides of an array become those of its windows.
fn windowed(strides: &mut Vec<isize>, axis: u32, stride: u64) {
    let axis = axis as usize;
    strides.insert(axis + 1, strides[axis]);
    strides[axis] *= stride as isize;
}

fn write(result: &mut [f64], x: &Tensor, strides: Vec<isize>, offset: isize) {
    for (place, value) in Places::new(&x.ty.shape, strides, offset).zip(&x.data) {
        result[place] = *value;
    }
}
