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
//! The logarithm, sine and cosine are those of [`crate::math`], so the bits are the same on every machine.
//!
//! Leaves out: secrecy.

use crate::engine::for_engines;
use crate::math::log::{log_f32, log_f64};
use crate::math::trigonometric::{cos_sin_turns_f32, cos_sin_turns_f64};

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

#[inline(always)]
fn uniform_block_f32(words: [u32; 4]) -> [f32; 4] {
    words.map(|word| (word >> 8) as i32 as f32 * (1.0 / 16_777_216.0))
}

#[inline(always)]
fn uniform_block_f64(words: [u32; 4]) -> [f64; 2] {
    [[words[0], words[1]], [words[2], words[3]]].map(|[low, high]| {
        (((u64::from(high) << 32 | u64::from(low)) >> 11) as i64 as f64) * (1.0 / 9_007_199_254_740_992.0)
    })
}

/// Uniform numbers stay what they are.
#[inline(always)]
fn same<T>(u: T, v: T) -> [T; 2] {
    [u, v]
}

#[inline(always)]
fn box_muller_f32(u: f32, v: f32) -> [f32; 2] {
    let radius = (-2.0 * log_f32(1.0 - u)).sqrt();
    let (cos, sin) = cos_sin_turns_f32(v);
    [radius * cos, radius * sin]
}

#[inline(always)]
fn box_muller_f64(u: f64, v: f64) -> [f64; 2] {
    let radius = (-2.0 * log_f64(1.0 - u)).sqrt();
    let (cos, sin) = cos_sin_turns_f64(v);
    [radius * cos, radius * sin]
}

/// Blocks that are worked on at a time.
const CHUNK: usize = 32;

macro_rules! tensors {
    ($($scalar:ident $fill:ident $raw:ident $raw_on:ident $pair:ident $block:ident [$type:ty; $size:literal];)*) => {$(
        /// Element `index` of the tensor of its name.
        pub fn $scalar(seed: [u32; 2], step: i32, site: u32, index: u64) -> $type {
            let block = $block(words(seed, step, site, index / $size));
            let first = (index % $size) as usize & !1;
            $pair(block[first], block[first + 1])[(index % 2) as usize]
        }

        /// Elements `first..` of the tensor of its name.
        pub fn $fill(seed: [u32; 2], step: i32, site: u32, first: u64, out: &mut [$type]) {
            // SAFETY: as many places as it says.
            unsafe { $raw(seed, step, site, first, out.as_mut_ptr(), out.len()) }
        }

        for_engines! {
            /// Elements `first..first + n`.
            ///
            /// # Safety
            /// `n` places at `out`.
            unsafe fn $raw(seed: [u32; 2], step: i32, site: u32, first: u64, out: *mut $type, n: usize) = $raw_on {
                // Whole chunks of blocks, of which the first and the last may be needed in part.
                let (mut block, mut skip, mut done) = (first / $size, (first % $size) as usize, 0);
                while done < n {
                    let mut uniform = [[0.0; $size]; CHUNK];
                    for i in 0..CHUNK {
                        uniform[i] = $block(words(seed, step, site, block.wrapping_add(i as u64)));
                    }
                    let (pairs, _) = uniform.as_flattened().as_chunks::<2>();
                    let mut chunk = [[0.0; 2]; CHUNK * $size / 2];
                    for i in 0..CHUNK * $size / 2 {
                        chunk[i] = $pair(pairs[i][0], pairs[i][1]);
                    }
                    let count = (CHUNK * $size - skip).min(n - done);
                    std::ptr::copy_nonoverlapping(chunk.as_flattened().as_ptr().add(skip), out.add(done), count);
                    (block, skip, done) = (block.wrapping_add(CHUNK as u64), 0, done + count);
                }
            }
        }
    )*};
}

tensors! {
    uniform_f32 fill_uniform_f32 raw_uniform_f32 raw_uniform_f32_on same uniform_block_f32 [f32; 4];
    uniform_f64 fill_uniform_f64 raw_uniform_f64 raw_uniform_f64_on same uniform_block_f64 [f64; 2];
    normal_f32 fill_normal_f32 raw_normal_f32 raw_normal_f32_on box_muller_f32 uniform_block_f32 [f32; 4];
    normal_f64 fill_normal_f64 raw_normal_f64 raw_normal_f64_on box_muller_f64 uniform_block_f64 [f64; 2];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;

    /// Known answers of Random123 (kat_vectors, philox4x32 with 10 rounds).
    #[test]
    fn known_answers() {
        let cases = [
            ([0; 2], [0; 4], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([!0; 2], [!0; 4], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0xa409_3822, 0x299f_31d0],
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (key, counter, answer) in cases {
            assert_eq!(philox(key, counter), answer);
        }
    }

    #[test]
    fn agrees_with_another_implementation() {
        for block in [0, 1, 77, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            let counter = [block as u32, (block >> 32) as u32, 0x1234_5678, -3i32 as u32];
            let other = rand_philox::philox4x32_10(counter, [5, 6]);
            assert_eq!(words([5, 6], -3, 0x1234_5678, block), other);
        }
    }

    /// The documented formulas, in f64 and with the system's functions.
    #[test]
    fn elements_are_as_documented() {
        let (seed, step, site) = ([3, 4], 5, 6);
        for e in (0..2000).chain((1 << 40)..(1 << 40) + 100) {
            let word = |e: u64| words(seed, step, site, e / 4)[(e % 4) as usize];
            assert_eq!(f64::from(uniform_f32(seed, step, site, e)), f64::from(word(e) >> 8) / 2f64.powi(24));
            let w = |i: u64| u64::from(words(seed, step, site, e / 2)[(e % 2 * 2 + i) as usize]);
            assert_eq!(
                uniform_f64(seed, step, site, e),
                ((w(1) * (1 << 32) + w(0)) / (1 << 11)) as f64 / 2f64.powi(53)
            );
            let normal = |u: f64, v: f64| {
                let (r, angle) = ((-2.0 * (1.0 - u).ln()).sqrt(), std::f64::consts::TAU * v);
                r * if e % 2 == 0 { angle.cos() } else { angle.sin() }
            };
            let [u, v] = [e / 2 * 2, e / 2 * 2 + 1].map(|e| f64::from(uniform_f32(seed, step, site, e)));
            assert!((f64::from(normal_f32(seed, step, site, e)) - normal(u, v)).abs() < 2e-6);
            let [u, v] = [e / 2 * 2, e / 2 * 2 + 1].map(|e| uniform_f64(seed, step, site, e));
            assert!((normal_f64(seed, step, site, e) - normal(u, v)).abs() < 4e-15);
        }
    }

    #[test]
    fn fills_are_the_scalar_elements_on_every_engine() {
        let (seed, step, site) = ([0xdead_beef, 77], -9, 0xffff_fff0);
        for engine in Engine::available() {
            for first in [0, 1, 2, 3, 5, 1000, (1 << 34) - 3, (1 << 40) + 1] {
                for n in [0, 1, 2, 3, 4, 5, 63, 64, 127, 128, 129, 1000] {
                    macro_rules! check {
                        ($raw_on:ident $scalar:ident) => {
                            let mut out = vec![-7.0; n + 4];
                            // SAFETY: n places; the machine has the engine.
                            unsafe { $raw_on(engine, seed, step, site, first, out.as_mut_ptr(), n) };
                            for (i, x) in out[..n].iter().enumerate() {
                                let scalar = $scalar(seed, step, site, first + i as u64);
                                assert_eq!(x.to_bits(), scalar.to_bits(), "{engine:?} {first} {i}");
                            }
                            assert_eq!(out[n..], [-7.0; 4]);
                        };
                    }
                    check!(raw_uniform_f32_on uniform_f32);
                    check!(raw_uniform_f64_on uniform_f64);
                    check!(raw_normal_f32_on normal_f32);
                    check!(raw_normal_f64_on normal_f64);
                }
            }
        }
    }

    /// Counts in equally probable cells; the statistic of a right generator is above the bound once in a million.
    fn chi_square(cells: &[u64]) {
        let (total, n) = (cells.iter().sum::<u64>() as f64, cells.len() as f64);
        let expected = total / n;
        let statistic: f64 = cells.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum();
        // Wilson and Hilferty's approximation of the quantiles.
        let (degrees, z) = (n - 1.0, 4.75);
        let quantile = |z: f64| degrees * (1.0 - 2.0 / (9.0 * degrees) + z * (2.0 / (9.0 * degrees)).sqrt()).powi(3);
        assert!(statistic < quantile(z) && statistic > quantile(-z), "{statistic} of {degrees}");
    }

    #[test]
    fn uniform_distribution() {
        let mut out = vec![0.0f32; 1 << 20];
        let mut wide = vec![0.0f64; 1 << 20];
        for (seed, step, site) in [([0, 0], 0, 0), ([1, 0], 0, 0), ([0, 0], 1, 0), ([0, 0], 0, 1)] {
            fill_uniform_f32(seed, step, site, 0, &mut out);
            fill_uniform_f64(seed, step, site, 0, &mut wide);
            let mut cells = vec![0; 256];
            out.iter().for_each(|x| cells[(x * 256.0) as usize] += 1);
            chi_square(&cells);
            let mut cells = vec![0; 1024];
            out.chunks(2).for_each(|x| cells[(x[0] * 32.0) as usize * 32 + (x[1] * 32.0) as usize] += 1);
            chi_square(&cells);
            let mut cells = vec![0; 256];
            wide.iter().for_each(|x| cells[(x * 256.0) as usize] += 1);
            chi_square(&cells);
        }
    }

    #[test]
    fn normal_distribution() {
        let mut out = vec![0.0f32; 1 << 20];
        let mut wide = vec![0.0f64; 1 << 20];
        fill_normal_f32([1, 2], 3, 4, 0, &mut out);
        fill_normal_f64([1, 2], 3, 4, 0, &mut wide);
        for values in [out.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(), wide] {
            // Cells of equal probability by the normal distribution function.
            let mut cells = vec![0; 200];
            let distribution = |x: f64| 0.5 * (1.0 + crate::math::erf(x * std::f64::consts::FRAC_1_SQRT_2));
            values.iter().for_each(|x| cells[((distribution(*x) * 200.0) as usize).min(199)] += 1);
            chi_square(&cells);
            let n = values.len() as f64;
            let moment = |power: i32| values.iter().map(|x| x.powi(power)).sum::<f64>() / n;
            // 5 standard deviations of each mean.
            assert!(moment(1).abs() < 5.0 / n.sqrt());
            assert!((moment(2) - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
            assert!(moment(3).abs() < 5.0 * (15.0 / n).sqrt());
            assert!((moment(4) - 3.0).abs() < 5.0 * (96.0 / n).sqrt());
            let pairs: f64 = values.chunks(2).map(|x| x[0] * x[1]).sum::<f64>() / (n / 2.0);
            assert!(pairs.abs() < 5.0 / (n / 2.0).sqrt());
        }
    }
}
