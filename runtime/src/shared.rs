//! A pointer that workers share.
//!
//! Expects: workers that only read what lies behind it, or write separate places.
//! Guarantees: nothing; every use says why it holds.
//! Leaves out: bounds.

/// A pointer that may go to another worker: workers read, or write separate places.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub *mut T);

// SAFETY: as the type says; see the uses.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// So many elements further.
    pub fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }

    /// So many elements further, or before.
    pub fn offset(&self, offset: i64) -> *mut T {
        self.0.wrapping_offset(offset as isize)
    }
}
