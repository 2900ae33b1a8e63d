//! The runtime routine of each operation of class `Library`: what any backend calls for a [`Call`].
//!
//! Expects: operand types that the operation accepts.
//! Guarantees: the sizes are those that the routine of `bpc_runtime::library` documents, in its order.
//! Leaves out: how a backend makes the call.
//!
//! [`Call`]: crate::kernel::ir::Call

use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType};

/// A routine with its static arguments.
pub struct Routine {
    /// Its name in `bpc_runtime::abi`.
    pub symbol: &'static str,
    /// What it finds at its pointer to sizes.
    pub sizes: Vec<u64>,
}

/// The routine of an operation on operands of these types with a result of that type.
pub fn routine(op: &Op, operands: &[&TensorType], result: &TensorType) -> Routine {
    match op {
        Op::ScatterAdd { rows } => Routine {
            symbol: match result.dtype {
                Dtype::F32 => "bpc_scatter_add_f32",
                Dtype::F64 => "bpc_scatter_add_f64",
                Dtype::I32 | Dtype::U32 => "bpc_scatter_add_i32",
                Dtype::I64 => "bpc_scatter_add_i64",
                Dtype::Bool => panic!("bug in bpc: scatter_add of bool"),
            },
            sizes: vec![operands[0].elements(), result.shape[1..].iter().product(), *rows],
        },
        _ => panic!("bug in bpc: {} has no routine", op.name()),
    }
}
