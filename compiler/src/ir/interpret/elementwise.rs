//! Elementwise operations, with the arithmetic of whole numbers.

use super::Tensor;
use crate::ir::op::Op;
use crate::ir::types::Dtype;

/// A whole number, wrapped to the width of its dtype.
pub fn wrap(dtype: Dtype, value: i64) -> f64 {
    match dtype {
        Dtype::I32 => f64::from(value as i32),
        Dtype::U32 => f64::from(value as u32),
        _ => value as f64,
    }
}

/// Adds within a dtype: whole numbers wrap.
pub fn add(dtype: Dtype) -> impl Fn(f64, f64) -> f64 {
    move |x, y| if dtype.is_integer() { wrap(dtype, (x as i64).wrapping_add(y as i64)) } else { x + y }
}

/// One operand.
pub fn unary(op: &Op, meaning: fn(f64) -> f64, x: &Tensor) -> Vec<f64> {
    let dtype = x.ty.dtype;
    let whole: fn(i64) -> i64 = match op {
        Op::Neg {} => i64::wrapping_neg,
        Op::Abs {} => i64::wrapping_abs,
        _ => return x.data.iter().map(|x| meaning(*x)).collect(),
    };
    if dtype.is_integer() {
        x.data.iter().map(|x| wrap(dtype, whole(*x as i64))).collect()
    } else {
        x.data.iter().map(|x| meaning(*x)).collect()
    }
}

/// Two operands.
pub fn binary(op: &Op, meaning: fn(f64, f64) -> f64, x: &Tensor, y: &Tensor) -> Vec<f64> {
    let dtype = x.ty.dtype;
    let pairs = x.data.iter().zip(&y.data);
    let whole: fn(i64, i64) -> i64 = match op {
        Op::Add {} => i64::wrapping_add,
        Op::Sub {} => i64::wrapping_sub,
        Op::Mul {} => i64::wrapping_mul,
        Op::Div {} => |x, y| if y == 0 { 0 } else { x.wrapping_div(y) },
        _ => return pairs.map(|(x, y)| meaning(*x, *y)).collect(),
    };
    if dtype.is_integer() {
        pairs.map(|(x, y)| wrap(dtype, whole(*x as i64, *y as i64))).collect()
    } else {
        pairs.map(|(x, y)| meaning(*x, *y)).collect()
    }
}

/// `select` and `cast`.
pub fn other(op: &Op, operands: &[&Tensor]) -> Result<Vec<f64>, String> {
    match op {
        Op::Select {} => {
            let choices = operands[1].data.iter().zip(&operands[2].data);
            let conditions = operands[0].data.iter();
            Ok(conditions.zip(choices).map(|(condition, (x, y))| if *condition != 0.0 { *x } else { *y }).collect())
        }
        Op::Cast { dtype } => Ok(operands[0].data.iter().map(|x| cast(operands[0].ty.dtype, *dtype, *x)).collect()),
        _ => Err(format!("bug in bpc: {} is not elementwise", op.name())),
    }
}

fn cast(from: Dtype, to: Dtype, x: f64) -> f64 {
    match to {
        Dtype::F32 | Dtype::F64 => x,
        Dtype::Bool => f64::from(u8::from(x != 0.0)),
        _ if !from.is_float() => wrap(to, x as i64),
        Dtype::I32 => f64::from(x as i32),
        Dtype::U32 => f64::from(x as u32),
        Dtype::I64 => (x as i64) as f64,
    }
}
