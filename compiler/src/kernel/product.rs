//! Matrix products as calls: views of the operands become strides.
//!
//! Expects: a `matmul` node.
//! Guarantees: a batch that shares its second factor is one tall product; batch axes of size 1 are gone.
//! Leaves out: how the product is computed.

use super::emit::Emitter;
use super::ir::{AffineMap, BufferId, Product, ProductOperand, Step};
use super::region::Builder;
use super::views::Failure;
use crate::ir::graph::NodeId;

/// Adds the product that fills the buffer of a `matmul` node.
///
/// # Errors
/// Where an operand must lie in memory first.
pub fn build(builder: &mut Builder<'_>, id: NodeId, buffer: BufferId) -> Result<(), Failure<NodeId>> {
    let region = builder.region;
    let shape = &region.tensor(id).shape;
    let operands = [region.nodes[id].operands[0], region.nodes[id].operands[1]];
    let lead = shape.len() - 2;
    let k = region.tensor(operands[0]).shape[lead + 1];
    // Loop axes: the batch, then m, n and k.
    let mut sizes = shape.clone();
    sizes.push(k);
    let axes = sizes.len();
    let (m_axis, n_axis, k_axis) = (lead, lead + 1, lead + 2);
    let emitter = Emitter::new(region, &builder.buffers, sizes.iter().map(|size| (*size).max(1)).collect());
    let factor = |operand: NodeId, row: usize, column: usize| {
        let coordinates: Vec<AffineMap> = (0..lead)
            .chain([row, column])
            .map(|axis| if sizes[axis] == 1 { AffineMap::constant(0, axes) } else { AffineMap::axis(axis, axes) })
            .collect();
        match emitter.place(operand, &coordinates) {
            Ok((buffer, map)) => Ok(ProductOperand {
                buffer,
                offset: map.offset,
                row_stride: map.strides[row],
                column_stride: map.strides[column],
                batch_strides: map.strides[..lead].to_vec(),
            }),
            Err(Failure::Split { .. }) => Err(Failure::Materialise(operand)),
            Err(failure) => Err(failure),
        }
    };
    let a = factor(operands[0], m_axis, k_axis)?;
    let b = factor(operands[1], k_axis, n_axis)?;
    let strides = super::views::row_major(shape);
    let c = ProductOperand {
        buffer,
        offset: 0,
        row_stride: strides[m_axis],
        column_stride: 1,
        batch_strides: strides[..lead].to_vec(),
    };
    let mut product = Product { m: shape[m_axis], n: shape[n_axis], k, batch: shape[..lead].to_vec(), a, b, c };
    simplify(&mut product);
    builder.steps.push(Step::Product(product));
    Ok(())
}

/// Drops batch axes of size 1, joins the batch to the rows where both factors allow it, and neighbouring batch axes.
fn simplify(product: &mut Product) {
    for axis in (0..product.batch.len()).rev() {
        if product.batch[axis] == 1 {
            remove_batch_axis(product, axis);
        }
    }
    while let Some(last) = product.batch.len().checked_sub(1) {
        let size = product.batch[last];
        let rows = product.m as i64;
        let joins = |operand: &ProductOperand| operand.batch_strides[last] == rows * operand.row_stride;
        if product.m == 1 && product.b.batch_strides[last] == 0 {
            product.a.row_stride = product.a.batch_strides[last];
            product.c.row_stride = product.c.batch_strides[last];
        } else if product.b.batch_strides[last] != 0 || !joins(&product.a) || !joins(&product.c) {
            break;
        }
        product.m *= size;
        remove_batch_axis(product, last);
    }
    for axis in (1..product.batch.len()).rev() {
        let size = product.batch[axis];
        let joined =
            |operand: &ProductOperand| operand.batch_strides[axis - 1] == operand.batch_strides[axis] * size as i64;
        if joined(&product.a) && joined(&product.b) && joined(&product.c) {
            product.batch[axis - 1] *= size;
            let strides = [&mut product.a, &mut product.b, &mut product.c];
            strides.into_iter().for_each(|operand| operand.batch_strides[axis - 1] = operand.batch_strides[axis]);
            remove_batch_axis(product, axis);
        }
    }
}

fn remove_batch_axis(product: &mut Product, axis: usize) {
    product.batch.remove(axis);
    for operand in [&mut product.a, &mut product.b, &mut product.c] {
        operand.batch_strides.remove(axis);
    }
}
