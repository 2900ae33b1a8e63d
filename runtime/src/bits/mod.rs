//! Products of bits: counts of a gate over pairs of rows, and products of numbers with bits that stand for two numbers.
//!
//! Expects: bits as bytes 0 and 1, or packed ([`Rows`]), row-major; shapes that fit the memory behind the pointers; a result that overlaps nothing;
//! the [`crate::room::Room`] that each routine asks for.
//! Guarantees: any number of threads gives the same bits. Counts are whole numbers, the same on every machine; the sums of
//! [`matmul`] are those of products, whose order is a matter of the machine too.
//! Leaves out: who packs bits in memory. Counts pack what comes as bytes, which costs little beside the product.

mod count;
mod matmul;
mod pack;

pub use count::{Code, Gate, count, count_on, count_room};
pub use matmul::{Number, matmul, matmul_room};
pub use pack::{Rows, pack, pack_row, packed_bytes, unpack};

#[cfg(test)]
mod tests;
