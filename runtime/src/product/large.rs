//! Products of packed panels, a register tile of the result at a time.
//!
//! Expects: see [`multiply`].
//! Guarantees: every element of the result is the sum, in the order of k, of fused multiply-adds that begin with zero; where k
//! is larger than [`DEPTH`], of equal parts of k whose sums are added in order. So its bits depend on k alone: not on the
//! machine, the other sizes, the layout, or which part of a product this is.
//! Leaves out: how a product is cut into parts for workers; products with so few operations that packing does not pay.
//!
//! The loops are those of BLIS (Van Zee and van de Geijn, ACM TOMS 41, 2015, section 2) with a tile of 6 rows and as many
//! columns as the registers take. A panel of the second factor stays in the second cache while a band of rows of the first
//! passes by.

use super::pack::{TILE_ROWS, pack_columns, pack_rows};
use super::vector::Vector;
use super::{Element, Matrices, Matrix};
use crate::engine::Engine;
use std::mem::MaybeUninit;

/// Terms of a sum that are added in one go: a panel of the second factor takes 128 KiB.
const DEPTH: usize = 512;
/// Rows of the first factor that pass a panel: a multiple of [`TILE_ROWS`].
const BAND_ROWS: usize = 96;
/// Bytes of a row of the second factor that is packed at a time.
const ROW_BYTES: usize = 4096;
/// The widest panel has so many bytes in a row.
const PANEL_BYTES: usize = 256;
/// With so few rows, whole panels of a second factor whose rows have no gaps are read where they are.
const DIRECT_ROWS: usize = 32;

/// Terms of the sums of a product that are added in one go: equal parts, as far as can be.
fn depth_of(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH).max(1)).max(1)
}

/// Bytes that [`multiply`] works in for this product or a part of it, with elements of so many bytes.
pub(super) fn scratch_bytes<T>(matrices: &Matrices<T>, element_bytes: u64) -> u64 {
    let Matrices { m, n, k, .. } = *matrices;
    let depth = depth_of(k as usize) as u64;
    let rows = (BAND_ROWS as u64).min(m.next_multiple_of(TILE_ROWS as u64));
    let columns = n.next_multiple_of(PANEL_BYTES as u64 / element_bytes).min(ROW_BYTES as u64 / element_bytes);
    (rows + columns) * depth * element_bytes
}

macro_rules! multiply_on {
    ($name:ident, $type:ty, $avx512:ident, $avx2:ident, $portable:ty) => {
        /// c = a b, or c + a b where `add`.
        ///
        /// # Safety
        /// The matrices lie as they say, c apart from a and b; `scratch` has [`scratch_bytes`], a multiple of 64 its
        /// address; the machine has the engine.
        pub(super) unsafe fn $name(engine: Engine, matrices: &Matrices<$type>, add: bool, scratch: *mut $type) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
            unsafe fn avx512(matrices: &Matrices<$type>, add: bool, scratch: *mut $type) {
                use std::arch::x86_64::$avx512;
                // SAFETY: the caller's promise. 24 sums, 4 vectors and a factor fill the 32 registers.
                unsafe { multiply::<$avx512, 4>(matrices, add, scratch) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2(matrices: &Matrices<$type>, add: bool, scratch: *mut $type) {
                use std::arch::x86_64::$avx2;
                // SAFETY: the caller's promise. 12 sums, 2 vectors and a factor fill the 16 registers.
                unsafe { multiply::<$avx2, 2>(matrices, add, scratch) }
            }
            // SAFETY: the caller's promise.
            unsafe {
                match engine {
                    // As the 32 registers of 128 bits of AArch64 want it.
                    Engine::Portable => multiply::<$portable, 4>(matrices, add, scratch),
                    #[cfg(target_arch = "x86_64")]
                    Engine::Avx2 => avx2(matrices, add, scratch),
                    #[cfg(target_arch = "x86_64")]
                    Engine::Avx512 => avx512(matrices, add, scratch),
                }
            }
        }
    };
}

multiply_on!(multiply_f32, f32, __m512, __m256, [f32; 4]);
multiply_on!(multiply_f64, f64, __m512d, __m256d, [f64; 2]);

/// With panels of at most `WIDEST` vectors.
#[inline(always)]
unsafe fn multiply<V: Vector, const WIDEST: usize>(
    matrices: &Matrices<V::Element>,
    add: bool,
    scratch: *mut V::Element,
) {
    let panel_columns = WIDEST * V::LANES;
    let Matrices { a, b, c, .. } = *matrices;
    let [m, n, k] = [matrices.m, matrices.n, matrices.k].map(|size| size as usize);
    let depth = depth_of(k);
    let packs_rows = a.column != 1;
    let (band_room, panel_room) = (
        scratch,
        scratch.wrapping_add(if packs_rows { BAND_ROWS.min(m.next_multiple_of(TILE_ROWS)) * depth } else { 0 }),
    );
    let widest = ROW_BYTES / size_of::<V::Element>();
    for first_column in (0..n).step_by(widest) {
        let columns = widest.min(n - first_column);
        let direct = if b.column == 1 && m <= DIRECT_ROWS { columns / panel_columns * panel_columns } else { 0 };
        // Once for k = 0, so that the result is written.
        for l in (0..k.max(1)).step_by(depth) {
            let depth = depth.min(k - l);
            let b = b.from(l as u64, first_column as u64);
            // SAFETY: inside the matrices and the room, as for all below.
            unsafe { pack_columns::<V, WIDEST>(b.from(0, direct as u64), depth, columns - direct, panel_room) };
            for row in (0..m).step_by(BAND_ROWS) {
                let rows = BAND_ROWS.min(m - row);
                let mut band = Band { rows, depth, a: a.from(row as u64, l as u64), packed: packs_rows };
                if packs_rows {
                    // SAFETY: as before.
                    unsafe { pack_rows(band.a, rows, depth, band_room) };
                    band.a.first.0 = band_room;
                }
                for column in (0..columns).step_by(panel_columns) {
                    let wide = panel_columns.min(columns - column);
                    let vectors = wide.div_ceil(V::LANES);
                    let panel = if column < direct {
                        Panel { first: b.from(0, column as u64).first.at(0), stride: b.row as isize, wide }
                    } else {
                        let first = panel_room.wrapping_add((column - direct) * depth);
                        Panel { first, stride: (vectors * V::LANES) as isize, wide }
                    };
                    let c = c.from(row as u64, (first_column + column) as u64);
                    let add = add || l > 0;
                    // SAFETY: as before.
                    unsafe {
                        match vectors {
                            1 => band.times::<V, 1>(&panel, c, add),
                            2 => band.times::<V, 2>(&panel, c, add),
                            3 if WIDEST > 2 => band.times::<V, 3>(&panel, c, add),
                            _ if WIDEST > 2 => band.times::<V, 4>(&panel, c, add),
                            _ => unreachable!("bug in bpc: a panel of {wide} columns"),
                        }
                    }
                }
            }
        }
    }
}

/// Rows of the first factor: where they are, along memory, or in packed panels.
struct Band<T> {
    rows: usize,
    depth: usize,
    a: Matrix<T>,
    packed: bool,
}

/// Columns of the second factor: rows of whole vectors, so far apart.
struct Panel<T> {
    first: *const T,
    stride: isize,
    wide: usize,
}

impl<T: Element> Band<T> {
    #[inline(always)]
    unsafe fn times<V: Vector<Element = T>, const N: usize>(&self, panel: &Panel<T>, c: Matrix<T>, add: bool) {
        for row in (0..self.rows).step_by(TILE_ROWS) {
            let c = c.from(row as u64, 0);
            let first =
                if self.packed { self.a.first.at(row * self.depth) } else { self.a.from(row as u64, 0).first.at(0) };
            macro_rules! tile {
                ($rows:literal) => {
                    if self.packed {
                        tile::<V, N, $rows, true>(self.depth, (first, 1), panel, c, add)
                    } else {
                        tile::<V, N, $rows, false>(self.depth, (first, self.a.row as isize), panel, c, add)
                    }
                };
            }
            // SAFETY: the caller's promise; the rows are there.
            unsafe {
                match self.rows - row {
                    1 => tile!(1),
                    2 => tile!(2),
                    3 => tile!(3),
                    4 => tile!(4),
                    5 => tile!(5),
                    _ => tile!(6),
                }
            }
        }
    }
}

/// `R` rows and `N` vectors of columns of the result, whose sums stay in registers. Elements of a row of a lie one after the
/// other, or `PACKED`.
#[inline(always)]
unsafe fn tile<V: Vector, const N: usize, const R: usize, const PACKED: bool>(
    depth: usize,
    (mut a, a_row): (*const V::Element, isize),
    panel: &Panel<V::Element>,
    c: Matrix<V::Element>,
    add: bool,
) {
    // SAFETY: the caller's promise; the places lie in a, the panel and c.
    unsafe {
        let mut sums = [[V::splat(V::Element::ZERO); N]; R];
        let mut line_at = panel.first;
        for _ in 0..depth {
            let line: [V; N] = std::array::from_fn(|v| V::load(line_at.wrapping_add(v * V::LANES)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let factor = V::splat(*a.wrapping_offset(if PACKED { i as isize } else { i as isize * a_row }));
                for (sum, x) in sums.iter_mut().zip(line) {
                    *sum = factor.mul_add(x, *sum);
                }
            }
            a = a.wrapping_add(if PACKED { TILE_ROWS } else { 1 });
            line_at = line_at.wrapping_offset(panel.stride);
        }
        if c.column == 1 && panel.wide == N * V::LANES {
            for (i, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    let place = c.first.offset(i as i64 * c.row).wrapping_add(v * V::LANES);
                    if add { V::load(place).add(sum) } else { sum }.store(place);
                }
            }
            return;
        }
        // Sums whose address is taken would not stay in registers.
        let mut lines = [const { MaybeUninit::<V::Element>::uninit() }; TILE_ROWS * PANEL_BYTES / 4];
        for (i, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                sum.store(lines.as_mut_ptr().wrapping_add((i * N + v) * V::LANES).cast());
            }
        }
        scatter::<V::Element, R>(lines.as_ptr().cast(), N * V::LANES, panel.wide, c, add);
    }
}

/// The first `wide` of every `width` elements to `R` rows of c, in the order in which they lie there.
#[inline(never)]
unsafe fn scatter<T: Element, const R: usize>(lines: *const T, width: usize, wide: usize, c: Matrix<T>, add: bool) {
    let put = |line: *const T, to: *mut T| {
        // SAFETY: inside the lines and c.
        unsafe { *to = if add { T::add(*to, *line) } else { *line } };
    };
    if c.column == 1 {
        for i in 0..R {
            let (line, to) = (lines.wrapping_add(i * width), c.first.offset(i as i64 * c.row));
            (0..wide).for_each(|j| put(line.wrapping_add(j), to.wrapping_add(j)));
        }
        return;
    }
    let (mut line, mut to) = (lines, c.first.at(0));
    for _ in 0..wide {
        (0..R).for_each(|i| put(line.wrapping_add(i * width), to.wrapping_offset(i as isize * c.row as isize)));
        (line, to) = (line.wrapping_add(1), to.wrapping_offset(c.column as isize));
    }
}
