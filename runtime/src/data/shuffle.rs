//! The order of rows: permutations and random offsets that are the same on every machine.
//!
//! Expects: a seed and what the order is for.
//! Guarantees: draw `n` of a stream is a pure function of (seed, purpose, epoch, n); nothing depends on what was drawn before.
//!   The generator is SplitMix64 read as a counter-based one; a bounded draw takes the high half of draw times bound,
//!   whose bias is below bound / 2^64. Permutations are Fisher-Yates from the last element down.
//! Leaves out: the random numbers of programs; those are Philox and are made in kernels.

/// What an order is for, so that equal seeds do not give equal orders to different uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Which rows are for training and which for evaluation.
    Split,
    /// The order of rows within an epoch.
    Rows,
    /// Where the windows of a text begin.
    Windows,
}

/// A stream of draws.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: u64,
}

/// 2^64 divided by the golden ratio, the increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Stream {
    /// The stream of a seed for one purpose in one epoch.
    pub fn new(seed: u64, purpose: Purpose, epoch: u64) -> Stream {
        let purpose = match purpose {
            Purpose::Split => 1,
            Purpose::Rows => 2,
            Purpose::Windows => 3,
        };
        Stream { key: [purpose, epoch].into_iter().fold(mix(seed), |key, part| mix(key ^ mix(part))) }
    }

    /// Draw number `index`, one of `0..bound`.
    pub fn below(self, bound: u64, index: u64) -> u64 {
        let bits = mix(self.key.wrapping_add(index.wrapping_mul(GOLDEN)));
        ((u128::from(bits) * u128::from(bound)) >> 64) as u64
    }

    /// Shuffles a list.
    pub fn shuffle<T>(self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            let other = self.below(last as u64 + 1, last as u64);
            list.swap(last, other as usize);
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014; constants of Stafford's Mix13), after one increment.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(GOLDEN);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_is_splitmix64() {
        // The first outputs of the reference generator for seed 0 and for seed 1234567.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(GOLDEN), 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_depends_on_all_parts() {
        let order = |seed, purpose, epoch| {
            let mut list: Vec<u64> = (0..100).collect();
            Stream::new(seed, purpose, epoch).shuffle(&mut list);
            list
        };
        let first = order(0, Purpose::Rows, 0);
        assert_eq!(first, order(0, Purpose::Rows, 0));
        for other in [order(1, Purpose::Rows, 0), order(0, Purpose::Split, 0), order(0, Purpose::Rows, 1)] {
            assert_ne!(first, other);
        }
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<u64>>());
    }

    #[test]
    fn every_position_is_about_equally_likely() {
        // 6000 shuffles of 6: each (element, position) pair is expected 1000 times, with a deviation of 29.
        let mut counts = [[0i32; 6]; 6];
        for epoch in 0..6000 {
            let mut list = [0, 1, 2, 3, 4, 5];
            Stream::new(7, Purpose::Rows, epoch).shuffle(&mut list);
            for (position, &element) in list.iter().enumerate() {
                counts[element][position] += 1;
            }
        }
        for count in counts.as_flattened() {
            assert!((count - 1000).abs() < 150, "{counts:?}");
        }
    }

    #[test]
    fn bounded_draws_stay_below() {
        let stream = Stream::new(3, Purpose::Windows, 0);
        assert!((0..1000).all(|index| stream.below(7, index) < 7));
        assert!((0..100).all(|index| stream.below(1, index) == 0));
    }
}
