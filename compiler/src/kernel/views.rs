//! Index maps: what a view asks of the coordinates of its operand, as affine functions of loop axes.
//!
//! Expects: coordinates that lie inside the view's result, or outside only where a guard fails.
//! Guarantees: maps that read the same element; where no affine map exists, [`Failure`] says what would help.
//! Leaves out: what is read at the end (`emit`).

use super::ir::AffineMap;

/// Why a value cannot be read through affine maps in the loop axes at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure<N> {
    /// It could if this loop axis were two, the inner one of this size.
    Split {
        /// The loop axis.
        axis: usize,
        /// Size of the new inner axis; divides that of the axis.
        inner: u64,
    },
    /// It could if this node lay in memory.
    Materialise(N),
    /// There is no way; a sentence.
    Impossible(String),
}

/// Strides of row-major memory.
pub fn row_major(shape: &[u64]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as i64;
    }
    strides
}

/// The linear row-major index of coordinates in a shape; axes of size 1 count nothing.
pub fn linear(coordinates: &[AffineMap], shape: &[u64], axes: usize) -> AffineMap {
    let strides = row_major(shape);
    let mut map = AffineMap::constant(0, axes);
    for ((coordinate, stride), size) in coordinates.iter().zip(strides).zip(shape) {
        if *size != 1 {
            map = map.plus(&coordinate.scaled(stride));
        }
    }
    map
}

/// Coordinates in the operand's shape `to` of the element at `coordinates` in the reshaped `from`.
///
/// # Errors
/// The loop axis and inner size that would make a split of an axis affine, or `None`.
pub fn reshape(
    coordinates: &[AffineMap],
    from: &[u64],
    to: &[u64],
    sizes: &[u64],
) -> Result<Vec<AffineMap>, Option<(usize, u64)>> {
    let axes = sizes.len();
    let mut result = vec![AffineMap::constant(0, axes); to.len()];
    if from.contains(&0) {
        // There is no element to have coordinates.
        return Ok(result);
    }
    let wide = |shape: &[u64]| -> Vec<usize> { (0..shape.len()).filter(|axis| shape[*axis] != 1).collect() };
    let (from_axes, to_axes) = (wide(from), wide(to));
    let (mut i, mut j) = (0, 0);
    // Groups of axes with equal products are reshaped one by one, so that axes that stay keep their coordinates.
    while i < from_axes.len() && j < to_axes.len() {
        let (first_i, first_j) = (i, j);
        let (mut left, mut right) = (from[from_axes[i]], to[to_axes[j]]);
        (i, j) = (i + 1, j + 1);
        while left != right {
            if left < right {
                left *= from[from_axes[i]];
                i += 1;
            } else {
                right *= to[to_axes[j]];
                j += 1;
            }
        }
        let (group_from, group_to) = (&from_axes[first_i..i], &to_axes[first_j..j]);
        if group_from.len() == 1 && group_to.len() == 1 {
            result[group_to[0]] = coordinates[group_from[0]].clone();
            continue;
        }
        let from_sizes: Vec<u64> = group_from.iter().map(|axis| from[*axis]).collect();
        let group: Vec<AffineMap> = group_from.iter().map(|axis| coordinates[*axis].clone()).collect();
        let mut rest = linear(&group, &from_sizes, axes);
        let to_sizes: Vec<u64> = group_to.iter().map(|axis| to[*axis]).collect();
        for (axis, stride) in group_to.iter().zip(row_major(&to_sizes)) {
            let (quotient, remainder) = divide(&rest, stride, sizes)?;
            result[*axis] = quotient;
            rest = remainder;
        }
    }
    Ok(result)
}

/// Quotient and remainder of a map by a positive number, where both are affine.
fn divide(map: &AffineMap, by: i64, sizes: &[u64]) -> Result<(AffineMap, AffineMap), Option<(usize, u64)>> {
    let axes = sizes.len();
    let (mut quotient, mut remainder) = (AffineMap::constant(0, axes), AffineMap::constant(0, axes));
    for (axis, stride) in map.strides.iter().enumerate() {
        if stride % by == 0 {
            quotient.strides[axis] = stride / by;
        } else {
            remainder.strides[axis] = *stride;
        }
    }
    let (low, high) = remainder.range(sizes);
    quotient.offset = (map.offset + low).div_euclid(by);
    remainder.offset = map.offset - quotient.offset * by;
    if remainder.offset + high < by {
        return Ok((quotient, remainder));
    }
    for (axis, stride) in remainder.strides.iter().enumerate() {
        if *stride > 0 && by % stride == 0 {
            let inner = (by / stride) as u64;
            if inner > 1 && sizes[axis] > inner && sizes[axis].is_multiple_of(inner) {
                return Err(Some((axis, inner)));
            }
        }
    }
    Err(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_of_axes_is_affine() {
        let coordinates = vec![AffineMap::axis(0, 2), AffineMap::axis(1, 2)];
        let maps = reshape(&coordinates, &[3, 4], &[12], &[3, 4]).expect("affine");
        assert_eq!(maps, vec![AffineMap { offset: 0, strides: vec![4, 1] }]);
    }

    #[test]
    fn a_split_asks_for_a_split_axis() {
        let coordinates = vec![AffineMap::axis(0, 1)];
        assert_eq!(reshape(&coordinates, &[12], &[3, 4], &[12]), Err(Some((0, 4))));
        let coordinates = vec![AffineMap { offset: 0, strides: vec![4, 1] }];
        let maps = reshape(&coordinates, &[12], &[3, 4], &[3, 4]).expect("affine");
        assert_eq!(maps, vec![AffineMap::axis(0, 2), AffineMap::axis(1, 2)]);
    }

    #[test]
    fn a_reshape_across_uneven_sizes_is_not_affine() {
        let coordinates = vec![AffineMap::axis(0, 2), AffineMap::axis(1, 2)];
        assert_eq!(reshape(&coordinates, &[2, 3], &[3, 2], &[2, 3]), Err(None));
    }

    #[test]
    fn a_slice_inside_a_group_keeps_its_offset() {
        // Columns 1 and 2 of rows of 4, seen through the flat form.
        let coordinates = vec![AffineMap { offset: 1, strides: vec![4, 1] }];
        let maps = reshape(&coordinates, &[12], &[3, 4], &[3, 2]).expect("affine");
        assert_eq!(maps[1], AffineMap { offset: 1, strides: vec![0, 1] });
    }
}
