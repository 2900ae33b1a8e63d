//! Places in memory as functions of loop axes.
//!
//! Expects: as many strides as the stage has loop axes.
//! Guarantees: arithmetic on maps is that on the places they give.
//! Leaves out: buffers.

/// A place in memory as a function of the loop axes: `offset + sum(strides[axis] * axis)`, in elements.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct AffineMap {
    /// Where zeros on all axes lead.
    pub offset: i64,
    /// One for each loop axis of the stage (outer, inner, reduced).
    pub strides: Vec<i64>,
}

impl AffineMap {
    /// The same number everywhere, over `axes` loop axes.
    pub fn constant(offset: i64, axes: usize) -> AffineMap {
        AffineMap { offset, strides: vec![0; axes] }
    }

    /// One loop axis out of `axes`.
    pub fn axis(axis: usize, axes: usize) -> AffineMap {
        let mut map = AffineMap::constant(0, axes);
        map.strides[axis] = 1;
        map
    }

    /// The sum of two maps.
    #[must_use]
    pub fn plus(&self, other: &AffineMap) -> AffineMap {
        let strides = self.strides.iter().zip(&other.strides).map(|(a, b)| a + b).collect();
        AffineMap { offset: self.offset + other.offset, strides }
    }

    /// The map times a number.
    #[must_use]
    pub fn scaled(&self, factor: i64) -> AffineMap {
        AffineMap { offset: self.offset * factor, strides: self.strides.iter().map(|s| s * factor).collect() }
    }

    /// The map plus a number.
    #[must_use]
    pub fn shifted(&self, by: i64) -> AffineMap {
        AffineMap { offset: self.offset + by, strides: self.strides.clone() }
    }

    /// The loop axes whose steps lead to another bit of the same word, where the map counts bits.
    pub fn within_words(&self) -> Vec<usize> {
        let steps = self.strides.iter().enumerate();
        steps.filter(|(_, stride)| *stride % super::ir::WORD_BITS as i64 != 0).map(|(axis, _)| axis).collect()
    }

    /// The smallest and the largest value over loop axes of these sizes, none of which is 0.
    pub fn range(&self, sizes: &[u64]) -> (i64, i64) {
        let mut range = (self.offset, self.offset);
        for (stride, size) in self.strides.iter().zip(sizes) {
            let last = stride * (*size as i64 - 1);
            range = (range.0 + last.min(0), range.1 + last.max(0));
        }
        range
    }

    /// The value at these places of the loop axes.
    pub fn at(&self, axes: &[u64]) -> i64 {
        self.offset + self.strides.iter().zip(axes).map(|(stride, at)| stride * *at as i64).sum::<i64>()
    }
}
