//! Random tensors as pure functions of seed, step, site and place: Philox4x32-10 (Salmon et al., "Parallel random
//! numbers: as easy as 1, 2, 3", 2011).
//!
//! Expects: a seed of two words (the key), the step number, the site's hash.
//! Guarantees: block b of a random tensor is the generator's output for counter (b low, b high, site, step), so a value
//! depends on nothing else: not on threads, not on the order of calls, not on the rest of the tensor. Element e is
//! - f32 uniform: word e % 4 of block e / 4, its upper 24 bits times 2^-24, in [0, 1);
//! - f64 uniform: words w0 = 2 (e % 2) and w1 = w0 + 1 of block e / 2, the upper 53 bits of w1 * 2^32 + w0, times
//!   2^-53, in [0, 1);
//! - normal, both dtypes, by Box and Muller: of uniforms u = [e / 2 * 2] and v = [e / 2 * 2 + 1] of the same dtype,
//!   r = sqrt(-2 log(1 - u)); r cos(2 pi v) for even e and r sin(2 pi v) for odd e.
//!
//! Leaves out: secrecy.

/// The ten rounds.
#[inline(always)]
pub fn philox(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    for _ in 0..10 {
        let low = u64::from(counter[0]) * 0xd251_1f53;
        let high = u64::from(counter[2]) * 0xcd9e_8d57;
        counter = [
            (high >> 32) as u32 ^ counter[1] ^ key[0],
            high as u32,
            (low >> 32) as u32 ^ counter[3] ^ key[1],
            low as u32,
        ];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

/// Block `block` of a random tensor.
#[inline(always)]
fn words(seed: [u32; 2], step: i32, site: u32, block: u64) -> [u32; 4] {
    philox(seed, [block as u32, (block >> 32) as u32, site, step as u32])
}

/// Element `index` of the uniform f32 tensor.
pub fn uniform_f32(seed: [u32; 2], step: i32, site: u32, index: u64) -> f32 {
    (words(seed, step, site, index / 4)[(index % 4) as usize] >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Element `index` of the uniform f64 tensor.
pub fn uniform_f64(seed: [u32; 2], step: i32, site: u32, index: u64) -> f64 {
    let words = words(seed, step, site, index / 2);
    let first = (index % 2 * 2) as usize;
    let bits = u64::from(words[first]) | u64::from(words[first + 1]) << 32;
    (bits >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
}

/// Element `index` of the normal f32 tensor.
pub fn normal_f32(seed: [u32; 2], step: i32, site: u32, index: u64) -> f32 {
    let (u, v) = (uniform_f32(seed, step, site, index & !1), uniform_f32(seed, step, site, index | 1));
    let (radius, angle) = ((-2.0 * f64::from(1.0 - u).ln()).sqrt(), std::f64::consts::TAU * f64::from(v));
    (radius * if index.is_multiple_of(2) { angle.cos() } else { angle.sin() }) as f32
}

/// Element `index` of the normal f64 tensor.
pub fn normal_f64(seed: [u32; 2], step: i32, site: u32, index: u64) -> f64 {
    let (u, v) = (uniform_f64(seed, step, site, index & !1), uniform_f64(seed, step, site, index | 1));
    let (radius, angle) = ((-2.0 * (1.0 - u).ln()).sqrt(), std::f64::consts::TAU * v);
    radius * if index.is_multiple_of(2) { angle.cos() } else { angle.sin() }
}

macro_rules! fill {
    ($($fill:ident $scalar:ident $type:ty;)*) => {$(
        /// Elements `first..` of the tensor.
        pub fn $fill(seed: [u32; 2], step: i32, site: u32, first: u64, out: &mut [$type]) {
            for (i, out) in out.iter_mut().enumerate() {
                *out = $scalar(seed, step, site, first + i as u64);
            }
        }
    )*};
}

fill! {
    fill_uniform_f32 uniform_f32 f32;
    fill_uniform_f64 uniform_f64 f64;
    fill_normal_f32 normal_f32 f32;
    fill_normal_f64 normal_f64 f64;
}
