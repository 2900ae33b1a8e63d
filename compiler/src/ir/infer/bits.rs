//! The type rules of products of bits.

use super::{boolean, float, operand_name, sized};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType, Type};

/// `bit_count`: i32, the rows of x by the rows of w.
pub fn bit_count(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let (x, w) = (boolean(op, operands, 0)?, boolean(op, operands, 1)?);
    let [columns, inner] = matrix(op, w, 1)?;
    let mut shape = leading(op, x, inner, w)?;
    if inner > i32::MAX as u64 {
        return Err(format!("bit_count: rows of {inner} bits are longer than an i32 can count"));
    }
    shape.push(columns);
    sized(op, Dtype::I32, shape)
}

/// `bit_matmul`: the dtype of the numbers, their rows by the columns of the bits.
pub fn bit_matmul(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let (z, bits) = (float(op, operands, 0)?, boolean(op, operands, 1)?);
    let [inner, columns] = matrix(op, bits, 1)?;
    let mut shape = leading(op, z, inner, bits)?;
    shape.push(columns);
    sized(op, z.dtype, shape)
}

fn matrix(op: &Op, ty: &TensorType, operand: usize) -> Result<[u64; 2], String> {
    <[u64; 2]>::try_from(ty.shape.as_slice())
        .map_err(|_| format!("{}: {} is {ty} and should have two axes", op.name(), operand_name(op, operand)))
}

/// All axes of the first operand but the last, whose size the second one gives.
fn leading(op: &Op, ty: &TensorType, inner: u64, other: &TensorType) -> Result<Vec<u64>, String> {
    match ty.shape.split_last() {
        Some((last, leading)) if *last == inner => Ok(leading.to_vec()),
        _ => Err(format!("{}: {ty} does not fit {other}: the last axis should have the size {inner}", op.name())),
    }
}
