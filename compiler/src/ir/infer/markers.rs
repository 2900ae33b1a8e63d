//! The type rules of markers: what speaks of gradients and is gone once they are expanded.
//!
//! Expects: as `infer`.
//! Guarantees: as `infer`.
//! Leaves out: what the region of a rule says; `verify` compares it with the attributes used here.

use super::{float, misplaced, sized, sized_tensor, tensor};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType, Type};

/// The type of the one operand.
pub fn same(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    Ok(Type::Tensor(tensor(op, operands, 0)?.clone()))
}

/// The type of the first operand; the second holds probabilities of its values.
pub fn opaque(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Some(1..=2) = Some(operands.len()) else {
        return Err(format!("opaque takes 1 or 2 operands and has {}", operands.len()));
    };
    let x = tensor(op, operands, 0)?;
    if operands.len() == 2 {
        let probabilities = tensor(op, operands, 1)?;
        let fits = x.dtype == Dtype::Bool || (x.rank() > 0 && x.dtype == probabilities.dtype);
        if x.shape != probabilities.shape || !probabilities.dtype.is_float() || !fits {
            return Err(format!(
                "opaque: x is {x} and its probabilities are {probabilities}; they should be floats of its shape, and x \
                 bool, or one-hot along its last axis"
            ));
        }
    }
    Ok(Type::Tensor(x.clone()))
}

/// All operands.
pub fn tuple(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let parts = (0..operands.len()).map(|index| tensor(op, operands, index).cloned());
    Ok(Type::Tuple(parts.collect::<Result<_, _>>()?))
}

/// The type of the value of the call.
pub fn ruled(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Ruled { arguments, gives, .. } = op else { return Err(misplaced(op)) };
    if operands.len() as u64 <= u64::from(*arguments) {
        return Err(format!("ruled: has {} operands and needs a value and {arguments} arguments", operands.len()));
    }
    for index in 1..operands.len() {
        tensor(op, operands, index)?;
    }
    for (position, argument) in gives.iter().enumerate() {
        if argument >= arguments {
            return Err(format!("ruled: gives the cotangent of argument {argument}, and there are {arguments}"));
        }
        if gives[..position].contains(argument) {
            return Err(format!("ruled: gives the cotangent of argument {argument} twice"));
        }
        let ty = tensor(op, operands, *argument as usize + 1)?;
        if !ty.dtype.has_cotangent() {
            return Err(format!(
                "ruled: gives the cotangent of argument {argument}, which is not a float or bool ({ty})"
            ));
        }
    }
    Ok(operands[0].clone())
}

/// The type that stands in the attribute: that of the rule's result.
pub fn vjp(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Vjp { ty, .. } = op else { return Err(misplaced(op)) };
    for index in 0..operands.len() {
        tensor(op, operands, index)?;
    }
    if !ty.dtype.is_float() {
        return Err(format!("vjp: a cotangent is a float, not {ty}"));
    }
    sized(op, ty.dtype, ty.shape.clone())
}

/// The types that stand in the attribute.
pub fn vjps(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let (Op::Vjps { types, .. } | Op::Pushforward { types, .. }) = op else { return Err(misplaced(op)) };
    for index in 0..operands.len() {
        tensor(op, operands, index)?;
    }
    if let Some(ty) = types.iter().find(|ty| !ty.dtype.is_float()) {
        return Err(format!("{}: gives floats, not {ty}", op.name()));
    }
    let types = types.iter().map(|ty| sized_tensor(op, ty.dtype, ty.shape.clone()));
    Ok(Type::Tuple(types.collect::<Result<_, _>>()?))
}

/// The type that all operands have.
pub fn forms(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let [first, others @ ..] = operands else { return Err(format!("{}: there is no form", op.name())) };
    match others.iter().find(|ty| *ty != first) {
        Some(other) => Err(format!("{}: one form is {first} and another one {other}", op.name())),
        None => Ok((*first).clone()),
    }
}

/// The type of the loop.
pub fn via(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    match operands[0] {
        Type::Tensor(ty) => Err(format!("{}: the operand is one tensor ({ty}) and should be a loop", op.name())),
        tuple => Ok(tuple.clone()),
    }
}

/// The types of the inputs whose cotangents are given.
pub fn pullback(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Pullback { by, from, .. } = op else { return Err(misplaced(op)) };
    let Some(inputs) = operands.len().checked_sub(from.len()) else {
        return Err(format!("{}: has {} operands and {} cotangents", op.name(), operands.len(), from.len()));
    };
    let mut types = Vec::with_capacity(by.len());
    for input in by {
        if *input as usize >= inputs {
            return Err(format!("{}: gives the cotangent of input {input}, and there are {inputs}", op.name()));
        }
        types.push(float(op, operands, *input as usize)?.clone());
    }
    Ok(Type::Tuple(types))
}

/// The types that stand in the attribute; there is a tangent for each input of `by`.
pub fn pushforward(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Pushforward { by, .. } = op else { return Err(misplaced(op)) };
    let Some(inputs) = operands.len().checked_sub(by.len()) else {
        return Err(format!("{}: has {} operands and {} tangents", op.name(), operands.len(), by.len()));
    };
    for (tangent, input) in by.iter().enumerate() {
        if *input as usize >= inputs || operands[*input as usize] != operands[inputs + tangent] {
            return Err(format!("{}: the tangent of input {input} has another type", op.name()));
        }
    }
    vjps(op, operands)
}

/// The type of the tensor by which is differentiated; the derivative by a bool has the dtype of the loss.
pub fn grad(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let (loss, wrt) = (float(op, operands, 0)?, tensor(op, operands, 1)?);
    if loss.rank() != 0 {
        return Err(format!("grad: the loss is {loss} and should be a scalar"));
    }
    let dtype = match wrt.dtype {
        Dtype::Bool => loss.dtype,
        _ => float(op, operands, 1)?.dtype,
    };
    Ok(Type::Tensor(TensorType::new(dtype, wrt.shape.clone())))
}
