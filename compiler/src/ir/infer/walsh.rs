//! Type rules of the block Walsh-Hadamard transform and its adjoint.

use super::{float, misplaced, sized};
use crate::ir::op::Op;
use crate::ir::types::{TensorType, Type};
use bpc_runtime::walsh::MOST_PLACES;

/// [.., H, W, C] gives [.., P, Q, M, C]: P x Q blocks, of each the M coefficients that are kept.
pub fn block_wht(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::BlockWht { block, rows, columns, mirror } = op else { return Err(misplaced(op)) };
    let x = with_inner_axes(op, operands, 3, "rows, columns and channels")?;
    let (lead, inner) = x.shape.split_at(x.rank() - 3);
    let blocks = blocks(op, &inner[..2], block, (rows, columns), *mirror)?;
    let shape = [lead, &blocks, &[rows.len() as u64, inner[2]]].concat();
    sized(op, x.dtype, shape)
}

/// [.., P, Q, M, C] gives [.., H, W, C].
pub fn block_wht_t(op: &Op, operands: &[&Type]) -> Result<Type, String> {
    let Op::BlockWhtT { grid, block, rows, columns, mirror } = op else { return Err(misplaced(op)) };
    let x = with_inner_axes(op, operands, 4, "rows and columns of blocks, coefficients and channels")?;
    let (lead, inner) = x.shape.split_at(x.rank() - 4);
    let blocks = blocks(op, grid, block, (rows, columns), *mirror)?;
    let wanted = [blocks[0], blocks[1], rows.len() as u64];
    if inner[..3] != wanted {
        return Err(format!(
            "{}: a grid of {} x {} places has {} x {} blocks with {} coefficients each, and x is {x}",
            op.name(),
            grid[0],
            grid[1],
            wanted[0],
            wanted[1],
            wanted[2]
        ));
    }
    sized(op, x.dtype, [lead, grid, &inner[3..]].concat())
}

fn with_inner_axes<'a>(op: &Op, operands: &[&'a Type], count: usize, names: &str) -> Result<&'a TensorType, String> {
    let x = float(op, operands, 0)?;
    if x.rank() < count {
        return Err(format!("{}: x is {x} and needs axes of {names}", op.name()));
    }
    Ok(x)
}

/// Whole blocks along the two axes of a grid, if the block fits the grid and the functions fit the block.
fn blocks(
    op: &Op,
    grid: &[u64],
    block: &[u64],
    (rows, columns): (&[u64], &[u64]),
    mirror: bool,
) -> Result<[u64; 2], String> {
    let name = op.name();
    let (&[height, width], &[block_height, block_width]) = (grid, block) else {
        return Err(format!(
            "{name}: a grid and a block have two sides, and these have {} and {}",
            grid.len(),
            block.len()
        ));
    };
    if let Some(side) = block.iter().find(|side| !side.is_power_of_two()) {
        return Err(format!("{name}: a side of a block is a power of two (1, 2, 4, 8, ..), and this is {side}"));
    }
    if block_height.saturating_mul(block_width) > MOST_PLACES as u64 {
        return Err(format!(
            "{name}: a block has at most {MOST_PLACES} places, and this is {block_height} x {block_width}"
        ));
    }
    if height == 0 || width == 0 {
        return Err(format!("{name}: a grid of {height} x {width} has no places"));
    }
    if rows.len() != columns.len() || rows.is_empty() {
        return Err(format!(
            "{name}: functions have a row and a column, and there are {} rows and {} columns",
            rows.len(),
            columns.len()
        ));
    }
    for (index, (row, column)) in rows.iter().zip(columns).enumerate() {
        if *row >= block_height || *column >= block_width {
            return Err(format!(
                "{name}: the function ({row}, {column}) does not exist in a block of {block_height} x {block_width}: \
                 sequencies count from 0"
            ));
        }
        if rows[..index].iter().zip(columns).any(|known| known == (row, column)) {
            return Err(format!("{name}: the function ({row}, {column}) is kept twice"));
        }
    }
    for (size, side) in [(height, block_height), (width, block_width)] {
        let before = ((side - size % side) % side).div_ceil(2);
        if mirror && before >= size {
            return Err(format!(
                "{name}: {size} places are too few to be padded to a block of {side} by their mirror image; take a \
                 smaller block"
            ));
        }
    }
    Ok([height.div_ceil(block_height), width.div_ceil(block_width)])
}
