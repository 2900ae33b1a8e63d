//! The runtime routine of each operation of class `Library`: what any backend calls for a [`Call`].
//!
//! Expects: operand types that the operation accepts.
//! Guarantees: the sizes are those that the routine of `bpc_runtime::library` documents, in its order.
//! Leaves out: how a backend makes the call.
//!
//! [`Call`]: crate::kernel::ir::Call

use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType, Type};

/// A routine with its static arguments.
pub struct Routine {
    /// Its name in `bpc_runtime::abi`.
    pub symbol: &'static str,
    /// What it finds at its pointer to sizes.
    pub sizes: Vec<u64>,
}

/// The routine of an operation on operands of these types. The type of the result is the operation's own: the buffer that it
/// is written to may be that of a tensor with the same elements under another shape.
pub fn routine(op: &Op, operands: &[&TensorType]) -> Routine {
    let types: Vec<Type> = operands.iter().map(|ty| Type::Tensor((*ty).clone())).collect();
    let result = match op.infer(&types.iter().collect::<Vec<_>>()) {
        Ok(Type::Tensor(result)) => result,
        other => panic!("bug in bpc: {} gives {other:?}", op.name()),
    };
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
        Op::Histogram { bins } => Routine { symbol: "bpc_histogram", sizes: vec![operands[0].elements(), *bins] },
        Op::CountingSort { bins } => {
            Routine { symbol: "bpc_counting_sort", sizes: vec![operands[0].elements(), *bins] }
        }
        Op::SegmentMatmul { transposed } => Routine {
            symbol: if result.dtype == Dtype::F64 { "bpc_segment_matmul_f64" } else { "bpc_segment_matmul_f32" },
            sizes: vec![
                operands[2].shape[0],
                result.shape[0],
                result.shape[1],
                operands[0].shape[1],
                u64::from(*transposed),
            ],
        },
        Op::SegmentOuter {} => Routine {
            symbol: if result.dtype == Dtype::F64 { "bpc_segment_outer_f64" } else { "bpc_segment_outer_f32" },
            sizes: vec![result.shape[0], operands[0].shape[0], result.shape[1], result.shape[2]],
        },
        Op::BitCount { gate } => Routine {
            symbol: match gate.as_str() {
                "xnor" => "bpc_bit_count_xnor",
                "xor" => "bpc_bit_count_xor",
                "and" => "bpc_bit_count_and",
                "or" => "bpc_bit_count_or",
                gate => panic!("bug in bpc: there is no gate {gate}"),
            },
            sizes: rows_columns_inner(operands, operands[1].shape[0]),
        },
        Op::BitMatmul { on, off } => Routine {
            symbol: if result.dtype == Dtype::F64 { "bpc_bit_matmul_f64" } else { "bpc_bit_matmul_f32" },
            sizes: [rows_columns_inner(operands, operands[1].shape[1]), vec![*on as u64, *off as u64]].concat(),
        },
        Op::BlockWht { block, rows, columns, mirror } => {
            let symbol = if result.dtype == Dtype::F64 { "bpc_block_wht_f64" } else { "bpc_block_wht_f32" };
            Routine { symbol, sizes: block_sizes(operands[0], block, rows, columns, *mirror) }
        }
        Op::BlockWhtT { block, rows, columns, mirror, .. } => {
            let symbol = if result.dtype == Dtype::F64 { "bpc_block_wht_t_f64" } else { "bpc_block_wht_t_f32" };
            Routine { symbol, sizes: block_sizes(&result, block, rows, columns, *mirror) }
        }
        _ => panic!("bug in bpc: {} has no routine", op.name()),
    }
}

/// Sizes of a product whose first operand has its rows on all axes but the last.
fn rows_columns_inner(operands: &[&TensorType], columns: u64) -> Vec<u64> {
    let (inner, leading) = operands[0].shape.split_last().expect("bug in bpc: a product with a scalar");
    vec![leading.iter().product(), columns, *inner]
}

/// The sizes of a block transform of grids of this type.
fn block_sizes(grids: &TensorType, block: &[u64], rows: &[u64], columns: &[u64], mirror: bool) -> Vec<u64> {
    let (lead, inner) = grids.shape.split_at(grids.rank() - 3);
    let head = [lead.iter().product(), inner[0], inner[1], inner[2], block[0], block[1], u64::from(mirror)];
    [&head, &[rows.len() as u64][..], rows, columns].concat()
}
