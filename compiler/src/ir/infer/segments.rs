//! Type rules of keys and segments: histogram, counting sort, products over runs of rows.
//!
//! Expects: as `infer`.
//! Guarantees: as `infer`; numbers of places fit in i32.
//! Leaves out: whether counts cover the rows; rows beyond the last segment give zeros.

use super::{float, indices, misplaced, sized};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType, Type};

/// i32 keys of any shape to i32[bins].
pub fn histogram(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::Histogram { bins } = op else { return Err(misplaced(op)) };
    countable(op, indices(op, operands, 0)?)?;
    sized(op, Dtype::I32, vec![*bins])
}

/// i32[S] to i32[S].
pub fn counting_sort(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::CountingSort { bins } = op else { return Err(misplaced(op)) };
    let keys = indices(op, operands, 0)?;
    countable(op, keys)?;
    if keys.rank() != 1 {
        return Err(format!("counting_sort: the keys are {keys} and should have one axis"));
    }
    if !TensorType::new(Dtype::I32, [bins.saturating_add(1)]).is_addressable() {
        return Err(format!("counting_sort: {bins} bins are more than fit in memory"));
    }
    Ok(Type::Tensor(keys.clone()))
}

/// [S, M], [E, N, M] (or [E, M, N]) and i32[E] to [S, N].
pub fn segment_matmul(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::SegmentMatmul { transposed } = op else { return Err(misplaced(op)) };
    let (rows, matrices) = (float(op, operands, 0)?, float(op, operands, 1)?);
    if rows.rank() != 2 || matrices.rank() != 3 {
        return Err(format!("segment_matmul: the rows are {rows} and the matrices {matrices}; they have 2 and 3 axes"));
    }
    if rows.dtype != matrices.dtype {
        return Err(format!("segment_matmul: the rows are {rows} and the matrices {matrices}; cast one of them"));
    }
    segments(op, operands, matrices.shape[0])?;
    let (result, inner) = if *transposed { (2, 1) } else { (1, 2) };
    if rows.shape[1] != matrices.shape[inner] {
        return Err(format!(
            "segment_matmul: rows of {} numbers ({rows}) meet matrices with {} on axis {inner} ({matrices})",
            rows.shape[1], matrices.shape[inner]
        ));
    }
    sized(op, rows.dtype, vec![rows.shape[0], matrices.shape[result]])
}

/// [S, N], [S, M] and i32[E] to [E, N, M].
pub fn segment_outer(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let (x, y) = (float(op, operands, 0)?, float(op, operands, 1)?);
    if x.rank() != 2 || y.rank() != 2 || x.shape[0] != y.shape[0] || x.dtype != y.dtype {
        return Err(format!("segment_outer: x is {x} and y is {y}; they should be rows of one number and dtype"));
    }
    let counts = indices(op, operands, 2)?;
    let count = counts.shape.first().copied().unwrap_or(0);
    segments(op, operands, count)?;
    sized(op, x.dtype, vec![count, x.shape[1], y.shape[1]])
}

fn segments(op: &Op, operands: &[&Type], wanted: u64) -> Result<(), String> {
    let counts = indices(op, operands, 2)?;
    if counts.shape == [wanted] {
        return Ok(());
    }
    Err(format!("{}: the counts are {counts} and should be i32[{wanted}]", op.name()))
}

fn countable(op: &Op, keys: &TensorType) -> Result<(), String> {
    if keys.elements() > i32::MAX as u64 {
        return Err(format!("{}: there are more keys than i32 can count ({keys})", op.name()));
    }
    Ok(())
}
