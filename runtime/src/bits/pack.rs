//! Bits from bytes to words.
//!
//! Expects: bytes 0 and 1.
//! Guarantees: bit i % 64 of word i / 64 is byte i; the bits behind the last are 0.
//! Leaves out: the way back.

/// How many bits a word holds.
pub const WORD: usize = 64;

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
