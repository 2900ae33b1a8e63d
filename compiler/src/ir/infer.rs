//! The type rules of the op table: the type of a result from the attributes and the types of the operands.
//!
//! Expects: as many operands as the table says (`Op::infer` has checked that for fixed arities).
//! Guarantees: a type of at most 2^48 bytes, so that strides and offsets never overflow (nor do numbers in
//! attributes); or a sentence that names the operation, the operand and both sides of the conflict.
//! Leaves out: what a region says (bodies of scans and rules); `verify` compares those with the attributes used here.

mod bits;
mod markers;
mod segments;
mod walsh;

pub use bits::{bit_count, bit_matmul};
pub use markers::{forms, grad, opaque, pullback, pushforward, ruled, same, tuple, via, vjp, vjps};
pub use segments::{counting_sort, histogram, segment_matmul, segment_outer};
pub use walsh::{block_wht, block_wht_t};

use super::op::{Arity, Op};
use super::types::{Dtype, TensorType, Type};

/// `input` and `iota`: the type that stands in the attribute.
pub fn declared(op: &Op, _: &[&Type]) -> Result<Type, String> {
    let (Op::Input { ty, .. } | Op::Iota { ty, .. }) = op else { return Err(misplaced(op)) };
    if let Op::Iota { axis, .. } = op {
        let size = size_of_axis(op, "the result", ty, *axis)?;
        if ty.dtype == Dtype::Bool {
            return Err(format!("iota: indices are numbers, and the result is {ty}"));
        }
        let limit = if ty.dtype == Dtype::I32 { i32::MAX as u64 } else { u64::from(u32::MAX) };
        if size > limit {
            return Err(format!("iota: axis {axis} of {ty} has more places than {} can count", ty.dtype));
        }
    }
    sized(op, ty.dtype, ty.shape.clone())
}

/// `constant`: the dtype of its number.
pub fn constant(op: &Op, _: &[&Type]) -> Result<Type, String> {
    let Op::Constant { value, shape } = op else { return Err(misplaced(op)) };
    sized(op, value.dtype, shape.clone())
}

/// `random`: float numbers from u32[2] and i32[].
pub fn random(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Random { ty, .. } = op else { return Err(misplaced(op)) };
    let (seed, step) = (tensor(op, operands, 0)?, tensor(op, operands, 1)?);
    if *seed != TensorType::new(Dtype::U32, [2]) {
        return Err(format!("random: the seed is {seed} and should be u32[2]"));
    }
    if *step != TensorType::scalar(Dtype::I32) {
        return Err(format!("random: the step is {step} and should be i32[]"));
    }
    if !ty.dtype.is_float() {
        return Err(format!("random: gives f32 or f64, not {ty}; cast the result"));
    }
    sized(op, ty.dtype, ty.shape.clone())
}

/// Any number to the same.
pub fn numeric_unary(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    Ok(Type::Tensor(number(op, operands, 0)?.clone()))
}

/// Any float to the same.
pub fn float_unary(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    Ok(Type::Tensor(float(op, operands, 0)?.clone()))
}

/// Bool to bool.
pub fn bool_unary(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    Ok(Type::Tensor(boolean(op, operands, 0)?.clone()))
}

/// Two tensors of numbers of one type.
pub fn numeric_binary(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    equal_types(op, operands, 0, 1)?;
    numeric_unary(op, operands)
}

/// Two float tensors of one type.
pub fn float_binary(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    equal_types(op, operands, 0, 1)?;
    float_unary(op, operands)
}

/// Two bool tensors of one shape.
pub fn bool_binary(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    equal_types(op, operands, 0, 1)?;
    bool_unary(op, operands)
}

/// Two tensors of one type to bool.
pub fn comparison(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    equal_types(op, operands, 0, 1)?;
    sized(op, Dtype::Bool, tensor(op, operands, 0)?.shape.clone())
}

/// A bool condition and two tensors of one type, all of one shape.
pub fn select(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let condition = boolean(op, operands, 0)?;
    equal_types(op, operands, 1, 2)?;
    let result = tensor(op, operands, 1)?;
    if condition.shape != result.shape {
        return Err(format!("select: the condition is {condition} and x is {result}; their shapes should be equal"));
    }
    Ok(Type::Tensor(result.clone()))
}

/// The same shape with another dtype.
pub fn cast(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Cast { dtype } = op else { return Err(misplaced(op)) };
    sized(op, *dtype, tensor(op, operands, 0)?.shape.clone())
}

/// As many elements as before.
pub fn reshape(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Reshape { shape } = op else { return Err(misplaced(op)) };
    let x = tensor(op, operands, 0)?;
    let result = sized_tensor(op, x.dtype, shape.clone())?;
    if result.elements() != x.elements() {
        return Err(format!(
            "reshape: x has {} elements ({x}) and the new shape {} ({result})",
            x.elements(),
            result.elements()
        ));
    }
    Ok(Type::Tensor(result))
}

/// The axes in another order.
pub fn permute(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Permute { axes } = op else { return Err(misplaced(op)) };
    let x = tensor(op, operands, 0)?;
    if axes.len() != x.rank() {
        return Err(format!("permute: x has {} ({x}) and axes names {}", axes_text(x.rank()), axes.len()));
    }
    distinct_axes(op, x, axes)?;
    sized(op, x.dtype, axes.iter().map(|axis| x.shape[*axis as usize]).collect())
}

/// Axes of size 1 become larger.
pub fn broadcast(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Broadcast { shape } = op else { return Err(misplaced(op)) };
    let x = tensor(op, operands, 0)?;
    let result = sized_tensor(op, x.dtype, shape.clone())?;
    if x.rank() != result.rank() {
        return Err(format!(
            "broadcast: x has {} ({x}) and the shape {} ({result}); reshape first",
            axes_text(x.rank()),
            axes_text(result.rank())
        ));
    }
    for (axis, (from, to)) in x.shape.iter().zip(shape).enumerate() {
        if *from != 1 && from != to {
            return Err(format!("broadcast: axis {axis} has size {from} ({x}) and cannot become {to} ({result})"));
        }
    }
    Ok(Type::Tensor(result))
}

/// A box.
pub fn slice(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Slice { starts, stops } = op else { return Err(misplaced(op)) };
    let x = tensor(op, operands, 0)?;
    one_for_each_axis(op, x, "starts", starts.len())?;
    one_for_each_axis(op, x, "stops", stops.len())?;
    let mut shape = Vec::with_capacity(x.rank());
    for axis in 0..x.rank() {
        let (start, stop, size) = (starts[axis], stops[axis], x.shape[axis]);
        if start > stop || stop > size {
            return Err(format!("slice: {start}..{stop} is no range of axis {axis}, which has size {size} ({x})"));
        }
        shape.push(stop - start);
    }
    sized(op, x.dtype, shape)
}

/// A frame.
pub fn pad(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Pad { low, high, value } = op else { return Err(misplaced(op)) };
    let x = tensor(op, operands, 0)?;
    one_for_each_axis(op, x, "low", low.len())?;
    one_for_each_axis(op, x, "high", high.len())?;
    if value.dtype != x.dtype {
        return Err(format!("pad: x is {x} and the value has dtype {}", value.dtype));
    }
    let mut shape = Vec::with_capacity(x.rank());
    for axis in 0..x.rank() {
        let size = x.shape[axis].checked_add(low[axis]).and_then(|size| size.checked_add(high[axis]));
        shape.push(size.ok_or_else(|| too_large(op))?);
    }
    sized(op, x.dtype, shape)
}

/// One after the other.
pub fn concat(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Concat { axis } = op else { return Err(misplaced(op)) };
    let (x, y) = (tensor(op, operands, 0)?, tensor(op, operands, 1)?);
    let size = size_of_axis(op, "x", x, *axis)?;
    let fits = x.dtype == y.dtype
        && x.rank() == y.rank()
        && (0..x.rank()).all(|other| other == *axis as usize || x.shape[other] == y.shape[other]);
    if !fits {
        return Err(format!("concat: x is {x} and y is {y}; they may only differ in the size of axis {axis}"));
    }
    let mut shape = x.shape.clone();
    shape[*axis as usize] = size.checked_add(y.shape[*axis as usize]).ok_or_else(|| too_large(op))?;
    sized(op, x.dtype, shape)
}

/// The same type.
pub fn reverse(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Reverse { axis } = op else { return Err(misplaced(op)) };
    let x = tensor(op, operands, 0)?;
    size_of_axis(op, "x", x, *axis)?;
    Ok(Type::Tensor(x.clone()))
}

/// One axis becomes two.
pub fn windows(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Windows { axis, size, stride } = op else { return Err(misplaced(op)) };
    let x = tensor(op, operands, 0)?;
    let length = size_of_axis(op, "x", x, *axis)?;
    let mut shape = x.shape.clone();
    shape[*axis as usize] = *stride;
    check_stride(op, *stride, x.dtype, &shape)?;
    shape[*axis as usize] = window_count(op, length, *size, *stride)?;
    shape.insert(*axis as usize + 1, *size);
    sized(op, x.dtype, shape)
}

/// Two axes become one.
pub fn unwindows(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Unwindows { axis, length, stride } = op else { return Err(misplaced(op)) };
    let x = number(op, operands, 0)?;
    let windows = size_of_axis(op, "x", x, *axis)?;
    let size = size_of_axis(op, "x", x, axis.saturating_add(1))?;
    let count = window_count(op, *length, size, *stride)?;
    if count != windows {
        return Err(format!(
            "unwindows: an axis of length {length} has {count} windows of size {size} at stride {stride}, and axis \
             {axis} of x has {windows} ({x})"
        ));
    }
    let mut shape = x.shape.clone();
    shape.remove(*axis as usize + 1);
    shape[*axis as usize] = *stride;
    check_stride(op, *stride, x.dtype, &shape)?;
    shape[*axis as usize] = *length;
    sized(op, x.dtype, shape)
}

/// The reduced axes get size 1.
pub fn reduce(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let x = number(op, operands, 0)?;
    let (Op::ReduceSum { axes } | Op::ReduceMax { axes } | Op::ReduceMin { axes }) = op else {
        return Err(misplaced(op));
    };
    distinct_axes(op, x, axes)?;
    let mut shape = x.shape.clone();
    axes.iter().for_each(|axis| shape[*axis as usize] = 1);
    sized(op, x.dtype, shape)
}

/// The same, where no reduced axis is empty.
pub fn reduce_nonempty(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let result = reduce(op, operands)?;
    let x = number(op, operands, 0)?;
    if let Op::ReduceMax { axes } | Op::ReduceMin { axes } = op
        && let Some(axis) = axes.iter().find(|axis| x.shape[**axis as usize] == 0)
    {
        return Err(format!("{}: axis {axis} of x is empty ({x}) and has no such element", op.name()));
    }
    Ok(result)
}

/// i32 with size 1 along the axis.
pub fn argmax(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Argmax { axis } = op else { return Err(misplaced(op)) };
    let x = number(op, operands, 0)?;
    let size = size_of_axis(op, "x", x, *axis)?;
    if size == 0 {
        return Err(format!("argmax: axis {axis} of x is empty ({x}) and has no such element"));
    }
    if size > i32::MAX as u64 {
        return Err(format!("argmax: axis {axis} of x has more places than i32 can count ({x})"));
    }
    let mut shape = x.shape.clone();
    shape[*axis as usize] = 1;
    sized(op, Dtype::I32, shape)
}

/// [.., M, K] by [.., K, N].
pub fn matmul(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let (x, y) = (float(op, operands, 0)?, float(op, operands, 1)?);
    if x.dtype != y.dtype {
        return Err(format!("matmul: the left operand is {x} and the right one {y}; cast one of them"));
    }
    for (side, ty) in [("left", x), ("right", y)] {
        if ty.rank() < 2 {
            return Err(format!("matmul: the {side} operand has {} ({ty}) and needs 2", axes_text(ty.rank())));
        }
    }
    let (lead, matrix) = x.shape.split_at(x.rank() - 2);
    let (other_lead, other_matrix) = y.shape.split_at(y.rank() - 2);
    if matrix[1] != other_matrix[0] {
        return Err(format!(
            "matmul: the left operand has {} columns ({x}) and the right one {} rows ({y})",
            matrix[1], other_matrix[0]
        ));
    }
    if lead != other_lead {
        return Err(format!(
            "matmul: the leading axes of the left operand ({x}) and of the right one ({y}) differ; broadcast first"
        ));
    }
    let mut shape = lead.to_vec();
    shape.extend([matrix[0], other_matrix[1]]);
    sized(op, x.dtype, shape)
}

/// [V, ..] by i32[I..] gives [I.., ..].
pub fn take(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let (table, indices) = (tensor(op, operands, 0)?, indices(op, operands, 1)?);
    if table.rank() == 0 {
        return Err(format!("take: the table is a scalar ({table}) and has no rows"));
    }
    let shape = indices.shape.iter().chain(&table.shape[1..]).copied().collect();
    sized(op, table.dtype, shape)
}

/// i32[I..] and [I.., ..] give [rows, ..].
pub fn scatter_add(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::ScatterAdd { rows } = op else { return Err(misplaced(op)) };
    let (indices, updates) = (indices(op, operands, 0)?, number(op, operands, 1)?);
    if !updates.shape.starts_with(&indices.shape) {
        return Err(format!(
            "scatter_add: the updates ({updates}) should begin with the axes of the indices ({indices})"
        ));
    }
    let shape = std::iter::once(rows).chain(&updates.shape[indices.rank()..]).copied().collect();
    sized(op, updates.dtype, shape)
}

/// The last carries, then the stacks.
pub fn scan(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Scan { carries, sequences, length, stacks, .. } = op else { return Err(misplaced(op)) };
    let (carries, sequences) = (*carries as usize, *sequences as usize);
    if *length > i64::MAX as u64 {
        return Err(format!("scan: {length} steps are too many: the number does not fit in 63 bits"));
    }
    if operands.len() < carries + sequences {
        return Err(format!(
            "scan: has {} operands and needs {carries} first values and {sequences} sequences",
            operands.len()
        ));
    }
    let mut results = Vec::with_capacity(carries + stacks.len());
    for index in 0..operands.len() {
        let ty = tensor(op, operands, index)?;
        if index < carries {
            results.push(ty.clone());
        } else if index < carries + sequences && ty.shape.first() != Some(length) {
            return Err(format!(
                "scan: runs {length} steps, and the leading axis of sequence {} does not have that size ({ty})",
                index - carries
            ));
        }
    }
    for (index, stack) in stacks.iter().enumerate() {
        if stack.shape.first() != Some(length) {
            return Err(format!(
                "scan: runs {length} steps, and the leading axis of stack {index} does not have that size ({stack})"
            ));
        }
        results.push(sized_tensor(op, stack.dtype, stack.shape.clone())?);
    }
    Ok(Type::Tuple(results))
}

/// One part.
pub fn project(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Project { index } = op else { return Err(misplaced(op)) };
    match operands[0] {
        Type::Tensor(ty) => Err(format!("project: the operand is one tensor ({ty}) and should be a tuple")),
        Type::Tuple(parts) => match parts.get(*index as usize) {
            Some(ty) => Ok(Type::Tensor(ty.clone())),
            None => Err(format!("project: there is no part {index} of a tuple of {} ({})", parts.len(), operands[0])),
        },
    }
}

fn misplaced(op: &Op) -> String {
    format!("bug in bpc: the type rule of another operation was asked about {}", op.name())
}

fn too_large(op: &Op) -> String {
    format!("{}: the result is too large: it has more than 2^48 bytes", op.name())
}

fn sized(op: &Op, dtype: Dtype, shape: Vec<u64>) -> Result<Type, String> {
    sized_tensor(op, dtype, shape).map(Type::Tensor)
}

/// A type that no later product of sizes can overflow.
fn sized_tensor(op: &Op, dtype: Dtype, shape: Vec<u64>) -> Result<TensorType, String> {
    let ty = TensorType { dtype, shape };
    if ty.is_addressable() { Ok(ty) } else { Err(too_large(op)) }
}

/// A stride may be longer than its axis; a step along it, in a tensor of that shape with the axis as long as the
/// stride, must not overflow either.
fn check_stride(op: &Op, stride: u64, dtype: Dtype, shape: &[u64]) -> Result<(), String> {
    match sized_tensor(op, dtype, shape.to_vec()) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{}: the stride {stride} is too large: a step has more than 2^48 bytes", op.name())),
    }
}

/// How the operand is called in errors: by its name in the table, or by its number.
fn operand_name(op: &Op, index: usize) -> String {
    match op.arity() {
        Arity::Fixed(names) => names[index].to_string(),
        Arity::Variadic => format!("operand {index}"),
    }
}

fn tensor<'a>(op: &Op, operands: &[&'a Type], index: usize) -> Result<&'a TensorType, String> {
    operands[index].tensor().ok_or_else(|| {
        format!("{}: {} is a tuple {}; project a part of it", op.name(), operand_name(op, index), operands[index])
    })
}

fn number<'a>(op: &Op, operands: &[&'a Type], index: usize) -> Result<&'a TensorType, String> {
    let ty = tensor(op, operands, index)?;
    if ty.dtype == Dtype::Bool {
        return Err(format!("{}: {} is {ty} and should hold numbers", op.name(), operand_name(op, index)));
    }
    Ok(ty)
}

fn float<'a>(op: &Op, operands: &[&'a Type], index: usize) -> Result<&'a TensorType, String> {
    let ty = tensor(op, operands, index)?;
    if !ty.dtype.is_float() {
        return Err(format!("{}: {} is {ty} and should be f32 or f64", op.name(), operand_name(op, index)));
    }
    Ok(ty)
}

fn boolean<'a>(op: &Op, operands: &[&'a Type], index: usize) -> Result<&'a TensorType, String> {
    let ty = tensor(op, operands, index)?;
    if ty.dtype != Dtype::Bool {
        return Err(format!("{}: {} is {ty} and should be bool", op.name(), operand_name(op, index)));
    }
    Ok(ty)
}

fn indices<'a>(op: &Op, operands: &[&'a Type], index: usize) -> Result<&'a TensorType, String> {
    let ty = tensor(op, operands, index)?;
    if ty.dtype != Dtype::I32 {
        return Err(format!("{}: the indices are {ty} and should be i32", op.name()));
    }
    Ok(ty)
}

fn equal_types(op: &Op, operands: &[&Type], first: usize, second: usize) -> Result<(), String> {
    let (x, y) = (tensor(op, operands, first)?, tensor(op, operands, second)?);
    if x != y {
        let (x_name, y_name) = (operand_name(op, first), operand_name(op, second));
        return Err(format!("{}: {x_name} is {x} and {y_name} is {y}; they should be equal", op.name()));
    }
    Ok(())
}

fn axes_text(rank: usize) -> String {
    if rank == 1 { "1 axis".to_string() } else { format!("{rank} axes") }
}

fn size_of_axis(op: &Op, operand: &str, ty: &TensorType, axis: u32) -> Result<u64, String> {
    ty.shape.get(axis as usize).copied().ok_or_else(|| {
        format!("{}: {operand} has {} ({ty}) and there is no axis {axis}", op.name(), axes_text(ty.rank()))
    })
}

fn distinct_axes(op: &Op, x: &TensorType, axes: &[u32]) -> Result<(), String> {
    for (position, axis) in axes.iter().enumerate() {
        size_of_axis(op, "x", x, *axis)?;
        if axes[..position].contains(axis) {
            return Err(format!("{}: axis {axis} stands twice in axes", op.name()));
        }
    }
    Ok(())
}

fn one_for_each_axis(op: &Op, x: &TensorType, attribute: &str, count: usize) -> Result<(), String> {
    if count != x.rank() {
        return Err(format!("{}: x has {} ({x}) and {attribute} has {count} entries", op.name(), axes_text(x.rank())));
    }
    Ok(())
}

fn window_count(op: &Op, length: u64, size: u64, stride: u64) -> Result<u64, String> {
    if stride == 0 {
        return Err(format!("{}: the stride is 0 and should be at least 1", op.name()));
    }
    if size == 0 || size > length {
        return Err(format!("{}: a window of size {size} does not fit an axis of length {length}", op.name()));
    }
    Ok((length - size) / stride + 1)
}
