//! The runtime routine of each operation of class `Library`, and of products: what any backend calls for a
//! [`Call`](super::ir::Call) or a [`Product`], and the memory that the routine works in.
//!
//! Expects: operand types that the operation accepts.
//! Guarantees: the sizes are those that the routine of `bpc_runtime::library` documents, in its order.
//! Leaves out: how a backend makes the call.

use super::ir::{Product, Program, Step};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType, Type};
use bpc_runtime::bits::{self, Gate};
use bpc_runtime::product::{self, ProductShape};
use bpc_runtime::room::Room;
use bpc_runtime::segments::{self, RowsShape};

/// A routine with its static arguments.
pub struct Routine {
    /// Its name in `bpc_runtime::abi`.
    pub symbol: &'static str,
    /// What it finds at its pointer to sizes.
    pub sizes: Vec<u64>,
    /// What it works in.
    pub room: Room,
}

/// Whether the routine of an operation takes bits that are packed along their last axis.
pub fn reads_packed_bits(op: &Op) -> bool {
    matches!(op, Op::BitCount { .. } | Op::BitMatmul { .. })
}

/// The routine of an operation on operands of these types, packed or not. The type of the result is the operation's own: the buffer that it
/// is written to may be that of a tensor with the same elements under another shape.
pub fn routine(op: &Op, operands: &[(&TensorType, bool)]) -> Routine {
    let is_packed = |operand: usize| operands[operand].1;
    let operands: &[&TensorType] = &operands.iter().map(|(ty, _)| *ty).collect::<Vec<_>>();
    let types: Vec<Type> = operands.iter().map(|ty| Type::Tensor((*ty).clone())).collect();
    let result = match op.infer(&types.iter().collect::<Vec<_>>()) {
        Ok(Type::Tensor(result)) => result,
        other => panic!("bug in bpc: {} gives {other:?}", op.name()),
    };
    let is_double = result.dtype == Dtype::F64;
    let float_bytes = result.dtype.bytes();
    let (symbol, sizes, room) = match op {
        Op::ScatterAdd { rows } => (
            match result.dtype {
                Dtype::F32 => "bpc_scatter_add_f32",
                Dtype::F64 => "bpc_scatter_add_f64",
                Dtype::I32 | Dtype::U32 => "bpc_scatter_add_i32",
                Dtype::I64 => "bpc_scatter_add_i64",
                Dtype::Bool => panic!("bug in bpc: scatter_add of bool"),
            },
            vec![operands[0].elements(), result.shape[1..].iter().product(), *rows],
            Room::default(),
        ),
        Op::Histogram { bins } => ("bpc_histogram", vec![operands[0].elements(), *bins], Room::default()),
        Op::CountingSort { bins } => {
            ("bpc_counting_sort", vec![operands[0].elements(), *bins], segments::counting_sort_room(*bins))
        }
        Op::SegmentMatmul { transposed } => {
            let (runs, transposed) = (operands[2].shape[0], *transposed);
            let [rows, width, inner] = [result.shape[0], result.shape[1], operands[0].shape[1]];
            let shape = RowsShape { rows: rows as usize, width: width as usize, inner: inner as usize, transposed };
            (
                if is_double { "bpc_segment_matmul_f64" } else { "bpc_segment_matmul_f32" },
                vec![runs, rows, width, inner, u64::from(transposed)],
                segments::matmul_room(runs, shape, float_bytes),
            )
        }
        Op::SegmentOuter {} => {
            let (runs, sizes) = (result.shape[0], [operands[0].shape[0], result.shape[1], result.shape[2]]);
            (
                if is_double { "bpc_segment_outer_f64" } else { "bpc_segment_outer_f32" },
                [&[runs], &sizes[..]].concat(),
                segments::outer_room(runs, sizes.map(|size| size as usize), float_bytes),
            )
        }
        Op::BitCount { gate } => {
            let sizes = rows_columns_inner(operands, operands[1].shape[0]);
            (
                match gate {
                    Gate::Xnor => "bpc_bit_count_xnor",
                    Gate::Xor => "bpc_bit_count_xor",
                    Gate::And => "bpc_bit_count_and",
                    Gate::Or => "bpc_bit_count_or",
                },
                [&sizes[..], &[u64::from(is_packed(0)), u64::from(is_packed(1))]].concat(),
                bits::count_room(sizes[0], sizes[2], is_packed(0)),
            )
        }
        Op::BitMatmul { on, off } => {
            let sizes = rows_columns_inner(operands, operands[1].shape[1]);
            (
                if is_double { "bpc_bit_matmul_f64" } else { "bpc_bit_matmul_f32" },
                [&sizes[..], &[*on as u64, *off as u64, u64::from(is_packed(1))]].concat(),
                bits::matmul_room(sizes[0], sizes[1], sizes[2], float_bytes),
            )
        }
        Op::BlockWht { block, rows, columns, mirror } => (
            if is_double { "bpc_block_wht_f64" } else { "bpc_block_wht_f32" },
            block_sizes(operands[0], block, rows, columns, *mirror),
            Room::default(),
        ),
        Op::BlockWhtT { block, rows, columns, mirror, .. } => (
            if is_double { "bpc_block_wht_t_f64" } else { "bpc_block_wht_t_f32" },
            block_sizes(&result, block, rows, columns, *mirror),
            Room::default(),
        ),
        _ => panic!("bug in bpc: {} has no routine", op.name()),
    };
    Routine { symbol, sizes, room }
}

/// The routine of products with its static argument, called once for each index of `loops`.
pub struct ProductRoutine {
    /// Its name in `bpc_runtime::abi`.
    pub symbol: &'static str,
    /// What one call computes.
    pub shape: ProductShape,
    /// Sizes of the batch axes that one call does not walk.
    pub loops: Vec<u64>,
    /// From matrix to matrix along these axes, of a, b and c.
    pub strides: [Vec<i64>; 3],
    /// What it works in.
    pub room: Room,
}

/// The routine of a product of this dtype.
pub fn product_routine(product: &Product, dtype: Dtype) -> ProductRoutine {
    let Product { m, n, k, a, b, c, .. } = product;
    let mut strides: [Vec<i64>; 3] = [a, b, c].map(|operand| operand.batch_strides.clone());
    let mut loops = product.batch.clone();
    collapse(&mut loops, &mut strides);
    let batch = loops.pop().unwrap_or(1);
    let [a_batch, b_batch, c_batch] = strides.each_mut().map(|strides| strides.pop().unwrap_or(0));
    let shape = ProductShape {
        m: *m,
        n: *n,
        k: *k,
        a_row: a.row_stride,
        a_column: a.column_stride,
        b_row: b.row_stride,
        b_column: b.column_stride,
        c_row: c.row_stride,
        c_column: c.column_stride,
        batch,
        a_batch,
        b_batch,
        c_batch,
    };
    let symbol = if dtype == Dtype::F64 { "bpc_product_f64" } else { "bpc_product_f32" };
    ProductRoutine { symbol, shape, loops, strides, room: product::room(&shape, dtype.bytes()) }
}

/// Drops batch axes of size 1 and joins neighbours that all operands walk as one.
fn collapse(sizes: &mut Vec<u64>, strides: &mut [Vec<i64>; 3]) {
    let mut axis = 0;
    while axis < sizes.len() {
        let joins = axis + 1 < sizes.len()
            && strides.iter().all(|strides| strides[axis] == strides[axis + 1] * sizes[axis + 1] as i64);
        if sizes[axis] == 1 && sizes.len() > 1 {
            sizes.remove(axis);
            for strides in strides.iter_mut() {
                strides.remove(axis);
            }
        } else if joins {
            sizes[axis + 1] *= sizes[axis];
            sizes.remove(axis);
            for strides in strides.iter_mut() {
                strides.remove(axis);
            }
        } else {
            axis += 1;
        }
    }
}

/// What the routines of a program work in, one after the other.
pub fn room(program: &Program) -> Room {
    steps_room(program, &program.steps)
}

fn steps_room(program: &Program, steps: &[Step]) -> Room {
    let rooms = steps.iter().map(|step| match step {
        Step::Nest(_) | Step::March(_) => Room::default(),
        Step::Product(product) => product_routine(product, program.buffers[product.c.buffer].ty.dtype).room,
        Step::Call(call) => call.routine(program).room,
        Step::Repeat(repeat) => steps_room(program, &repeat.steps),
    });
    rooms.fold(Room::default(), Room::max)
}

/// Sizes of a product whose first operand has its rows on all axes but the last.
fn rows_columns_inner(operands: &[&TensorType], columns: u64) -> [u64; 3] {
    let (inner, leading) = operands[0].shape.split_last().expect("bug in bpc: a product with a scalar");
    [leading.iter().product(), columns, *inner]
}

/// The sizes of a block transform of grids of this type.
fn block_sizes(grids: &TensorType, block: &[u64], rows: &[u64], columns: &[u64], mirror: bool) -> Vec<u64> {
    let (lead, inner) = grids.shape.split_at(grids.rank() - 3);
    let head = [lead.iter().product(), inner[0], inner[1], inner[2], block[0], block[1], u64::from(mirror)];
    [&head, &[rows.len() as u64][..], rows, columns].concat()
}
