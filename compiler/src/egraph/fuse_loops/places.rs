//! Operations that treat every place of a leading axis alone: for some places, and for one place without the axis.
//!
//! Expects: operations on tensors whose leading axis counts turns.
//! Guarantees: what `within` names is all that these places of the result depend on.
//! Leaves out: products and library routines, also where they would be computed place by place.

use crate::ir::op::{Op, OpClass};

/// What some places along the leading axis of a result are computed from.
pub enum Within {
    /// From these places of one operand, unchanged.
    Operand(usize, u64, u64),
    /// From these places of every operand.
    All(u64, u64),
    /// From operands that are the same for all places (of size 1 along the axis), or from none.
    Same,
}

/// What the places `from` to `to` of the result of an operation are computed from, if it treats every place alone. `shape` is that of
/// the result, `places` gives the size of the leading axis of an operand.
pub fn within(op: &Op, shape: &[u64], from: u64, to: u64, places: &dyn Fn(usize) -> Option<u64>) -> Option<Within> {
    let alone = match (op, op.class()) {
        (Op::Constant { .. }, _) => return Some(Within::Same),
        (Op::Broadcast { .. }, _) if places(0)? == 1 => return Some(Within::Same),
        (Op::Concat { axis: 0 }, _) => {
            let first = places(0)?;
            return if to <= first {
                Some(Within::Operand(0, from, to))
            } else if from >= first {
                Some(Within::Operand(1, from - first, to - first))
            } else {
                None
            };
        }
        (Op::Slice { starts, .. }, _) => return Some(Within::All(from + starts[0], to + starts[0])),
        (Op::Broadcast { .. }, _) => true,
        (_, OpClass::Unary(_) | OpClass::Binary(_) | OpClass::Elementwise) => true,
        (Op::Reshape { .. }, _) => places(0)? == shape[0],
        (Op::Permute { axes }, _) => axes[0] == 0,
        (Op::Pad { low, high, .. }, _) => low[0] == 0 && high[0] == 0,
        (Op::Concat { .. }, _) => true,
        (Op::Reverse { axis }, _) => *axis > 0,
        (Op::ReduceSum { axes } | Op::ReduceMax { axes } | Op::ReduceMin { axes }, _) => !axes.contains(&0),
        _ => false,
    };
    alone.then_some(Within::All(from, to))
}

/// An operation that treats every place of the leading axis alone, for one place, without that axis.
pub fn without_leading(op: &Op, shape: &[u64]) -> Op {
    let inner = |axes: &[u32]| axes.iter().map(|axis| axis - 1).collect::<Vec<_>>();
    match op {
        Op::Constant { value, .. } => Op::Constant { value: *value, shape: shape[1..].to_vec() },
        Op::Broadcast { .. } => Op::Broadcast { shape: shape[1..].to_vec() },
        Op::Reshape { .. } => Op::Reshape { shape: shape[1..].to_vec() },
        Op::Permute { axes } => Op::Permute { axes: inner(&axes[1..]) },
        Op::Slice { starts, stops } => Op::Slice { starts: starts[1..].to_vec(), stops: stops[1..].to_vec() },
        Op::Pad { low, high, value } => Op::Pad { low: low[1..].to_vec(), high: high[1..].to_vec(), value: *value },
        Op::Concat { axis } => Op::Concat { axis: axis - 1 },
        Op::Reverse { axis } => Op::Reverse { axis: axis - 1 },
        Op::ReduceSum { axes } => Op::ReduceSum { axes: inner(axes) },
        Op::ReduceMax { axes } => Op::ReduceMax { axes: inner(axes) },
        Op::ReduceMin { axes } => Op::ReduceMin { axes: inner(axes) },
        other => other.clone(),
    }
}

/// The same for a leading axis of another size; `shape` is the new result's.
pub fn with_leading(op: &Op, shape: &[u64]) -> Op {
    match op {
        Op::Constant { value, .. } => Op::Constant { value: *value, shape: shape.to_vec() },
        Op::Broadcast { .. } => Op::Broadcast { shape: shape.to_vec() },
        Op::Reshape { .. } => Op::Reshape { shape: shape.to_vec() },
        Op::Slice { starts, stops } => {
            let (mut starts, mut stops) = (starts.clone(), stops.clone());
            (starts[0], stops[0]) = (0, shape[0]);
            Op::Slice { starts, stops }
        }
        other => other.clone(),
    }
}
