//! The block Walsh-Hadamard transform by its definition: sums over places with signs.

use super::Tensor;
use crate::ir::op::Op;
use crate::ir::types::TensorType;

/// The kept coefficients of each block.
pub fn block_wht(op: &Op, x: &Tensor, ty: &TensorType) -> Vec<f64> {
    let Op::BlockWht { block, rows, columns, mirror } = op else { return Vec::new() };
    let grid = &x.ty.shape[x.ty.rank() - 3..x.ty.rank() - 1];
    let mut result = vec![0.0; ty.elements() as usize];
    for_each_weight(
        [grid, block, rows, columns],
        *mirror,
        ty.shape[ty.rank() - 1],
        x.data.len(),
        |at, place, weight| {
            result[at] += weight * x.data[place];
        },
    );
    result
}

/// The adjoint.
pub fn block_wht_t(op: &Op, x: &Tensor, ty: &TensorType) -> Vec<f64> {
    let Op::BlockWhtT { grid, block, rows, columns, mirror } = op else { return Vec::new() };
    let elements = ty.elements() as usize;
    let mut result = vec![0.0; elements];
    for_each_weight([grid, block, rows, columns], *mirror, ty.shape[ty.rank() - 1], elements, |at, place, weight| {
        result[place] += weight * x.data[at];
    });
    result
}

/// All entries of the matrix that are not zero: coefficient, place, weight.
fn for_each_weight(
    [grid, block, rows, columns]: [&[u64]; 4],
    mirror: bool,
    channels: u64,
    elements: usize,
    mut entry: impl FnMut(usize, usize, f64),
) {
    let [height, width] = [grid[0] as usize, grid[1] as usize];
    let channels = channels as usize;
    if elements == 0 {
        return;
    }
    let scale = 1.0 / ((block[0] * block[1]) as f64).sqrt();
    let (signs, shown) = (
        [0, 1].map(|axis| walsh(block[axis] as usize)),
        [0, 1].map(|axis| padded_places(grid[axis] as usize, block[axis] as usize, mirror)),
    );
    let mut at = 0;
    for first in (0..elements).step_by(height * width * channels) {
        for block_rows in shown[0].chunks(block[0] as usize) {
            for block_columns in shown[1].chunks(block[1] as usize) {
                for (row, column) in rows.iter().zip(columns) {
                    for channel in 0..channels {
                        for (u, place_row) in block_rows.iter().enumerate() {
                            for (v, place_column) in block_columns.iter().enumerate() {
                                let (Some(i), Some(j)) = (place_row, place_column) else { continue };
                                let weight = scale * signs[0][*row as usize][u] * signs[1][*column as usize][v];
                                entry(at, first + (i * width + j) * channels + channel, weight);
                            }
                        }
                        at += 1;
                    }
                }
            }
        }
    }
}

/// The Hadamard matrix of an order, its rows sorted by how often they change their sign.
fn walsh(order: usize) -> Vec<Vec<f64>> {
    let sign = |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
    let mut rows: Vec<Vec<f64>> = (0..order).map(|i| (0..order).map(|j| sign(i, j)).collect()).collect();
    rows.sort_by_key(|row| row.windows(2).filter(|pair| pair[0] != pair[1]).count());
    rows
}

/// The place that each padded place of an axis shows, if any.
fn padded_places(size: usize, block: usize, mirror: bool) -> Vec<Option<usize>> {
    let padded = size.next_multiple_of(block) as i64;
    let (size, before) = (size as i64, (padded - size as i64 + 1) / 2);
    let place = |place: i64| match place {
        place if place < 0 => mirror.then_some(-place as usize),
        place if place >= size => mirror.then_some((2 * size - 2 - place) as usize),
        place => Some(place as usize),
    };
    (-before..padded - before).map(place).collect()
}
