//! What compiled `bpc` code needs when it runs, and what feeds it.

pub mod math;
