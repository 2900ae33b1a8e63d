//! Vectors of the instruction sets, for loops that the compiler would cut into narrower ones if they were arrays.
//!
//! Expects: a caller with the features of the set, into which everything here is inlined.
//! Guarantees: each lane has the bits of the operation of its element.
//! Leaves out: what products do not need.

use super::Element;

/// So many elements in a register.
pub(super) trait Vector: Copy {
    /// f32 or f64
    type Element: Element;
    /// How many.
    const LANES: usize;

    /// The element in every lane.
    ///
    /// # Safety
    /// The machine has the instruction set, here and below.
    unsafe fn splat(element: Self::Element) -> Self;

    /// Elements in memory.
    ///
    /// # Safety
    /// So many.
    unsafe fn load(from: *const Self::Element) -> Self;

    /// To memory.
    ///
    /// # Safety
    /// So many places.
    unsafe fn store(self, to: *mut Self::Element);

    /// self x + y, rounded once.
    ///
    /// # Safety
    /// As for [`Vector::splat`].
    unsafe fn mul_add(self, x: Self, y: Self) -> Self;

    /// self + x
    ///
    /// # Safety
    /// As for [`Vector::splat`].
    unsafe fn add(self, x: Self) -> Self;
}

/// A register of 128 bits on the machines that have no larger ones.
impl<T: Element, const LANES: usize> Vector for [T; LANES] {
    type Element = T;
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn splat(element: T) -> Self {
        [element; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, x: Self, y: Self) -> Self {
        std::array::from_fn(|lane| T::mul_add(self[lane], x[lane], y[lane]))
    }
    #[inline(always)]
    unsafe fn add(self, x: Self) -> Self {
        std::array::from_fn(|lane| T::add(self[lane], x[lane]))
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! vector {
    ($($vector:ident $element:ident $lanes:literal $splat:ident $load:ident $store:ident $mul_add:ident $add:ident;)*) => {
        use std::arch::x86_64::{$($vector, $splat, $load, $store, $mul_add, $add),*};
        $(impl Vector for $vector {
            type Element = $element;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(element: $element) -> Self {
                // SAFETY: the caller's promise, here and below.
                unsafe { $splat(element) }
            }
            #[inline(always)]
            unsafe fn load(from: *const $element) -> Self {
                // SAFETY: as before.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $element) {
                // SAFETY: as before.
                unsafe { $store(to, self) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, x: Self, y: Self) -> Self {
                // SAFETY: as before.
                unsafe { $mul_add(self, x, y) }
            }
            #[inline(always)]
            unsafe fn add(self, x: Self) -> Self {
                // SAFETY: as before.
                unsafe { $add(self, x) }
            }
        })*
    };
}

#[cfg(target_arch = "x86_64")]
vector! {
    __m512 f32 16 _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_fmadd_ps _mm512_add_ps;
    __m512d f64 8 _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_fmadd_pd _mm512_add_pd;
    __m256 f32 8 _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_fmadd_ps _mm256_add_ps;
    __m256d f64 4 _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_fmadd_pd _mm256_add_pd;
}
