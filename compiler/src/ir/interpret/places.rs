//! Walking through memory along axes.

use crate::ir::types::TensorType;

/// Elements from one index to the next along each axis, in row-major order.
pub fn row_major(shape: &[u64]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as isize;
    }
    strides
}

/// Elements from one index of `axis` to the next in row-major order.
pub fn inner(ty: &TensorType, axis: u32) -> usize {
    ty.shape[axis as usize + 1..].iter().product::<u64>() as usize
}

/// The places `offset + sum(strides[axis] * index[axis])` for all indices of a shape in row-major order.
pub struct Places {
    shape: Vec<usize>,
    strides: Vec<isize>,
    index: Vec<usize>,
    place: isize,
    left: usize,
}

impl Places {
    /// Starts at index 0 along every axis.
    pub fn new(shape: &[u64], strides: Vec<isize>, offset: isize) -> Places {
        let shape: Vec<usize> = shape.iter().map(|size| *size as usize).collect();
        let left = shape.iter().product();
        Places { index: vec![0; shape.len()], shape, strides, place: offset, left }
    }
}

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let current = self.place;
        for axis in (0..self.shape.len()).rev() {
            self.index[axis] += 1;
            self.place += self.strides[axis];
            if self.index[axis] < self.shape[axis] {
                break;
            }
            self.index[axis] = 0;
            self.place -= self.strides[axis] * self.shape[axis] as isize;
        }
        Some(current as usize)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
