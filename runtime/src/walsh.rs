//! The block Walsh-Hadamard transform of grids of vectors, and its adjoint.
//!
//! Expects: block sides that are powers of two with at most [`MOST_PLACES`] places together; distinct kept functions
//! inside the block; for mirrored padding a grid that has the places that are mirrored.
//! Guarantees: additions, subtractions and one multiplication by 1 / sqrt(places), in an order that depends on the shape
//! alone: the same bits on every engine and with any number of threads. The vector is the inner axis of all work. Nothing is
//! allocated: lists are as long as the largest block needs.
//! Leaves out: which functions are kept, and why.

use crate::engine::for_engines;
use crate::pool::Context;
use crate::shared::Shared;
use std::mem::MaybeUninit;
use std::ops::{Add, AddAssign, Mul, Neg, Sub};

/// The most places that a block has.
pub const MOST_PLACES: usize = 256;

/// Channels that are worked on at a time.
const LANES: usize = 64;

/// Elements of input that a worker takes at a time, at least.
const GRAIN: usize = 1 << 16;

/// One place of a block, for some channels.
type Slot<T> = [T; LANES];

/// What is transformed: `batch` grids of `grid` places, each a vector of `channels` numbers, in blocks of `block` places.
/// Each axis is padded to whole blocks at both ends, the odd place before it: by its mirror image without the edge, or by
/// zeros.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Number of grids.
    pub batch: usize,
    /// Rows and columns.
    pub grid: [usize; 2],
    /// Length of a vector.
    pub channels: usize,
    /// Rows and columns of a block.
    pub block: [usize; 2],
    /// Whether padding mirrors.
    pub mirror: bool,
}

/// What a butterfly of two slots (a, b) leaves of a + b and a - b.
#[derive(Clone, Copy)]
enum Kept {
    Sum,
    Difference,
    Both,
}

/// One butterfly: the sum goes to the first slot, the difference to the second.
#[derive(Clone, Copy)]
struct Butterfly {
    first: u8,
    second: u8,
    kept: Kept,
}

/// At most so many of something: a list that lies where it is declared.
struct List<T, const N: usize> {
    items: [T; N],
    count: usize,
}

impl<T: Copy, const N: usize> List<T, N> {
    fn new(filler: T) -> List<T, N> {
        List { items: [filler; N], count: 0 }
    }

    fn push(&mut self, item: T) {
        self.items[self.count] = item;
        self.count += 1;
    }

    fn as_slice(&self) -> &[T] {
        &self.items[..self.count]
    }
}

/// Half of the places for each time that their number can be halved.
const MOST_BUTTERFLIES: usize = MOST_PLACES / 2 * MOST_PLACES.ilog2() as usize;

type Butterflies = List<Butterfly, MOST_BUTTERFLIES>;

/// A transform that is ready to run.
struct Transform {
    shape: Shape,
    /// Whole blocks along each axis.
    blocks: [usize; 2],
    /// The transform of one block in place; what no kept function needs is left out.
    butterflies: Butterflies,
    /// Where the kept coefficients lie afterwards.
    kept: List<u8, MOST_PLACES>,
}

/// The row of the natural-order Hadamard matrix of an order that changes its sign so many times.
fn natural_index(sign_changes: usize, order: usize) -> usize {
    let gray = sign_changes ^ (sign_changes >> 1);
    if order == 1 { 0 } else { gray.reverse_bits() >> (usize::BITS - order.ilog2()) }
}

/// The butterflies of a line of slots; `needed` says for each natural index whether its coefficient is.
fn line(needed: &[bool], first: usize, stride: usize, butterflies: &mut Butterflies) {
    let mut distance = 1;
    while distance < needed.len() {
        // After a stage the low bits of an index name a frequency, the others still a place.
        let low = 2 * distance - 1;
        let mut wanted = [false; MOST_PLACES];
        needed.iter().enumerate().filter(|(_, needed)| **needed).for_each(|(index, _)| wanted[index & low] = true);
        for index in (0..needed.len()).filter(|index| index & distance == 0) {
            let kept = match (wanted[index & low], wanted[(index + distance) & low]) {
                (false, false) => continue,
                (true, false) => Kept::Sum,
                (false, true) => Kept::Difference,
                (true, true) => Kept::Both,
            };
            let slot = |index: usize| (first + index * stride) as u8;
            butterflies.push(Butterfly { first: slot(index), second: slot(index + distance), kept });
        }
        distance *= 2;
    }
}

impl Transform {
    fn new(shape: Shape, rows: &[u64], columns: &[u64]) -> Transform {
        let [height, width] = shape.block;
        // For each place of a block whether its coefficient is kept.
        let mut needed = [false; MOST_PLACES];
        let mut kept = List::new(0);
        for (row, column) in rows.iter().zip(columns) {
            let place = natural_index(*row as usize, height) * width + natural_index(*column as usize, width);
            needed[place] = true;
            kept.push(place as u8);
        }
        let mut needed_rows = [false; MOST_PLACES];
        for (row, needed_row) in needed_rows.iter_mut().enumerate().take(height) {
            *needed_row = needed[row * width..][..width].contains(&true);
        }
        let mut butterflies = List::new(Butterfly { first: 0, second: 0, kept: Kept::Both });
        for column in 0..width {
            line(&needed_rows[..height], column, width, &mut butterflies);
        }
        for row in (0..height).filter(|row| needed_rows[*row]) {
            line(&needed[row * width..][..width], row * width, 1, &mut butterflies);
        }
        let blocks = [0, 1].map(|axis| shape.grid[axis].div_ceil(shape.block[axis]));
        Transform { shape, blocks, butterflies, kept }
    }

    /// Blocks of one grid.
    fn blocks_each(&self) -> usize {
        self.blocks[0] * self.blocks[1]
    }

    /// Elements of one grid.
    fn grid_elements(&self) -> usize {
        self.shape.grid[0] * self.shape.grid[1] * self.shape.channels
    }

    /// For each slot of a block the place of its vector in the grid, in elements.
    fn places(&self, block: usize) -> impl Iterator<Item = Option<usize>> + '_ {
        let [height, width] = self.shape.block;
        let [first_row, first_column] = [block / self.blocks[1] * height, block % self.blocks[1] * width];
        let Shape { grid, block, mirror, channels, .. } = self.shape;
        (first_row..first_row + height).flat_map(move |row| {
            let row = source(row, grid[0], block[0], mirror);
            (first_column..first_column + width).map(move |column| {
                let column = source(column, grid[1], block[1], mirror);
                Some((row? * grid[1] + column?) * channels)
            })
        })
    }
}

/// The place of an axis that a padded place shows; `None` for a zero.
#[inline(always)]
fn source(at: usize, size: usize, block: usize, mirror: bool) -> Option<usize> {
    let before = (size.next_multiple_of(block) - size).div_ceil(2);
    match at.checked_sub(before) {
        Some(place) if place < size => Some(place),
        Some(place) if mirror => Some(2 * (size - 1) - place),
        None if mirror => Some(before - at),
        _ => None,
    }
}

/// A float type that transforms work on.
pub trait Lane:
    Copy + Default + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Neg<Output = Self> + AddAssign
{
    /// The number nearest to a double.
    fn nearest(value: f64) -> Self;
    #[doc(hidden)]
    const FORWARD: Ranged<Self>;
    #[doc(hidden)]
    const ADJOINT: Ranged<Self>;
}

/// A routine that works on a range of blocks or of grids.
type Ranged<T> = unsafe fn(&Prepared, *const T, *mut T, usize, usize);

/// A transform as [`Lane`] hands it on.
#[doc(hidden)]
pub struct Prepared(Transform);

impl Lane for f32 {
    fn nearest(value: f64) -> f32 {
        value as f32
    }
    const FORWARD: Ranged<f32> = forward_f32;
    const ADJOINT: Ranged<f32> = adjoint_f32;
}

impl Lane for f64 {
    fn nearest(value: f64) -> f64 {
        value
    }
    const FORWARD: Ranged<f64> = forward_f64;
    const ADJOINT: Ranged<f64> = adjoint_f64;
}

/// `to` [batch, P, Q, kept, channels] gets the kept coefficients (rows[i], columns[i]) of each block of `from`
/// [batch, grid.., channels].
///
/// # Safety
/// Tensors of these sizes, apart from each other.
pub unsafe fn block_wht<T: Lane>(
    context: &Context,
    shape: Shape,
    rows: &[u64],
    columns: &[u64],
    from: *const T,
    to: *mut T,
) {
    let prepared = Prepared(Transform::new(shape, rows, columns));
    let count = prepared.0.shape.batch * prepared.0.blocks_each();
    // SAFETY: blocks write separate coefficients.
    unsafe { run(context, T::FORWARD, &prepared, count, from, to) }
}

/// The adjoint: `to` [batch, grid.., channels] from `from` [batch, P, Q, kept, channels]. What lies in padding is left
/// out, or added to the place that it mirrors.
///
/// # Safety
/// The same.
pub unsafe fn block_wht_t<T: Lane>(
    context: &Context,
    shape: Shape,
    rows: &[u64],
    columns: &[u64],
    from: *const T,
    to: *mut T,
) {
    let prepared = Prepared(Transform::new(shape, rows, columns));
    let transform = &prepared.0;
    // A mirrored place may lie in a neighbouring block.
    let count = transform.shape.batch * if transform.shape.mirror { 1 } else { transform.blocks_each() };
    // SAFETY: blocks write separate places, and so do grids.
    unsafe { run(context, T::ADJOINT, &prepared, count, from, to) }
}

/// Runs a routine on all workers.
///
/// # Safety
/// The same.
unsafe fn run<T: Lane>(
    context: &Context,
    routine: Ranged<T>,
    prepared: &Prepared,
    count: usize,
    from: *const T,
    to: *mut T,
) {
    let each = prepared.0.grid_elements() * prepared.0.shape.batch / count.max(1);
    let (from, to) = (Shared(from.cast_mut()), Shared(to));
    context.parallel(count as u64, GRAIN.div_ceil(each.max(1)) as u64, &|begin, end, _| {
        // SAFETY: the caller's promise, for this range.
        unsafe { routine(prepared, from.at(0), to.at(0), begin as usize, end as usize) }
    });
}

for_engines! {
    /// Blocks begin..end.
    ///
    /// # Safety
    /// The contract of the public function, for this range.
    unsafe fn forward_f32(prepared: &Prepared, from: *const f32, to: *mut f32, begin: usize, end: usize) = forward_f32_on {
        forward(&prepared.0, from, to, begin, end)
    }
    /// Blocks begin..end.
    ///
    /// # Safety
    /// The contract of the public function, for this range.
    unsafe fn forward_f64(prepared: &Prepared, from: *const f64, to: *mut f64, begin: usize, end: usize) = forward_f64_on {
        forward(&prepared.0, from, to, begin, end)
    }
    /// Blocks begin..end, or grids where padding mirrors.
    ///
    /// # Safety
    /// The contract of the public function, for this range.
    unsafe fn adjoint_f32(prepared: &Prepared, from: *const f32, to: *mut f32, begin: usize, end: usize) = adjoint_f32_on {
        adjoint(&prepared.0, from, to, begin, end)
    }
    /// Blocks begin..end, or grids where padding mirrors.
    ///
    /// # Safety
    /// The contract of the public function, for this range.
    unsafe fn adjoint_f64(prepared: &Prepared, from: *const f64, to: *mut f64, begin: usize, end: usize) = adjoint_f64_on {
        adjoint(&prepared.0, from, to, begin, end)
    }
}

#[inline(always)]
unsafe fn forward<T: Lane>(transform: &Transform, from: *const T, to: *mut T, begin: usize, end: usize) {
    let (channels, scale) = (transform.shape.channels, scale(transform));
    let mut slots = MaybeUninit::<[Slot<T>; MOST_PLACES]>::uninit();
    let slots: *mut Slot<T> = slots.as_mut_ptr().cast();
    for block in begin..end {
        let (grid, inside) = (block / transform.blocks_each(), block % transform.blocks_each());
        for first in (0..channels).step_by(LANES) {
            let width = LANES.min(channels - first);
            // SAFETY: places of this grid, slots of this block, coefficients of this block.
            unsafe {
                let grid = from.add(grid * transform.grid_elements() + first);
                for (slot, place) in transform.places(inside).enumerate() {
                    match place {
                        Some(place) => load(slots.add(slot), grid.add(place), width),
                        None => *slots.add(slot) = [T::default(); LANES],
                    }
                }
                for butterfly in transform.butterflies.as_slice() {
                    let (a, b) =
                        (&mut *slots.add(usize::from(butterfly.first)), &mut *slots.add(usize::from(butterfly.second)));
                    match butterfly.kept {
                        Kept::Sum => each(a, b, |a, b| *a += *b),
                        Kept::Difference => each(a, b, |a, b| *b = *a - *b),
                        Kept::Both => each(a, b, |a, b| (*a, *b) = (*a + *b, *a - *b)),
                    }
                }
                let to = to.add(block * transform.kept.count * channels + first);
                for (index, slot) in transform.kept.as_slice().iter().enumerate() {
                    let slot = &mut *slots.add(usize::from(*slot));
                    slot.iter_mut().for_each(|value| *value = *value * scale);
                    std::ptr::copy_nonoverlapping(slot.as_ptr(), to.add(index * channels), width);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn adjoint<T: Lane>(transform: &Transform, from: *const T, to: *mut T, begin: usize, end: usize) {
    let (channels, blocks, mirror) = (transform.shape.channels, transform.blocks_each(), transform.shape.mirror);
    let (scale, elements) = (scale(transform), transform.grid_elements());
    let mut slots = MaybeUninit::<[Slot<T>; MOST_PLACES]>::uninit();
    let slots: *mut Slot<T> = slots.as_mut_ptr().cast();
    let (begin, end) = if mirror {
        for at in begin * elements..end * elements {
            // SAFETY: elements of these grids.
            unsafe { *to.add(at) = T::default() };
        }
        (begin * blocks, end * blocks)
    } else {
        (begin, end)
    };
    for block in begin..end {
        let (grid, inside) = (block / blocks, block % blocks);
        for first in (0..channels).step_by(LANES) {
            let width = LANES.min(channels - first);
            // SAFETY: coefficients of this block, slots of this block, places of this grid. The butterflies write every
            // slot before it is read: it is kept, or one of them made it from slots that were.
            unsafe {
                let from = from.add(block * transform.kept.count * channels + first);
                for (index, slot) in transform.kept.as_slice().iter().enumerate() {
                    let slot = slots.add(usize::from(*slot));
                    load(slot, from.add(index * channels), width);
                    (*slot).iter_mut().for_each(|value| *value = *value * scale);
                }
                for butterfly in transform.butterflies.as_slice().iter().rev() {
                    let (a, b) = (slots.add(usize::from(butterfly.first)), slots.add(usize::from(butterfly.second)));
                    match butterfly.kept {
                        Kept::Sum => *b = *a,
                        Kept::Difference => {
                            *a = *b;
                            (*b).iter_mut().for_each(|value| *value = -*value);
                        }
                        Kept::Both => each(&mut *a, &mut *b, |a, b| (*a, *b) = (*a + *b, *a - *b)),
                    }
                }
                let grid = to.add(grid * elements + first);
                for (slot, place) in transform.places(inside).enumerate() {
                    let Some(place) = place else { continue };
                    let (slot, place) = (&*slots.add(slot), grid.add(place));
                    if mirror {
                        for (lane, value) in slot.iter().enumerate().take(width) {
                            *place.add(lane) += *value;
                        }
                    } else {
                        std::ptr::copy_nonoverlapping(slot.as_ptr(), place, width);
                    }
                }
            }
        }
    }
}

/// The functions have length 1.
#[inline(always)]
fn scale<T: Lane>(transform: &Transform) -> T {
    T::nearest(1.0 / ((transform.shape.block[0] * transform.shape.block[1]) as f64).sqrt())
}

/// The first `width` channels; zero in the others, which nobody asks for.
#[inline(always)]
unsafe fn load<T: Lane>(slot: *mut Slot<T>, from: *const T, width: usize) {
    // SAFETY: the caller has as many elements.
    unsafe {
        if width < LANES {
            *slot = [T::default(); LANES];
            std::ptr::copy_nonoverlapping(from, slot.cast(), width);
        } else {
            *slot = *from.cast();
        }
    }
}

#[inline(always)]
fn each<T>(a: &mut Slot<T>, b: &mut Slot<T>, work: impl Fn(&mut T, &mut T)) {
    for lane in 0..LANES {
        work(&mut a[lane], &mut b[lane]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::philox::fill_normal_f64;

    /// Grid, block, mirror, kept functions.
    type Case = ([usize; 2], [usize; 2], bool, &'static [[u64; 2]]);

    const CASES: &[Case] = &[
        ([8, 8], [8, 8], true, &[[0, 0], [0, 1], [1, 0]]),
        ([7, 7], [8, 8], true, &[[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [3, 0]]),
        ([7, 9], [8, 8], true, &[[7, 7], [3, 5], [0, 6]]),
        ([14, 14], [8, 8], false, &[[0, 0], [0, 1], [1, 0]]),
        ([5, 6], [4, 2], false, &[[2, 1], [3, 0]]),
        ([1, 13], [1, 4], true, &[[0, 0], [0, 1]]),
        ([9, 1], [16, 1], true, &[[5, 0], [0, 0], [15, 0]]),
        ([3, 4], [1, 1], true, &[[0, 0]]),
        ([2, 300], [1, 256], false, &[[0, 255], [0, 3]]),
    ];

    /// Rows of the natural Hadamard matrix, sorted by their sign changes.
    fn walsh(order: usize) -> Vec<Vec<f64>> {
        let sign = |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
        let mut rows: Vec<Vec<f64>> = (0..order).map(|i| (0..order).map(|j| sign(i, j)).collect()).collect();
        rows.sort_by_key(|row| row.windows(2).filter(|pair| pair[0] != pair[1]).count());
        rows
    }

    /// The place of the grid that a padded place shows, counted with a sign.
    fn shown(place: i64, size: i64, mirror: bool) -> Option<usize> {
        let inside = (0..size).contains(&place);
        let reflected = if place < 0 { -place } else { 2 * size - 2 - place };
        if inside { Some(place as usize) } else { mirror.then_some(reflected as usize) }
    }

    /// The matrix of the transform of one grid of scalars: coefficients by places.
    fn dense((grid, block, mirror, kept): &Case) -> Vec<Vec<f64>> {
        let tables = block.map(walsh);
        let count = [0, 1].map(|axis| grid[axis].div_ceil(block[axis]));
        let before = [0, 1].map(|axis| (count[axis] * block[axis] - grid[axis]).div_ceil(2) as i64);
        let mut matrix = Vec::new();
        for p in 0..count[0] {
            for q in 0..count[1] {
                for [r, c] in *kept {
                    let mut row = vec![0.0; grid[0] * grid[1]];
                    for u in 0..block[0] {
                        for v in 0..block[1] {
                            let i = shown((p * block[0] + u) as i64 - before[0], grid[0] as i64, *mirror);
                            let j = shown((q * block[1] + v) as i64 - before[1], grid[1] as i64, *mirror);
                            if let (Some(i), Some(j)) = (i, j) {
                                row[i * grid[1] + j] += tables[0][*r as usize][u] * tables[1][*c as usize][v]
                                    / ((block[0] * block[1]) as f64).sqrt();
                            }
                        }
                    }
                    matrix.push(row);
                }
            }
        }
        matrix
    }

    fn parts((grid, block, mirror, kept): &Case, batch: usize, channels: usize) -> (Shape, Vec<u64>, Vec<u64>) {
        let shape = Shape { batch, grid: *grid, channels, block: *block, mirror: *mirror };
        (shape, kept.iter().map(|pair| pair[0]).collect(), kept.iter().map(|pair| pair[1]).collect())
    }

    fn numbers(count: usize) -> Vec<f64> {
        let mut numbers = vec![0.0; count];
        fill_normal_f64([3, 4], 5, 6, 0, &mut numbers);
        numbers
    }

    #[test]
    fn both_directions_are_the_dense_matrix() {
        for case in CASES {
            let matrix = dense(case);
            let (coefficients, places) = (matrix.len(), matrix[0].len());
            for (batch, channels) in [(1, 1), (2, 3), (3, 70)] {
                let (x, s) = (numbers(batch * places * channels), numbers(batch * coefficients * channels));
                let (shape, rows, columns) = parts(case, batch, channels);
                let (mut forward, mut back) = (vec![f64::NAN; s.len()], vec![f64::NAN; x.len()]);
                let context = Context::new(2, 64);
                // SAFETY: tensors of these sizes.
                unsafe {
                    block_wht(&context, shape, &rows, &columns, x.as_ptr(), forward.as_mut_ptr());
                    block_wht_t(&context, shape, &rows, &columns, s.as_ptr(), back.as_mut_ptr());
                }
                for image in 0..batch {
                    for channel in 0..channels {
                        let at = |index: usize, size: usize| (image * size + index) * channels + channel;
                        for (row, weights) in matrix.iter().enumerate() {
                            let sum: f64 = (0..places).map(|place| weights[place] * x[at(place, places)]).sum();
                            assert!((forward[at(row, coefficients)] - sum).abs() < 1e-12, "{case:?}");
                        }
                        for place in 0..places {
                            let sum: f64 =
                                (0..coefficients).map(|row| matrix[row][place] * s[at(row, coefficients)]).sum();
                            assert!((back[at(place, places)] - sum).abs() < 1e-12, "{case:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn engines_and_threads_give_the_same_bits() {
        for case in CASES {
            let (shape, rows, columns) = parts(case, 5, 70);
            let prepared = Prepared(Transform::new(shape, &rows, &columns));
            let blocks = 5 * prepared.0.blocks_each();
            let grids = if shape.mirror { 5 } else { blocks };
            let elements = 5 * prepared.0.grid_elements();
            let coefficients = blocks * rows.len() * 70;
            let x: Vec<f32> = numbers(elements).iter().map(|value| *value as f32).collect();
            let s: Vec<f32> = numbers(coefficients).iter().map(|value| *value as f32).collect();
            let mut results: Vec<(Vec<f32>, Vec<f32>)> = Vec::new();
            let empty = || (vec![f32::NAN; coefficients], vec![f32::NAN; elements]);
            for engine in Engine::available() {
                let (mut forward, mut back) = empty();
                // SAFETY: tensors of these sizes; the machine has the engine.
                unsafe {
                    forward_f32_on(engine, &prepared, x.as_ptr(), forward.as_mut_ptr(), 0, blocks);
                    adjoint_f32_on(engine, &prepared, s.as_ptr(), back.as_mut_ptr(), 0, grids);
                }
                results.push((forward, back));
            }
            for threads in [1, 3] {
                let context = Context::new(threads, 64);
                let (mut forward, mut back) = empty();
                // SAFETY: tensors of these sizes.
                unsafe {
                    block_wht(&context, shape, &rows, &columns, x.as_ptr(), forward.as_mut_ptr());
                    block_wht_t(&context, shape, &rows, &columns, s.as_ptr(), back.as_mut_ptr());
                }
                results.push((forward, back));
            }
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            for (forward, back) in &results {
                assert_eq!(bits(forward), bits(&results[0].0), "{case:?}");
                assert_eq!(bits(back), bits(&results[0].1), "{case:?}");
                assert!(forward.iter().chain(back).all(|value| value.is_finite()), "{case:?}");
            }
        }
    }

    #[test]
    fn sign_changes_of_the_published_order() {
        for order in [1, 2, 4, 8, 16] {
            let sorted = walsh(order);
            for (changes, row) in sorted.iter().enumerate() {
                let index = natural_index(changes, order);
                let natural: Vec<f64> =
                    (0..order).map(|j| if (index & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 }).collect();
                assert_eq!(*row, natural);
            }
        }
    }
}
