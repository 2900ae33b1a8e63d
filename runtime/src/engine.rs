//! The instruction sets that array routines are compiled for.
//!
//! Expects: routine bodies in plain Rust that ask for nothing that rounds differently between instruction sets: IEEE
//! operations, `mul_add` (exact everywhere, but a slow call where there is no such instruction), no reordered sums.
//! Guarantees: the best set of the machine is found once; every set gives the same bits.
//! Leaves out: sets other than those of x86-64; elsewhere the portable code is what the target makes of it.

use std::sync::OnceLock;

/// An instruction set, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    /// What every machine of the target has.
    Portable,
    /// x86-64 with AVX2 and FMA: 256 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 F, DQ, BW and VL: 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Engine {
    /// The best one of this machine.
    pub fn best() -> Engine {
        static BEST: OnceLock<Engine> = OnceLock::new();
        *BEST.get_or_init(|| Engine::available().pop().unwrap_or(Engine::Portable))
    }

    /// Those of this machine, worst first.
    pub fn available() -> Vec<Engine> {
        let mut available = vec![Engine::Portable];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            available.push(Engine::Avx2);
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
            {
                available.push(Engine::Avx512);
            }
        }
        available
    }
}

/// `unsafe fn name(arguments) = on { body }` compiles the body for every engine: `on(engine, arguments)` runs it on that
/// engine, which the machine must have, `name(arguments)` on the best.
macro_rules! for_engines {
    ($($(#[$attribute:meta])* unsafe fn $name:ident($($argument:ident: $type:ty),*) = $on:ident $body:block)*) => {$(
        $(#[$attribute])*
        pub unsafe fn $name($($argument: $type),*) {
            // SAFETY: the caller's promise; the machine has its best engine.
            unsafe { $on(crate::engine::Engine::best(), $($argument),*) }
        }

        /// # Safety
        /// As above, and the machine has the engine.
        #[allow(clippy::undocumented_unsafe_blocks, reason = "the contract of the function that the macro was given")]
        pub(crate) unsafe fn $on(engine: crate::engine::Engine, $($argument: $type),*) {
            #[inline(always)]
            unsafe fn portable($($argument: $type),*) {
                unsafe { $body }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($argument: $type),*) {
                unsafe { portable($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
            unsafe fn avx512($($argument: $type),*) {
                unsafe { portable($($argument),*) }
            }
            match engine {
                crate::engine::Engine::Portable => unsafe { portable($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                crate::engine::Engine::Avx2 => unsafe { avx2($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                crate::engine::Engine::Avx512 => unsafe { avx512($($argument),*) },
            }
        }
    )*};
}
pub(crate) use for_engines;
