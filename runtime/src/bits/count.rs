//! How often a gate is true along two rows.
//!
//! Expects: see [`super`].
//! Guarantees: the same counts from every instruction set.
//! Leaves out: counts of 2^31 and more.

use super::pack::{Rows, WORD, last_word, pack_row};
use crate::engine::Engine;
use crate::pool::Context;
use crate::room::Room;
use crate::shared::Shared;
use std::sync::OnceLock;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// Where both are equal.
    Xnor,
    /// Where they differ.
    Xor,
    /// Where both are true.
    And,
    /// Where one is true.
    Or,
}

impl Gate {
    /// All of them.
    pub const ALL: [Gate; 4] = [Gate::Xnor, Gate::Xor, Gate::And, Gate::Or];

    /// Its name in the language.
    pub fn name(self) -> &'static str {
        match self {
            Gate::Xnor => "xnor",
            Gate::Xor => "xor",
            Gate::And => "and",
            Gate::Or => "or",
        }
    }

    /// The gate of that name.
    pub fn from_name(name: &str) -> Option<Gate> {
        Gate::ALL.into_iter().find(|gate| gate.name() == name)
    }
}

/// Rows of the second factor that are packed side by side, so that a vector holds one word of each.
const PANEL: usize = 32;
/// Rows of the first factor that share one walk over a panel.
const ROWS: usize = 4;
/// Rows of the first factor of one job.
const JOB_ROWS: usize = 1024;

/// What [`count`] needs: packed rows of x for all, unless they are packed already, and a panel of rows of w for each worker.
pub fn count_room(rows: u64, inner: u64, x_is_packed: bool) -> Room {
    let words = inner.div_ceil(WORD as u64);
    let call = if x_is_packed { 0 } else { 8 * rows * words };
    Room { call, worker: 8 * words * PANEL as u64 }
}

/// result[r, c] = how often the gate is true of x[r, i] and w[c, i], for i in 0..inner.
///
/// # Safety
/// `rows` rows of `inner` bits at `x`, `columns` of them at `w`, `rows * columns` places at `result`, and at `packed` the memory
/// for the call of [`count_room`], whose scratch the workers have.
pub unsafe fn count(
    context: &Context,
    gate: Gate,
    (rows, columns, inner): (usize, usize, usize),
    (x, w): (Rows, Rows),
    result: *mut i32,
    packed: *mut u64,
) {
    // SAFETY: the machine has its best engine; the caller's promise.
    unsafe { count_on(Code::best(), context, gate, (rows, columns, inner), (x, w), result, packed) }
}

/// The same by code of one's choice, for comparisons.
///
/// # Safety
/// As for [`count`], and the machine can run the code.
pub unsafe fn count_on(
    code: Code,
    context: &Context,
    gate: Gate,
    (rows, columns, inner): (usize, usize, usize),
    (x, w): (Rows, Rows),
    result: *mut i32,
    packed: *mut u64,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    let words = inner.div_ceil(WORD);
    debug_assert!(count_room(rows as u64, inner as u64, true).worker <= context.scratch_bytes() as u64);
    let result = Shared(result);
    let target = Shared(match x {
        Rows::Words(words) => words.cast_mut(),
        Rows::Bytes(x) => {
            // SAFETY: the caller's promise.
            unsafe { pack_rows(context, (rows, inner), x, packed) };
            packed
        }
    });
    let (w, row_bytes, w_is_packed) = w.layout(inner);
    let w = Shared(w.cast_mut());
    let (panels, parts) = (columns.div_ceil(PANEL), rows.div_ceil(JOB_ROWS));
    context.parallel((panels * parts) as u64, 1, &|begin, end, scratch| {
        for job in begin as usize..end as usize {
            let (first, row) = (job / parts * PANEL, job % parts * JOB_ROWS);
            let width = PANEL.min(columns - first);
            // SAFETY: so many words of scratch, which is aligned; zeros are words.
            let panel = unsafe {
                std::ptr::write_bytes(scratch, 0, 8 * words * PANEL);
                std::slice::from_raw_parts_mut(scratch.cast::<u64>(), words * PANEL)
            };
            for column in 0..if words == 0 { 0 } else { width } {
                let row = w.at((first + column) * row_bytes);
                if w_is_packed {
                    // SAFETY: the words of one row of w.
                    let from = unsafe { std::slice::from_raw_parts(row.cast::<u64>(), words) };
                    from.iter().enumerate().for_each(|(word, bits)| panel[word * PANEL + column] = *bits);
                    panel[(words - 1) * PANEL + column] &= last_word(inner);
                } else {
                    // SAFETY: the bytes of one row of w.
                    let from = unsafe { std::slice::from_raw_parts(row, inner) };
                    pack_row(from, &mut panel[column..], PANEL);
                }
            }
            let tile = Tile {
                gate,
                inner: inner as i32,
                x: target.at(row * words),
                words,
                last: last_word(inner),
                rows: JOB_ROWS.min(rows - row),
                panel: panel.as_ptr(),
                width,
                result: result.at(row * columns + first),
                columns,
            };
            // SAFETY: rows and columns lie inside; the machine can run the code, as the caller promises.
            unsafe { code.run(&tile) };
        }
    });
}

/// Packs rows that come as bytes.
///
/// # Safety
/// `rows * inner` bytes at `x`, and the words of so many rows at `packed`.
unsafe fn pack_rows(context: &Context, (rows, inner): (usize, usize), x: *const u8, packed: *mut u64) {
    let words = inner.div_ceil(WORD);
    let (x, packed) = (Shared(x.cast_mut()), Shared(packed));
    // Rows of no bits fill no word, and need no memory.
    let rows = if words == 0 { 0 } else { rows };
    context.parallel(rows as u64, 256, &|begin, end, _| {
        for row in begin as usize..end as usize {
            // SAFETY: one row of x, and its words, which are those of no other job.
            let (from, to) = unsafe {
                (
                    std::slice::from_raw_parts(x.at(row * inner), inner),
                    std::slice::from_raw_parts_mut(packed.at(row * words), words),
                )
            };
            pack_row(from, to, 1);
        }
    });
}

/// The rows of one job against one panel.
pub(super) struct Tile {
    gate: Gate,
    inner: i32,
    /// `rows` rows of `words` words without gaps.
    x: *const u64,
    words: usize,
    /// The bits of the last word of a row.
    last: u64,
    rows: usize,
    /// `words` times [`PANEL`] words, of which the first `width` are those of rows.
    panel: *const u64,
    width: usize,
    /// Rows `columns` places apart.
    result: *mut i32,
    columns: usize,
}

/// The machine code of a count: that of an [`Engine`], and the one for machines that count the bits of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// That of an engine.
    Engine(Engine),
    /// AVX-512 with its population count of vectors.
    #[cfg(target_arch = "x86_64")]
    VectorPopcount,
}

impl Code {
    /// The best of this machine.
    pub fn best() -> Code {
        static BEST: OnceLock<Code> = OnceLock::new();
        *BEST.get_or_init(|| Code::available().pop().unwrap_or(Code::Engine(Engine::Portable)))
    }

    /// Those of this machine, worst first.
    pub fn available() -> Vec<Code> {
        let mut available: Vec<Code> = Engine::available().into_iter().map(Code::Engine).collect();
        #[cfg(target_arch = "x86_64")]
        if available.contains(&Code::Engine(Engine::Avx512)) && is_x86_feature_detected!("avx512vpopcntdq") {
            available.push(Code::VectorPopcount);
        }
        available
    }

    /// # Safety
    /// The memory of the tile is as it says, and the machine can run this code.
    unsafe fn run(self, tile: &Tile) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512vpopcntdq,avx2,popcnt")]
        unsafe fn vector_popcount(tile: &Tile) {
            // SAFETY: the caller's promise.
            unsafe { tile.run() }
        }
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Code::Engine(engine) => run_on(engine, tile),
                #[cfg(target_arch = "x86_64")]
                Code::VectorPopcount => vector_popcount(tile),
            }
        }
    }
}

crate::engine::for_engines! {
    /// [`Tile::run`]
    ///
    /// # Safety
    /// The memory of the tile is as it says.
    #[allow(dead_code, reason = "the engine is always chosen by the caller")]
    unsafe fn run(tile: &Tile) = run_on {
        tile.run()
    }
}

impl Tile {
    /// # Safety
    /// The memory is as the fields say.
    #[inline(always)]
    unsafe fn run(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.gate {
                Gate::Xnor => self.blocks(|x, w| x ^ w, |count| self.inner - count),
                Gate::Xor => self.blocks(|x, w| x ^ w, |count| count),
                Gate::And => self.blocks(|x, w| x & w, |count| count),
                Gate::Or => self.blocks(|x, w| x | w, |count| count),
            }
        }
    }

    #[inline(always)]
    unsafe fn blocks(&self, gate: impl Fn(u64, u64) -> u64 + Copy, finish: impl Fn(i32) -> i32 + Copy) {
        let mut row = 0;
        // SAFETY: rows below `rows`.
        unsafe {
            while row + ROWS <= self.rows {
                self.block::<ROWS>(row, gate, finish);
                row += ROWS;
            }
            while row < self.rows {
                self.block::<1>(row, gate, finish);
                row += 1;
            }
        }
    }

    /// `R` rows against the panel; each lane of a sum is one place of the result.
    #[inline(always)]
    unsafe fn block<const R: usize>(
        &self,
        row: usize,
        gate: impl Fn(u64, u64) -> u64 + Copy,
        finish: impl Fn(i32) -> i32 + Copy,
    ) {
        let mut sums = [[0u64; PANEL]; R];
        for word in 0..self.words {
            // SAFETY: inside the panel.
            let line = unsafe { self.panel.add(word * PANEL).cast::<[u64; PANEL]>().read() };
            let kept = if word + 1 == self.words { self.last } else { u64::MAX };
            for (place, sums) in sums.iter_mut().enumerate() {
                // SAFETY: inside the rows.
                let x = unsafe { *self.x.add((row + place) * self.words + word) } & kept;
                for lane in 0..PANEL {
                    // Wrapping, so that no check stands in the way of vectors.
                    sums[lane] = sums[lane].wrapping_add(u64::from(gate(x, line[lane]).count_ones()));
                }
            }
        }
        for (place, sums) in sums.iter().enumerate() {
            let counts = sums.map(|sum| finish(sum as i32));
            // SAFETY: `width` places of one row of the result.
            let to =
                unsafe { std::slice::from_raw_parts_mut(self.result.add((row + place) * self.columns), self.width) };
            to.copy_from_slice(&counts[..self.width]);
        }
    }
}
