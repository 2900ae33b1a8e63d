//! How a stage is cut for vectors: what is the same along the vector axis, and where heavy functions split the rest.
//!
//! Expects: a stage with a vector axis.
//! Guarantees: the values of a section fall into pieces; between piece p - 1 and p stand the calls of the heavy functions
//! of level p, which read and write tiles in the worker's scratch; all stores belong to the last piece, so that a load
//! gives the same in every piece.
//! Leaves out: code (`vector`).

use super::kernel::TILE;
use super::runtime;
use super::scalar::dtype;
use crate::ir::types::Dtype;
use crate::kernel::ir::{AffineMap, BufferId, Guard, ReductionKind, Scalar, Stage, ValueId};
use cranelift_entity::{EntityRef, SecondaryMap};

/// Everything about a stage by vectors.
pub(super) struct Plan {
    /// The loop axis along which vectors lie.
    pub(super) axis: usize,
    /// Whether it is the last reduced axis; else it is an inner one.
    pub(super) reduces: bool,
    /// Elements of a vector.
    pub(super) lanes: u32,
    /// Inside of the reduced loops, or everything where nothing is reduced.
    pub(super) inside: Section,
    /// After the reduced loops, where the vector axis is an inner one.
    pub(super) after: Option<Section>,
    /// The tiles in which each reduction along other axes adds up.
    pub(super) sums: Vec<Sum>,
    /// Bytes of all tiles.
    pub(super) tile_bytes: u64,
}

/// Where a reduction along other axes keeps what it has.
pub(super) struct Sum {
    /// The tile of what comes out.
    pub(super) result: u64,
    /// The tile of the largest values, where what comes out is their index.
    pub(super) largest: Option<u64>,
}

/// Values that one run over a tile computes.
#[derive(Default)]
pub(super) struct Section {
    /// What leaves it: stored or reduced values.
    pub(super) sinks: Vec<ValueId>,
    /// Used values in order.
    pub(super) live: Vec<ValueId>,
    /// Whether a value is the same along the vector axis.
    pub(super) same: SecondaryMap<ValueId, bool>,
    /// The first piece that has the value.
    pub(super) level: SecondaryMap<ValueId, u32>,
    /// Number of the last piece.
    pub(super) last: u32,
    /// Where in the scratch a value has a tile.
    pub(super) tile: SecondaryMap<ValueId, Option<u64>>,
    /// The piece that writes the tile; none where a heavy function or a reduction does.
    pub(super) filled_by: SecondaryMap<ValueId, Option<u32>>,
}

/// What a load reads, whether its row is fixed or named by a scalar.
pub(super) struct Reads<'a> {
    pub(super) buffer: BufferId,
    pub(super) map: &'a AffineMap,
    pub(super) guards: &'a [Guard],
}

/// The memory that a scalar reads itself.
pub(super) fn reads(scalar: &Scalar) -> Option<Reads<'_>> {
    match scalar {
        Scalar::Load { buffer, map, guards, .. } => Some(Reads { buffer: *buffer, map, guards }),
        Scalar::Gather { buffer, map, .. } => Some(Reads { buffer: *buffer, map, guards: &[] }),
        _ => None,
    }
}

/// Whether a call of the runtime computes it.
pub(super) fn is_heavy(stage: &Stage, id: ValueId) -> bool {
    match &stage.values[id] {
        Scalar::Unary(op, x) | Scalar::Binary(op, x, _) => runtime::routine(op, dtype(stage, *x)).is_some(),
        Scalar::Random { .. } => true,
        _ => false,
    }
}

/// Whether any piece may compute it again: it uses no other scalars.
fn is_free(scalar: &Scalar) -> bool {
    matches!(scalar, Scalar::Literal(_) | Scalar::Index { .. } | Scalar::Load { .. })
}

impl Plan {
    /// The plan of a stage of a nest with so many outer axes; none where it must go element by element.
    pub(super) fn of(stage: &Stage, n_outer: usize) -> Option<Plan> {
        let axis = stage.vector_axis? as usize;
        let reduces = axis >= n_outer + stage.inner.len();
        let mut tile_bytes = 0;
        let n_inside = stage.n_inside as usize;
        let stored: Vec<ValueId> = stage.stores.iter().map(|store| store.value).collect();
        let mut sums = Vec::new();
        let (inside, after) = if stage.reductions.is_empty() {
            (Section::of(stage, axis, 0..stage.values.len(), stored, &[], &mut tile_bytes), None)
        } else {
            let reduced = stage.reductions.iter().map(|reduction| reduction.value).collect();
            let inside = Section::of(stage, axis, 0..n_inside, reduced, &[], &mut tile_bytes);
            let mut after = None;
            if !reduces {
                sums.extend(stage.reductions.iter().map(|reduction| Sum {
                    result: new_tile(&mut tile_bytes),
                    largest: (reduction.kind == ReductionKind::Argmax).then(|| new_tile(&mut tile_bytes)),
                }));
                let range = n_inside..stage.values.len();
                after = Some(Section::of(stage, axis, range, stored, &sums, &mut tile_bytes));
            }
            (inside, after)
        };
        let lanes = lanes(stage, axis, [Some(&inside), after.as_ref()])?;
        Some(Plan { axis, reduces, lanes, inside, after, sums, tile_bytes })
    }

    /// What counts places in lanes: whole numbers of the width of the values.
    pub(super) fn index_dtype(&self) -> Dtype {
        if self.lanes == 2 { Dtype::I64 } else { Dtype::I32 }
    }
}

/// Room for one value of each element of a tile.
fn new_tile(tile_bytes: &mut u64) -> u64 {
    let offset = *tile_bytes;
    *tile_bytes += TILE * 8;
    offset
}

/// How many lanes fit all values that differ along the axis; none where they have different widths.
fn lanes(stage: &Stage, axis: usize, sections: [Option<&Section>; 2]) -> Option<u32> {
    let mut widths = Vec::new();
    for section in sections.into_iter().flatten() {
        for id in section.live.iter().copied().chain(section.sinks.iter().copied()) {
            let dtype = dtype(stage, id);
            if let Scalar::Random { map, .. } = &stage.values[id]
                && !section.same[id]
                && map.strides[axis] != 1
            {
                return None;
            }
            let sink = section.sinks.contains(&id);
            if dtype != Dtype::Bool && (sink || !section.same[id]) {
                widths.push(dtype.bytes());
            }
        }
    }
    match widths.first() {
        Some(width) if widths.iter().all(|other| other == width) => Some(16 / *width as u32),
        Some(_) => None,
        None => Some(4),
    }
}

impl Section {
    fn of(
        stage: &Stage,
        axis: usize,
        range: std::ops::Range<usize>,
        sinks: Vec<ValueId>,
        sums: &[Sum],
        tile_bytes: &mut u64,
    ) -> Section {
        let mut section = Section { sinks, ..Section::default() };
        let mut used: SecondaryMap<ValueId, u32> = SecondaryMap::new();
        section.sinks.iter().for_each(|id| used[*id] += 1);
        for id in range.clone().rev().map(ValueId::new) {
            if used[id] > 0 {
                section.live.push(id);
                stage.values[id].operands().into_iter().for_each(|operand| used[operand] += 1);
            }
        }
        section.live.reverse();
        for id in section.live.clone() {
            section.place(stage, axis, id);
        }
        section.last = section.live.iter().map(|id| section.level[*id]).max().unwrap_or(0);
        section.tiles(stage, axis, sums, &used, tile_bytes);
        section
    }

    /// Decides whether a value is the same along the axis, and its level.
    fn place(&mut self, stage: &Stage, axis: usize, id: ValueId) {
        let scalar = &stage.values[id];
        let still = |map: &AffineMap| map.strides[axis] == 0;
        let own = match scalar {
            Scalar::Index { map, .. } | Scalar::Random { map, .. } => still(map),
            Scalar::Load { .. } | Scalar::Gather { .. } => reads(scalar)
                .is_some_and(|reads| still(reads.map) && reads.guards.iter().all(|guard| still(&guard.map))),
            Scalar::Reduced(_) => false,
            _ => true,
        };
        let operands = scalar.operands();
        self.same[id] = own && operands.iter().all(|operand| self.same[*operand]);
        if !self.same[id] {
            let level = operands.iter().map(|operand| self.level[*operand]).max().unwrap_or(0);
            self.level[id] = level + u32::from(is_heavy(stage, id));
        }
    }

    /// Gives tiles to the values that more than one piece, or a heavy function, meets.
    fn tiles(
        &mut self,
        stage: &Stage,
        axis: usize,
        sums: &[Sum],
        used: &SecondaryMap<ValueId, u32>,
        tile_bytes: &mut u64,
    ) {
        let mut crosses: SecondaryMap<ValueId, bool> = SecondaryMap::new();
        for id in &self.live {
            for operand in stage.values[*id].operands() {
                crosses[operand] |= self.level[*id] > self.level[operand];
            }
        }
        for id in &self.sinks {
            crosses[*id] |= self.last > self.level[*id];
        }
        for id in self.live.clone() {
            let scalar = &stage.values[id];
            if self.same[id] {
                continue;
            }
            if let Scalar::Reduced(index) = scalar {
                self.tile[id] = Some(sums[*index as usize].result);
            } else if is_heavy(stage, id) {
                let operands = scalar.operands();
                for operand in operands.iter().copied() {
                    let again = self.is_again(stage, operand);
                    if !again || direct(stage, axis, operand).is_some() {
                        continue;
                    }
                    let before = self.level[id] - 1;
                    self.tile[operand] = self.tile[operand].or_else(|| Some(new_tile(tile_bytes)));
                    self.filled_by[operand] = Some(self.filled_by[operand].map_or(before, |by| by.min(before)));
                }
                // The result replaces an operand that nothing else reads.
                let own =
                    operands.iter().copied().find(|x| used[*x] == 1 && !matches!(stage.values[*x], Scalar::Reduced(_)));
                self.tile[id] = own.and_then(|x| self.tile[x]).or_else(|| Some(new_tile(tile_bytes)));
            } else if crosses[id] && !is_free(scalar) {
                self.tile[id] = Some(new_tile(tile_bytes));
                self.filled_by[id] = Some(self.level[id]);
            }
        }
    }

    /// Whether a value of this piece is read from its tile there.
    pub(super) fn in_tile(&self, stage: &Stage, id: ValueId, piece: u32) -> bool {
        let written_before = self.filled_by[id].is_none_or(|by| by < piece);
        self.tile[id].is_some() && written_before && !self.is_again(stage, id)
    }

    /// Whether any piece may have the value without its tile.
    fn is_again(&self, stage: &Stage, id: ValueId) -> bool {
        is_free(&stage.values[id]) || self.same[id]
    }

    /// The values that a piece computes or reads, in order.
    pub(super) fn needed(&self, stage: &Stage, piece: u32) -> Vec<ValueId> {
        let mut needed: SecondaryMap<ValueId, bool> = SecondaryMap::new();
        if piece == self.last {
            self.sinks.iter().for_each(|id| needed[*id] = true);
        }
        let mut found = Vec::new();
        for id in self.live.iter().rev().copied() {
            if needed[id] || self.filled_by[id] == Some(piece) {
                found.push(id);
                if !self.in_tile(stage, id, piece) && !self.same[id] {
                    stage.values[id].operands().into_iter().for_each(|operand| needed[operand] = true);
                }
            }
        }
        found.reverse();
        found
    }
}

/// The load that lies in memory just as a heavy function wants its operand.
pub(super) fn direct(stage: &Stage, axis: usize, id: ValueId) -> Option<Reads<'_>> {
    match &stage.values[id] {
        Scalar::Load { .. } => {
            reads(&stage.values[id]).filter(|reads| reads.guards.is_empty() && reads.map.strides[axis] == 1)
        }
        _ => None,
    }
}
