//! Memory of compiled steps: blocks of bytes that hold tensors of any dtype.
//!
//! Expects: offsets that the memory plan gives.
//! Guarantees: a block begins at a multiple of 64; elements that reach beyond it are refused.
//! Leaves out: which bytes of a block belong to which tensor (`kernel::ir::Buffer::place`).

/// A cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

/// Bytes that begin at a multiple of 64, zero at first.
#[derive(Clone)]
pub struct AlignedBytes {
    lines: Vec<Line>,
    bytes: usize,
}

/// What tensors consist of: any bits are a value.
///
/// # Safety
/// The type has no padding, every bit pattern is valid, and its alignment divides 64.
pub unsafe trait Element: Copy {}
// SAFETY: plain numbers.
unsafe impl Element for f32 {}
// SAFETY: plain numbers.
unsafe impl Element for f64 {}
// SAFETY: plain numbers.
unsafe impl Element for i32 {}
// SAFETY: plain numbers.
unsafe impl Element for i64 {}
// SAFETY: plain numbers.
unsafe impl Element for u32 {}
// SAFETY: plain numbers.
unsafe impl Element for u8 {}

impl AlignedBytes {
    /// This many zeros.
    pub fn zeros(bytes: usize) -> AlignedBytes {
        AlignedBytes { lines: vec![Line([0; 64]); bytes.div_ceil(64)], bytes }
    }

    /// The same, or `None` where the machine does not have as much memory.
    pub fn try_zeros(bytes: u64) -> Option<AlignedBytes> {
        let bytes = usize::try_from(bytes).ok()?;
        let mut lines = Vec::new();
        lines.try_reserve_exact(bytes.div_ceil(64)).ok()?;
        lines.resize(bytes.div_ceil(64), Line([0; 64]));
        Some(AlignedBytes { lines, bytes })
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// `count` elements from byte `offset` on.
    ///
    /// # Panics
    /// Where they reach beyond the end or `offset` is not a multiple of their size.
    pub fn elements<E: Element>(&self, offset: usize, count: usize) -> &[E] {
        self.check::<E>(offset, count);
        // SAFETY: `check` holds; any bits are an element.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast::<u8>().add(offset).cast(), count) }
    }

    /// The same to be written.
    ///
    /// # Panics
    /// As [`AlignedBytes::elements`].
    pub fn elements_mut<E: Element>(&mut self, offset: usize, count: usize) -> &mut [E] {
        self.check::<E>(offset, count);
        // SAFETY: `check` holds; any bits are an element; the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<u8>().add(offset).cast(), count) }
    }

    /// Where they begin, for generated code.
    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.lines.as_mut_ptr().cast()
    }

    fn check<E: Element>(&self, offset: usize, count: usize) {
        let bytes = count.checked_mul(size_of::<E>()).and_then(|bytes| bytes.checked_add(offset));
        assert!(offset.is_multiple_of(size_of::<E>()), "bug in bpc: elements at byte {offset} are not aligned");
        assert!(
            bytes.is_some_and(|end| end <= self.bytes),
            "bug in bpc: {count} elements at byte {offset} reach beyond a block of {} bytes",
            self.bytes
        );
    }
}
