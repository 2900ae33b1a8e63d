//! Products of bits: counts of a gate over pairs of rows, and products of numbers with bits that stand for two numbers.
//!
//! Expects: bits as bytes 0 and 1, row-major; shapes that fit the memory behind the pointers; a result that overlaps nothing;
//! the [`crate::room::Room`] that each routine asks for.
//! Guarantees: any number of threads gives the same bits. Counts are whole numbers, the same on every machine; the sums of
//! [`matmul`] are those of products, whose order is a matter of the machine too.
//! Leaves out: bits that are packed in memory: rows are packed to words of 64 here, which costs little beside the product.

mod count;
mod matmul;
mod pack;

pub use count::{Gate, count, count_room};
pub use matmul::{Number, matmul, matmul_room};
pub use pack::pack_row;

#[cfg(test)]
mod tests;
