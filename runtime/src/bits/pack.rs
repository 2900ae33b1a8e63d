//! Bits in memory: a byte each, or packed into words.
//!
//! Expects: bytes 0 and 1.
//! Guarantees: bit i % 64 of word i / 64 of a row is byte i; what is packed here has zeros behind the last bit.
//! Leaves out: zeros behind the last bit of what others have packed: whoever reads words takes only the bits of the row.

/// How many bits a word holds.
pub const WORD: usize = 64;

/// Rows of bits in memory, one after the other.
#[derive(Clone, Copy, Debug)]
pub enum Rows {
    /// A byte for each bit, without gaps.
    Bytes(*const u8),
    /// 64 bits a word; a row begins with a new word, and what stands behind its last bit may be anything.
    Words(*const u64),
}

impl Rows {
    /// Where they begin, the bytes from row to row of so many bits, and whether they are packed.
    pub(super) fn layout(self, bits: usize) -> (*const u8, usize, bool) {
        match self {
            Rows::Bytes(bytes) => (bytes, bits, false),
            Rows::Words(words) => (words.cast(), bits.div_ceil(WORD) * 8, true),
        }
    }
}

/// The bits of the last word of a row of so many.
pub(super) fn last_word(bits: usize) -> u64 {
    u64::MAX >> ((WORD - bits % WORD) % WORD)
}

/// How many bytes rows of so many bits take when they are packed.
pub fn packed_bytes(rows: u64, bits: u64) -> u64 {
    rows * bits.div_ceil(WORD as u64) * 8
}

/// Packs rows of `bits` bytes each; the words as bytes, lowest first.
///
/// # Panics
/// Where `bytes` are no whole rows, or `packed` has another size than [`packed_bytes`].
pub fn pack(bytes: &[u8], bits: usize, packed: &mut [u8]) {
    let words = bits.div_ceil(WORD);
    assert_eq!(bytes.len() % bits, 0, "no whole rows");
    assert_eq!(packed.len(), bytes.len() / bits * words * 8, "other rows than were packed");
    let mut row_words = vec![0; words];
    for (row, to) in bytes.chunks_exact(bits).zip(packed.chunks_exact_mut(words * 8)) {
        pack_row(row, &mut row_words, 1);
        for (word, to) in row_words.iter().zip(to.chunks_exact_mut(8)) {
            to.copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// The bytes of rows that [`pack`] has packed.
///
/// # Panics
/// Where `packed` are no whole rows.
pub fn unpack(packed: &[u8], bits: usize) -> Vec<u8> {
    let row_bytes = bits.div_ceil(WORD) * 8;
    assert_eq!(packed.len() % row_bytes, 0, "no whole rows");
    let mut bytes = Vec::with_capacity(packed.len() / row_bytes * bits);
    for row in packed.chunks_exact(row_bytes) {
        let (words, _) = row.as_chunks::<8>();
        let bit = |place: usize| (u64::from_le_bytes(words[place / WORD]) >> (place % WORD) & 1) as u8;
        bytes.extend((0..bits).map(bit));
    }
    bytes
}

/// Packs a row into its words, each at `stride` places behind the one before.
pub fn pack_row(row: &[u8], words: &mut [u64], stride: usize) {
    let (blocks, rest) = row.as_chunks::<WORD>();
    for (place, block) in blocks.iter().enumerate() {
        words[place * stride] = word(block);
    }
    if !rest.is_empty() {
        let mut block = [0; WORD];
        block[..rest.len()].copy_from_slice(rest);
        words[blocks.len() * stride] = word(&block);
    }
}

/// SSE2 is part of every x86-64.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn word(bytes: &[u8; WORD]) -> u64 {
    use std::arch::x86_64::{__m128i, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_setzero_si128};
    let part = |place: usize| {
        let from = bytes[place * 16..].as_ptr().cast::<__m128i>();
        // SAFETY: 16 of the 64 bytes, of any alignment.
        let mask = unsafe { _mm_movemask_epi8(_mm_cmpgt_epi8(_mm_loadu_si128(from), _mm_setzero_si128())) };
        u64::from(mask as u32) << (16 * place)
    };
    part(0) | part(1) | part(2) | part(3)
}

/// A multiplication moves the eight lowest bits of eight bytes side by side.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn word(bytes: &[u8; WORD]) -> u64 {
    let (parts, _) = bytes.as_chunks::<8>();
    let packed = parts.iter().map(|part| u64::from_le_bytes(*part).wrapping_mul(0x0102_0408_1020_4080) >> 56);
    packed.enumerate().fold(0, |word, (place, bits)| word | bits << (8 * place))
}
