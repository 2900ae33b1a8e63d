//! One run of a section: its pieces, the calls of heavy functions between them, and its sums.
//!
//! Expects: a [`Run`] whose axes stand at the first element of the run.
//! Guarantees: sums along the axis are added in the order of the element-by-element path, whatever the tile.
//! Leaves out: the loops over tiles and the other axes (`vector`), single values (`values`), memory (`access`).

use super::access::{Access, progression};
use super::{Count, Lanes, Run, Sink};
use crate::codegen::cranelift::arithmetic::{initial, lane_type};
use crate::codegen::cranelift::emitter::Emitter;
use crate::codegen::cranelift::plan::{direct, is_heavy};
use crate::codegen::cranelift::runtime;
use crate::codegen::cranelift::scalar::{self, SUM_LANES, dtype};
use crate::ir::types::{Dtype, Literal};
use crate::kernel::ir::{Scalar, ValueId};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_entity::SecondaryMap;
use cranelift_frontend::Variable;

impl Run<'_> {
    /// Bytes of one element, in memory and in tiles.
    pub(super) fn width(&self) -> i64 {
        16 / i64::from(self.plan.lanes)
    }

    pub(super) fn emit(mut self, emitter: &mut Emitter<'_, '_>) {
        for id in self.section.live.iter().copied().filter(|id| self.section.same[*id]) {
            self.same[id] = Some(scalar::scalar(emitter, self.stage, id, &self.axes, &self.same, &[]));
        }
        for piece in 0..=self.section.last {
            for id in self.section.live.iter().copied() {
                if self.section.level[id] == piece && !self.section.same[id] && is_heavy(self.stage, id) {
                    self.call(emitter, id);
                }
            }
            self.piece(emitter, piece);
        }
    }

    /// The tile of a value.
    pub(super) fn tile(&self, emitter: &mut Emitter<'_, '_>, id: ValueId) -> Value {
        let offset = self.section.tile[id].expect("bug in bpc: a value without tile");
        emitter.plus(self.tiles, offset as i64)
    }

    fn count(&self, emitter: &mut Emitter<'_, '_>) -> Value {
        match self.count {
            Count::Fixed(count) => emitter.integer(count as i64),
            Count::Known(count) => count,
        }
    }

    /// One call of a heavy function for the whole run.
    fn call(&self, emitter: &mut Emitter<'_, '_>, id: ValueId) {
        let out = self.tile(emitter, id);
        let count = self.count(emitter);
        match &self.stage.values[id] {
            Scalar::Random { normal, site, seed, step, map, dtype } => {
                let first = emitter.affine(map, &self.axes, None);
                let site = emitter.builder.ins().iconst(types::I32, i64::from(*site));
                let (seed, step) = (emitter.base(*seed), emitter.base(*step));
                let step = emitter.load(types::I32, step, 0);
                emitter.call_runtime(runtime::random(*normal, *dtype), &[out, seed, step, site, first, count]);
            }
            Scalar::Unary(op, x) => {
                let x_address = self.operand(emitter, *x);
                let routine = runtime::routine(op, dtype(self.stage, *x)).expect("bug in bpc: a call of no routine");
                emitter.call_runtime(routine, &[out, x_address, count]);
            }
            Scalar::Binary(op, x, y) => {
                let (x_address, y_address) = (self.operand(emitter, *x), self.operand(emitter, *y));
                let routine = runtime::routine(op, dtype(self.stage, *x)).expect("bug in bpc: a call of no routine");
                emitter.call_runtime(routine, &[out, x_address, y_address, count]);
            }
            other => panic!("bug in bpc: {other:?} is not a call"),
        }
    }

    /// Where the operand of a heavy function lies.
    fn operand(&self, emitter: &mut Emitter<'_, '_>, id: ValueId) -> Value {
        match direct(self.stage, self.plan.axis, id) {
            Some(reads) => emitter.address(reads.buffer, reads.map, &self.axes, None),
            None => self.tile(emitter, id),
        }
    }

    /// Sets the tiles of sums to what sums begin with.
    pub(super) fn clear_sums(&self, emitter: &mut Emitter<'_, '_>) {
        for (reduction, sum) in self.stage.reductions.iter().zip(&self.plan.sums) {
            let first = initial(reduction.kind, dtype(self.stage, reduction.value));
            match sum.largest {
                Some(largest) => {
                    self.clear(emitter, largest, first);
                    self.clear(emitter, sum.result, Literal::integer(self.plan.index_dtype(), 0));
                }
                None => self.clear(emitter, sum.result, first),
            }
        }
    }

    fn clear(&self, emitter: &mut Emitter<'_, '_>, offset: u64, literal: Literal) {
        let tile = emitter.plus(self.tiles, offset as i64);
        self.loops(emitter, true, &mut |emitter, at, extra, lanes| {
            let first = emitter.splat_literal(literal, lanes);
            let address = self.tile_address(emitter, tile, at);
            emitter.store(first, address, (extra * self.width()) as i32);
        });
    }

    pub(super) fn tile_address(&self, emitter: &mut Emitter<'_, '_>, tile: Value, at: Value) -> Value {
        let offset = emitter.times(at, self.width());
        emitter.builder.ins().iadd(tile, offset)
    }

    /// `body(index, extra, lanes)` for vectors and then single elements of the run, at index + extra.
    fn loops(
        &self,
        emitter: &mut Emitter<'_, '_>,
        unroll: bool,
        body: &mut dyn FnMut(&mut Emitter<'_, '_>, Value, i64, u32),
    ) {
        let lanes = i64::from(self.plan.lanes);
        let count = self.count(emitter);
        let mut low = emitter.integer(0);
        let four = 4 * lanes;
        for (stride, lanes) in [(four, self.plan.lanes), (lanes, self.plan.lanes), (1, 1)] {
            if stride == four && !unroll {
                continue;
            }
            if let Count::Fixed(count) = self.count {
                // What the loops before have left.
                let left = match (stride, unroll) {
                    (1, _) => count as i64 % i64::from(self.plan.lanes),
                    (_, true) if stride != four => count as i64 % four,
                    _ => count as i64,
                };
                if left < stride {
                    continue;
                }
            }
            let high = if stride == 1 { count } else { emitter.builder.ins().band_imm_s(count, -stride) };
            emitter.loop_range(low, high, stride, |emitter, index| {
                for extra in (0..stride).step_by(lanes as usize) {
                    body(emitter, index, extra, lanes);
                }
            });
            low = high;
        }
    }

    fn piece(&self, emitter: &mut Emitter<'_, '_>, piece: u32) {
        let needed = self.section.needed(self.stage, piece);
        if needed.is_empty() {
            return;
        }
        let mut accesses = SecondaryMap::new();
        for id in needed.iter().copied() {
            if !self.section.same[id] {
                accesses[id] = self.access(emitter, id);
            }
        }
        let last = piece == self.section.last;
        let stores: Vec<Access> = match self.sink {
            Sink::Stores if last => {
                let stores = self.stage.stores.iter();
                stores.map(|store| self.open(emitter, store.buffer, &store.map, &[])).collect()
            }
            _ => Vec::new(),
        };
        if let Sink::Rows(sums) = self.sink
            && last
        {
            return self.add_rows(emitter, &needed, &accesses, sums, piece);
        }
        let unroll = needed.len() <= 24;
        self.loops(emitter, unroll, &mut |emitter, at, extra, lanes| {
            let values = self.values(emitter, &needed, &accesses, piece, at, extra, lanes);
            if !last {
                return;
            }
            match self.sink {
                Sink::Stores => {
                    for (store, access) in self.stage.stores.iter().zip(&stores) {
                        let value = values[store.value].expect("bug in bpc: a store of a scalar from elsewhere");
                        access.write(emitter, value, at, extra, lanes);
                    }
                }
                Sink::Columns => self.add_columns(emitter, &values, at, extra, lanes),
                Sink::Rows(_) => {}
            }
        });
    }

    fn add_columns(
        &self,
        emitter: &mut Emitter<'_, '_>,
        values: &SecondaryMap<ValueId, Option<Value>>,
        at: Value,
        extra: i64,
        lanes: u32,
    ) {
        let place = (extra * self.width()) as i32;
        let address_of = |emitter: &mut Emitter<'_, '_>, offset: u64| {
            let tile = emitter.plus(self.tiles, offset as i64);
            self.tile_address(emitter, tile, at)
        };
        for (reduction, sum) in self.stage.reductions.iter().zip(&self.plan.sums) {
            let dtype = dtype(self.stage, reduction.value);
            let x = values[reduction.value].expect("bug in bpc: a reduced scalar after its loops");
            let address = address_of(emitter, sum.result);
            if let Some(largest) = sum.largest {
                let index_dtype = self.plan.index_dtype();
                let largest = address_of(emitter, largest);
                let before = (
                    emitter.load(lane_type(dtype, lanes), largest, place),
                    emitter.load(lane_type(index_dtype, lanes), address, place),
                );
                // Without reduced axes there is one element, whose index is 0.
                let index = if self.stage.reduced.is_empty() { None } else { self.axes.last().copied() };
                let index = index.unwrap_or_else(|| emitter.integer(0));
                let index = emitter.cast(index, Dtype::I64, index_dtype, 1);
                let index = emitter.splat(index, index_dtype, lanes);
                let after = emitter.largest_so_far(dtype, before, (x, index), lanes);
                emitter.store(after.0, largest, place);
                emitter.store(after.1, address, place);
            } else {
                let before = emitter.load(lane_type(dtype, lanes), address, place);
                let after = emitter.accumulate(reduction.kind, dtype, before, x, lanes);
                emitter.store(after, address, place);
            }
        }
    }

    /// Sums along the axis: whole rounds of all lanes in a loop, the rest in a line.
    fn add_rows(
        &self,
        emitter: &mut Emitter<'_, '_>,
        needed: &[ValueId],
        accesses: &SecondaryMap<ValueId, Option<Access>>,
        sums: &[Lanes],
        piece: u32,
    ) {
        let Count::Fixed(count) = self.count else { panic!("bug in bpc: a row of unknown length") };
        let (count, lanes) = (count as i64, self.plan.lanes);
        let whole = count - count % SUM_LANES;
        let (zero, whole_value) = (emitter.integer(0), emitter.integer(whole));
        let add = |emitter: &mut Emitter<'_, '_>, at: Value, extra: i64, lanes: u32| {
            let values = self.values(emitter, needed, accesses, piece, at, extra, lanes);
            let (group, lane) = (extra / i64::from(self.plan.lanes), (extra % i64::from(self.plan.lanes)) as u8);
            for (reduction, sums) in self.stage.reductions.iter().zip(sums) {
                let dtype = dtype(self.stage, reduction.value);
                let x = values[reduction.value].expect("bug in bpc: a reduced scalar after its loops");
                // In the rest beyond whole vectors, one lane of a vector.
                let take = |emitter: &mut Emitter<'_, '_>, variable: Variable| {
                    let vector = emitter.builder.use_var(variable);
                    if lanes > 1 { vector } else { emitter.builder.ins().extractlane(vector, lane) }
                };
                let put = |emitter: &mut Emitter<'_, '_>, variable: Variable, mut value: Value| {
                    if lanes == 1 {
                        let vector = emitter.builder.use_var(variable);
                        value = emitter.builder.ins().insertlane(vector, value, lane);
                    }
                    emitter.builder.def_var(variable, value);
                };
                let variable = sums.values[group as usize];
                let before = take(emitter, variable);
                if let Some(index) = sums.indices.get(group as usize).copied() {
                    let before = (before, take(emitter, index));
                    let here = self.places(emitter, at, extra, lanes);
                    let after = emitter.largest_so_far(dtype, before, (x, here), lanes);
                    put(emitter, variable, after.0);
                    put(emitter, index, after.1);
                } else {
                    let after = emitter.accumulate(reduction.kind, dtype, before, x, lanes);
                    put(emitter, variable, after);
                }
            }
        };
        if whole > 0 {
            emitter.loop_range(zero, whole_value, SUM_LANES, |emitter, at| {
                for extra in (0..SUM_LANES).step_by(lanes as usize) {
                    add(emitter, at, extra, lanes);
                }
            });
        }
        let rest = count - whole;
        let vectors = rest - rest % i64::from(lanes);
        for extra in (0..vectors).step_by(lanes as usize) {
            add(emitter, whole_value, extra, lanes);
        }
        for extra in vectors..rest {
            add(emitter, whole_value, extra, 1);
        }
    }

    /// The indices along the axis of a vector or an element.
    fn places(&self, emitter: &mut Emitter<'_, '_>, at: Value, extra: i64, lanes: u32) -> Value {
        let dtype = self.plan.index_dtype();
        let first = emitter.builder.ins().iadd(self.low, at);
        if lanes > 1 {
            return progression(emitter, first, dtype, extra, 1, lanes);
        }
        let first = emitter.plus(first, extra);
        emitter.cast(first, Dtype::I64, dtype, 1)
    }
}
