//! Adding rows at given places: the adjoint of a row look-up.
//!
//! Expects: pointers to as many elements as the sizes say.
//! Guarantees: sums run in the order of the indices, so the result is always the same bits.
//! Leaves out: threads.

use std::ops::AddAssign;

/// Fills `target` [rows, width] with zeros, then adds row i of `updates` [count, width] to row `indices[i]`; an index
/// outside is left out.
///
/// # Safety
/// `count` indices, `count * width` updates and `rows * width` places, which overlap nothing else.
pub unsafe fn scatter_add<T: Copy + Default + AddAssign>(
    indices: *const i32,
    count: usize,
    updates: *const T,
    width: usize,
    target: *mut T,
    rows: usize,
) {
    for i in 0..rows * width {
        // SAFETY: inside the target.
        unsafe { target.add(i).write(T::default()) };
    }
    if width == 0 {
        return;
    }
    for i in 0..count {
        // SAFETY: i < count.
        let index = unsafe { *indices.add(i) };
        let Some(row) = usize::try_from(index).ok().filter(|row| *row < rows) else { continue };
        // SAFETY: row `i` of the updates and row `row` of the target.
        let (from, to) = unsafe {
            (
                std::slice::from_raw_parts(updates.add(i * width), width),
                std::slice::from_raw_parts_mut(target.add(row * width), width),
            )
        };
        to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_in_order_and_skips_what_is_outside() {
        let indices = [2, 0, -1, 2, 3, i32::MIN, i32::MAX];
        let updates: Vec<f32> = (0..14).map(|i| i as f32).collect();
        let mut target = [9.0f32; 6];
        // SAFETY: 7 indices, 7 x 2 updates, 3 x 2 places.
        unsafe { scatter_add(indices.as_ptr(), 7, updates.as_ptr(), 2, target.as_mut_ptr(), 3) };
        assert_eq!(target, [2.0, 3.0, 0.0, 0.0, 6.0, 8.0]);
    }

    #[test]
    fn order_is_that_of_the_indices() {
        let updates = [1.0f32, 1e8, -1e8];
        let mut target = [0.0f32];
        // SAFETY: 3 indices, 3 x 1 updates, 1 x 1 place.
        unsafe { scatter_add([0, 0, 0].as_ptr(), 3, updates.as_ptr(), 1, target.as_mut_ptr(), 1) };
        assert_eq!(target[0], (1.0f32 + 1e8) - 1e8);
    }
}
