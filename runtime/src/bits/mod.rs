//! Products of bits: counts of a gate over pairs of rows, and products of numbers with bits that stand for two numbers.
//!
//! Expects: bits as bytes 0 and 1, row-major; shapes that fit the memory behind the pointers; a result that overlaps nothing;
//! the [`crate::room::Room`] that each routine asks for.
//! Guarantees: every instruction set and any number of threads give the same bits: counts are whole numbers, and the sums
//! of [`matmul`] are cut into blocks that depend on the shape alone.
//! Leaves out: bits that are packed in memory: rows are packed to words of 64 here, which costs little beside the product.

mod count;
mod matmul;
mod pack;

pub use count::{Gate, count, count_room};
pub use matmul::{Number, matmul, matmul_room};
pub use pack::pack_row;

/// A pointer that may go to another worker: workers read, or write separate places.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: as the type says; see the uses.
unsafe impl<T> Sync for Shared<T> {}
impl<T> Shared<T> {
    fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

#[cfg(test)]
mod tests;
