//! Stages by vectors: loops over tiles of the vector axis, piece by piece, with the calls of heavy functions between.
//!
//! Expects: a [`Plan`] of the stage.
//! Guarantees: the bits of the element-by-element path (`scalar`); memory outside of a buffer is not touched.
//! Leaves out: which value is computed where (`plan`).

use super::arithmetic::{initial, lane_type};
use super::emitter::{BITS, Emitter, element_type};
use super::kernel::TILE;
use super::plan::{Plan, Section, direct, is_heavy, reads};
use super::runtime;
use super::scalar::{self, SUM_LANES, Share, dtype};
use crate::ir::types::{Dtype, Literal};
use crate::kernel::ir::{AffineMap, BufferId, Scalar, Stage, ValueId};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value, types};
use cranelift_entity::SecondaryMap;
use cranelift_frontend::Variable;

/// How many elements a run does.
#[derive(Clone, Copy)]
enum Count {
    Fixed(u64),
    Known(Value),
}

/// A range of the vector axis.
#[derive(Clone, Copy)]
enum Range {
    Whole(u64),
    Part(Value, Value),
}

/// What becomes of the sinks of a section in its last piece.
enum Sink<'a> {
    /// The stores of the stage.
    Stores,
    /// Added into a tile for each reduction, element by element.
    Columns,
    /// Added into lanes: for each reduction the vectors that hold them.
    Rows(&'a [Vec<Variable>]),
}

/// How a place in memory follows the vector axis.
#[derive(Clone)]
struct Access {
    /// Address of the first element of the run.
    row: Value,
    stride: i64,
    dtype: Dtype,
    /// Holds for the whole run or for nothing of it.
    condition: Option<Value>,
    /// For each guard along the axis: first coordinate less `low`, stride, size.
    guards: Vec<(Value, i64, Value)>,
    /// Where to read instead: 16 bytes of what stands outside.
    outside: Option<Value>,
}

/// One run of a section over elements of the vector axis.
struct Run<'a> {
    stage: &'a Stage,
    plan: &'a Plan,
    section: &'a Section,
    sink: Sink<'a>,
    axes: Vec<Value>,
    /// First index along the axis.
    low: Value,
    count: Count,
    /// Address of the tiles.
    tiles: Value,
    /// Values that are the same along the axis, as one element.
    same: SecondaryMap<ValueId, Option<Value>>,
}

/// Emits all loops of a stage; its tiles lie `tiles` bytes into the scratch.
pub(super) fn emit(
    emitter: &mut Emitter<'_, '_>,
    stage: &Stage,
    plan: &Plan,
    tiles: u64,
    outer: &[Value],
    share: Share,
) {
    let scratch = emitter.scratch.expect("bug in bpc: a stage outside of a kernel");
    let tiles = emitter.plus(scratch, tiles as i64);
    let first = outer.len();
    let zero = emitter.integer(0);
    let mut axes = outer.to_vec();
    axes.resize(first + stage.inner.len() + stage.reduced.len(), zero);
    let mut loops: Vec<usize> = (first..first + stage.inner.len()).filter(|axis| *axis != plan.axis).collect();
    let shared_loop = share.filter(|_| plan.axis != first);
    if shared_loop.is_some() {
        loops.remove(0);
    }
    let whole = if plan.reduces { 0 } else { stage.inner[plan.axis - first] };
    let range = match share {
        Some((low, high)) if plan.axis == first => Range::Part(low, high),
        _ => Range::Whole(whole),
    };
    let sizes: Vec<u64> = loops.iter().map(|axis| stage.inner[axis - first]).collect();
    let place = |emitter: &mut Emitter<'_, '_>, axes: &[Value]| {
        emitter.loop_nest(&sizes, &mut |emitter, inner| {
            let mut axes = axes.to_vec();
            loops.iter().zip(inner).for_each(|(axis, index)| axes[*axis] = *index);
            if plan.reduces {
                row(emitter, stage, plan, tiles, axes);
            } else {
                columns(emitter, stage, plan, tiles, axes, range);
            }
        });
    };
    match shared_loop {
        Some((low, high)) => emitter.loop_range(low, high, 1, |emitter, index| {
            axes[first] = index;
            place(emitter, &axes);
        }),
        None => place(emitter, &axes),
    }
}

/// `body` for the tiles of a range, or for all of it at once.
fn over_tiles(
    emitter: &mut Emitter<'_, '_>,
    range: Range,
    tiled: bool,
    body: &mut dyn FnMut(&mut Emitter<'_, '_>, Value, Count),
) {
    let tile = TILE as i64;
    match range {
        Range::Whole(0) => {}
        Range::Whole(size) if !tiled || size <= TILE => {
            let zero = emitter.integer(0);
            body(emitter, zero, Count::Fixed(size));
        }
        Range::Whole(size) => {
            let (zero, rest) = (emitter.integer(0), emitter.integer((size - size % TILE) as i64));
            emitter.loop_range(zero, rest, tile, |emitter, low| body(emitter, low, Count::Fixed(TILE)));
            if !size.is_multiple_of(TILE) {
                body(emitter, rest, Count::Fixed(size % TILE));
            }
        }
        Range::Part(low, high) if !tiled => {
            let count = emitter.builder.ins().isub(high, low);
            body(emitter, low, Count::Known(count));
        }
        Range::Part(low, high) => emitter.loop_range(low, high, tile, |emitter, low| {
            let left = emitter.builder.ins().isub(high, low);
            let most = emitter.integer(tile);
            let count = emitter.builder.ins().smin(left, most);
            body(emitter, low, Count::Known(count));
        }),
    }
}

/// A map along the vector axis, or a reduction over other axes.
fn columns(
    emitter: &mut Emitter<'_, '_>,
    stage: &Stage,
    plan: &Plan,
    tiles: Value,
    mut axes: Vec<Value>,
    range: Range,
) {
    let tiled = plan.tile_bytes > 0;
    over_tiles(emitter, range, tiled, &mut |emitter, low, count| {
        axes[plan.axis] = low;
        let run = |section, sink, axes| Run {
            stage,
            plan,
            section,
            sink,
            axes,
            low,
            count,
            tiles,
            same: SecondaryMap::new(),
        };
        let Some(after) = &plan.after else {
            return run(&plan.inside, Sink::Stores, axes.clone()).emit(emitter);
        };
        run(&plan.inside, Sink::Columns, axes.clone()).clear_sums(emitter);
        emitter.loop_nest(&stage.reduced, &mut |emitter, reduced| {
            let mut axes = axes.clone();
            let first = axes.len() - reduced.len();
            axes[first..].copy_from_slice(reduced);
            run(&plan.inside, Sink::Columns, axes).emit(emitter);
        });
        run(after, Sink::Stores, axes.clone()).emit(emitter);
    });
}

/// One place of a reduction along the vector axis.
fn row(emitter: &mut Emitter<'_, '_>, stage: &Stage, plan: &Plan, tiles: Value, axes: Vec<Value>) {
    let groups = SUM_LANES as u32 / plan.lanes;
    let mut sums: Vec<Vec<Variable>> = Vec::new();
    for reduction in &stage.reductions {
        let dtype = dtype(stage, reduction.value);
        let first = emitter.splat_literal(initial(reduction.kind, dtype), plan.lanes);
        let lanes = (0..groups).map(|_| {
            let lanes = emitter.builder.declare_var(lane_type(dtype, plan.lanes));
            emitter.builder.def_var(lanes, first);
            lanes
        });
        sums.push(lanes.collect());
    }
    let (size, others) = stage.reduced.split_last().expect("bug in bpc: a reduced vector axis that is not there");
    emitter.loop_nest(others, &mut |emitter, reduced| {
        let mut axes = axes.clone();
        let first = axes.len() - stage.reduced.len();
        axes[first..first + reduced.len()].copy_from_slice(reduced);
        over_tiles(emitter, Range::Whole(*size), plan.tile_bytes > 0, &mut |emitter, low, count| {
            axes[plan.axis] = low;
            let run = Run {
                stage,
                plan,
                section: &plan.inside,
                sink: Sink::Rows(&sums),
                axes: axes.clone(),
                low,
                count,
                tiles,
                same: SecondaryMap::new(),
            };
            run.emit(emitter);
        });
    });
    let mut reduced = Vec::new();
    for (reduction, lanes) in stage.reductions.iter().zip(&sums) {
        let dtype = dtype(stage, reduction.value);
        let mut sums: Vec<Value> = lanes.iter().map(|lanes| emitter.builder.use_var(*lanes)).collect();
        let mut lanes = plan.lanes;
        while sums.len() > 1 || lanes == plan.lanes {
            if sums.len() == 1 {
                let vector = sums[0];
                sums = (0..lanes as u8).map(|lane| emitter.builder.ins().extractlane(vector, lane)).collect();
                lanes = 1;
            }
            let upper = sums.split_off(sums.len() / 2);
            for (sum, x) in sums.iter_mut().zip(upper) {
                *sum = emitter.accumulate(reduction.kind, dtype, *sum, x, lanes);
            }
        }
        reduced.push(sums[0]);
    }
    let mut values = SecondaryMap::new();
    for id in stage.values.keys().skip(stage.n_inside as usize) {
        values[id] = Some(scalar::scalar(emitter, stage, id, &axes, &values, &reduced));
    }
    scalar::store(emitter, stage, &axes, &values);
}

impl Run<'_> {
    /// Bytes of one element, in memory and in tiles.
    fn width(&self) -> i64 {
        16 / i64::from(self.plan.lanes)
    }

    fn emit(mut self, emitter: &mut Emitter<'_, '_>) {
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
    fn tile(&self, emitter: &mut Emitter<'_, '_>, id: ValueId) -> Value {
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
    fn clear_sums(&self, emitter: &mut Emitter<'_, '_>) {
        for (reduction, offset) in self.stage.reductions.iter().zip(&self.plan.sums) {
            let dtype = dtype(self.stage, reduction.value);
            let literal = initial(reduction.kind, dtype);
            let tile = emitter.plus(self.tiles, *offset as i64);
            self.loops(emitter, true, &mut |emitter, at, extra, lanes| {
                let first = emitter.splat_literal(literal, lanes);
                let address = self.tile_address(emitter, tile, at);
                emitter.store(first, address, (extra * self.width()) as i32);
            });
        }
    }

    fn tile_address(&self, emitter: &mut Emitter<'_, '_>, tile: Value, at: Value) -> Value {
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
                        self.write(emitter, access, value, at, extra, lanes);
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
        for (reduction, offset) in self.stage.reductions.iter().zip(&self.plan.sums) {
            let dtype = dtype(self.stage, reduction.value);
            let tile = emitter.plus(self.tiles, *offset as i64);
            let address = self.tile_address(emitter, tile, at);
            let place = (extra * self.width()) as i32;
            let before = emitter.load(lane_type(dtype, lanes), address, place);
            let x = values[reduction.value].expect("bug in bpc: a reduced scalar after its loops");
            let after = emitter.accumulate(reduction.kind, dtype, before, x, lanes);
            emitter.store(after, address, place);
        }
    }

    /// Sums along the axis: whole rounds of all lanes in a loop, the rest in a line.
    fn add_rows(
        &self,
        emitter: &mut Emitter<'_, '_>,
        needed: &[ValueId],
        accesses: &SecondaryMap<ValueId, Option<Access>>,
        sums: &[Vec<Variable>],
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
                let before = emitter.builder.use_var(sums[group as usize]);
                let after = if lanes > 1 {
                    emitter.accumulate(reduction.kind, dtype, before, x, lanes)
                } else {
                    let sum = emitter.builder.ins().extractlane(before, lane);
                    let sum = emitter.accumulate(reduction.kind, dtype, sum, x, 1);
                    emitter.builder.ins().insertlane(before, sum, lane)
                };
                emitter.builder.def_var(sums[group as usize], after);
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

    /// How a scalar that reads memory does it.
    fn access(&self, emitter: &mut Emitter<'_, '_>, id: ValueId) -> Option<Access> {
        let scalar = &self.stage.values[id];
        let reads = reads(scalar)?;
        let mut access = self.open(emitter, reads.buffer, reads.map, &[]);
        let outside = match scalar {
            Scalar::Load { guards, otherwise, .. } => {
                access = self.open(emitter, reads.buffer, reads.map, guards);
                *otherwise
            }
            Scalar::Gather { index, rows, row_stride, .. } => {
                let Some(row) = self.same[*index] else { return Some(access) };
                let (row, inside) = known_row(emitter, row, *rows);
                let offset = emitter.times(row, row_stride * access.dtype.bytes() as i64);
                access.row = emitter.builder.ins().iadd(access.row, offset);
                access.condition = Some(inside);
                Literal::new(access.dtype, f64::NAN)
            }
            _ => return None,
        };
        if access.condition.is_some() || !access.guards.is_empty() {
            access.outside = Some(self.outside(emitter, outside));
        }
        Some(access)
    }

    /// 16 bytes of a literal on the stack.
    fn outside(&self, emitter: &mut Emitter<'_, '_>, literal: Literal) -> Value {
        let slot = emitter.new_slot(16);
        let address = emitter.builder.ins().stack_addr(types::I64, slot, 0);
        let element = emitter.literal(literal);
        for offset in (0..16).step_by(literal.dtype.bytes() as usize) {
            emitter.store(element, address, offset);
        }
        address
    }

    fn open(
        &self,
        emitter: &mut Emitter<'_, '_>,
        buffer: BufferId,
        map: &AffineMap,
        guards: &[crate::kernel::ir::Guard],
    ) -> Access {
        let axis = self.plan.axis;
        let row = emitter.address(buffer, map, &self.axes, None);
        let dtype = emitter.program.buffers[buffer].ty.dtype;
        let (along, across): (Vec<_>, Vec<_>) = guards.iter().cloned().partition(|guard| guard.map.strides[axis] != 0);
        let condition = scalar::inside(emitter, &across, &self.axes);
        let mut along_axis = Vec::new();
        for guard in along {
            let first = emitter.affine(&guard.map, &self.axes, None);
            let first = emitter.plus(first, -guard.low);
            let size = emitter.integer(guard.high - guard.low);
            along_axis.push((first, guard.map.strides[axis], size));
        }
        Access { row, stride: map.strides[axis], dtype, condition, guards: along_axis, outside: None }
    }

    /// The values of a piece at one vector or element.
    #[expect(clippy::too_many_arguments, reason = "the place in the loops takes three")]
    fn values(
        &self,
        emitter: &mut Emitter<'_, '_>,
        needed: &[ValueId],
        accesses: &SecondaryMap<ValueId, Option<Access>>,
        piece: u32,
        at: Value,
        extra: i64,
        lanes: u32,
    ) -> SecondaryMap<ValueId, Option<Value>> {
        let mut values: SecondaryMap<ValueId, Option<Value>> = SecondaryMap::new();
        for id in needed.iter().copied() {
            let ty = dtype(self.stage, id);
            let value = if let Some(element) = self.same[id] {
                emitter.splat(element, ty, lanes)
            } else if self.section.in_tile(self.stage, id, piece) {
                let tile = self.tile(emitter, id);
                let address = self.tile_address(emitter, tile, at);
                emitter.load(lane_type(ty, lanes), address, (extra * self.width()) as i32)
            } else {
                self.value(emitter, id, accesses[id].as_ref(), &values, at, extra, lanes)
            };
            values[id] = Some(value);
            if self.section.filled_by[id] == Some(piece) {
                let tile = self.tile(emitter, id);
                let address = self.tile_address(emitter, tile, at);
                emitter.store(value, address, (extra * self.width()) as i32);
            }
        }
        values
    }

    #[expect(clippy::too_many_arguments, reason = "the place in the loops takes three")]
    fn value(
        &self,
        emitter: &mut Emitter<'_, '_>,
        id: ValueId,
        access: Option<&Access>,
        values: &SecondaryMap<ValueId, Option<Value>>,
        at: Value,
        extra: i64,
        lanes: u32,
    ) -> Value {
        let operand = |id: ValueId| values[id].expect("bug in bpc: a scalar that uses a later one");
        let access = || access.expect("bug in bpc: a load without address");
        match &self.stage.values[id] {
            Scalar::Index { map, dtype } => {
                let mut axes = self.axes.clone();
                axes[self.plan.axis] = emitter.builder.ins().iadd(self.low, at);
                let first = emitter.affine(map, &axes, None);
                let stride = map.strides[self.plan.axis];
                let elements: Vec<Value> = (0..i64::from(lanes))
                    .map(|lane| {
                        let index = emitter.plus(first, (extra + lane) * stride);
                        emitter.cast(index, Dtype::I64, *dtype, 1)
                    })
                    .collect();
                collect(emitter, *dtype, &elements)
            }
            Scalar::Load { .. } => self.read(emitter, access(), at, extra, lanes),
            Scalar::Gather { index, .. } if self.same[*index].is_some() => {
                self.read(emitter, access(), at, extra, lanes)
            }
            Scalar::Gather { index, rows, row_stride, .. } => {
                let access = access();
                let elements: Vec<Value> = (0..lanes)
                    .map(|lane| {
                        let mut row = operand(*index);
                        if lanes > 1 {
                            row = emitter.builder.ins().extractlane(row, lane as u8);
                        }
                        let (row, inside) = known_row(emitter, row, *rows);
                        let bytes = access.dtype.bytes() as i64;
                        let begin = self.element_address(emitter, access, at, extra + i64::from(lane));
                        let offset = emitter.times(row, row_stride * bytes);
                        let address = emitter.builder.ins().iadd(begin, offset);
                        let otherwise = Literal::new(access.dtype, f64::NAN);
                        scalar::load(emitter, access.dtype, address, Some(inside), otherwise)
                    })
                    .collect();
                collect(emitter, access.dtype, &elements)
            }
            Scalar::Unary(op, x) => emitter.unary(op, dtype(self.stage, *x), operand(*x), lanes),
            Scalar::Binary(op, x, y) => emitter.binary(op, dtype(self.stage, *x), operand(*x), operand(*y), lanes),
            Scalar::Select(condition, x, y) => emitter.choose(operand(*condition), operand(*x), operand(*y), lanes),
            Scalar::Cast(x, to) => emitter.cast(operand(*x), dtype(self.stage, *x), *to, lanes),
            Scalar::Literal(_) | Scalar::Random { .. } | Scalar::Reduced(_) => {
                panic!("bug in bpc: {id} is not computed in a piece")
            }
        }
    }

    /// The address of element `at + extra` of the run.
    fn element_address(&self, emitter: &mut Emitter<'_, '_>, access: &Access, at: Value, extra: i64) -> Value {
        let step = access.stride * access.dtype.bytes() as i64;
        if step == 0 {
            return access.row;
        }
        let offset = emitter.times(at, step);
        let address = emitter.builder.ins().iadd(access.row, offset);
        emitter.plus(address, extra * step)
    }

    /// Reads a vector or an element.
    fn read(&self, emitter: &mut Emitter<'_, '_>, access: &Access, at: Value, extra: i64, lanes: u32) -> Value {
        if lanes == 1 {
            return self.read_element(emitter, access, at, extra);
        }
        if access.stride != 1 {
            return self.read_lanes(emitter, access, at, extra, lanes);
        }
        let address = self.element_address(emitter, access, at, extra);
        let Some(outside) = access.outside else {
            return read_vector(emitter, access.dtype, address, lanes);
        };
        if access.guards.is_empty() {
            let condition = access.condition.expect("bug in bpc: an outside without a condition");
            let address = emitter.builder.ins().select(condition, address, outside);
            return read_vector(emitter, access.dtype, address, lanes);
        }
        // Where the first and the last lane are inside, all are.
        let first = self.holds(emitter, access, at, extra);
        let last = self.holds(emitter, access, at, extra + i64::from(lanes) - 1);
        let both = emitter.builder.ins().band(first, last);
        let [all, some, after] = [(); 3].map(|()| emitter.builder.create_block());
        let result = emitter.builder.append_block_param(after, lane_type(access.dtype, lanes));
        emitter.builder.ins().brif(both, all, &[], some, &[]);
        emitter.builder.seal_block(all);
        emitter.builder.seal_block(some);
        emitter.builder.switch_to_block(all);
        let vector = read_vector(emitter, access.dtype, address, lanes);
        emitter.builder.ins().jump(after, &[BlockArg::Value(vector)]);
        emitter.builder.switch_to_block(some);
        let vector = self.read_lanes(emitter, access, at, extra, lanes);
        emitter.builder.ins().jump(after, &[BlockArg::Value(vector)]);
        emitter.builder.seal_block(after);
        emitter.builder.switch_to_block(after);
        result
    }

    fn read_lanes(&self, emitter: &mut Emitter<'_, '_>, access: &Access, at: Value, extra: i64, lanes: u32) -> Value {
        let elements: Vec<Value> =
            (0..i64::from(lanes)).map(|lane| self.read_element(emitter, access, at, extra + lane)).collect();
        collect(emitter, access.dtype, &elements)
    }

    fn read_element(&self, emitter: &mut Emitter<'_, '_>, access: &Access, at: Value, extra: i64) -> Value {
        let mut address = self.element_address(emitter, access, at, extra);
        if let Some(outside) = access.outside {
            let holds = self.holds(emitter, access, at, extra);
            address = emitter.builder.ins().select(holds, address, outside);
        }
        emitter.load(element_type(access.dtype), address, 0)
    }

    /// Whether element `at + extra` is inside.
    fn holds(&self, emitter: &mut Emitter<'_, '_>, access: &Access, at: Value, extra: i64) -> Value {
        let mut all = access.condition;
        for (first, stride, size) in &access.guards {
            let offset = emitter.times(at, *stride);
            let place = emitter.builder.ins().iadd(*first, offset);
            let place = emitter.plus(place, extra * stride);
            let holds = emitter.builder.ins().icmp(IntCC::UnsignedLessThan, place, *size);
            all = Some(all.map_or(holds, |all| emitter.builder.ins().band(all, holds)));
        }
        all.expect("bug in bpc: an outside without a condition")
    }

    /// Writes a vector or an element.
    fn write(&self, emitter: &mut Emitter<'_, '_>, access: &Access, value: Value, at: Value, extra: i64, lanes: u32) {
        let address = self.element_address(emitter, access, at, extra);
        let value = if access.dtype == Dtype::Bool && lanes > 1 { narrow(emitter, value, lanes) } else { value };
        let ty = emitter.builder.func.dfg.value_type(value);
        if lanes == 1 || (access.stride == 1 && access.dtype != Dtype::Bool) {
            return emitter.store(value, address, 0);
        }
        if access.stride == 1 {
            let whole = if lanes == 2 { types::I16 } else { types::I32 };
            let words = emitter.builder.ins().bitcast(
                whole.by(128 / whole.bits()).expect("bug in bpc: no such vector"),
                BITS,
                value,
            );
            let bytes = emitter.builder.ins().extractlane(words, 0);
            return emitter.store(bytes, address, 0);
        }
        debug_assert!(ty.is_vector());
        for lane in 0..lanes as u8 {
            let element = emitter.builder.ins().extractlane(value, lane);
            let address = self.element_address(emitter, access, at, extra + i64::from(lane));
            emitter.store(element, address, 0);
        }
    }
}

/// The row of a gather as 64 bits, and whether it is one of the table.
fn known_row(emitter: &mut Emitter<'_, '_>, index: Value, rows: u64) -> (Value, Value) {
    let row = emitter.builder.ins().sextend(types::I64, index);
    let rows = emitter.integer(rows as i64);
    let inside = emitter.builder.ins().icmp(IntCC::UnsignedLessThan, row, rows);
    (row, inside)
}

/// Single elements as one vector, or the one element itself.
fn collect(emitter: &mut Emitter<'_, '_>, dtype: Dtype, elements: &[Value]) -> Value {
    let lanes = elements.len() as u32;
    if lanes == 1 {
        return elements[0];
    }
    let ty = lane_type(dtype, lanes);
    let mut vector = None;
    for (lane, element) in elements.iter().enumerate() {
        let element =
            if dtype == Dtype::Bool { emitter.builder.ins().uextend(ty.lane_type(), *element) } else { *element };
        vector = Some(match vector {
            None => emitter.builder.ins().scalar_to_vector(ty, element),
            Some(vector) => emitter.builder.ins().insertlane(vector, element, lane as u8),
        });
    }
    let vector = vector.expect("bug in bpc: a vector without lanes");
    if dtype == Dtype::Bool { mask(emitter, vector, lanes) } else { vector }
}

/// Whole numbers as a mask: all ones where they are not 0.
fn mask(emitter: &mut Emitter<'_, '_>, numbers: Value, lanes: u32) -> Value {
    let zero = emitter.splat_literal(Literal::integer(if lanes == 2 { Dtype::I64 } else { Dtype::I32 }, 0), lanes);
    emitter.builder.ins().icmp(IntCC::NotEqual, numbers, zero)
}

/// Neighbours in memory as one vector.
fn read_vector(emitter: &mut Emitter<'_, '_>, dtype: Dtype, address: Value, lanes: u32) -> Value {
    if dtype != Dtype::Bool {
        return emitter.load(lane_type(dtype, lanes), address, 0);
    }
    let whole = if lanes == 2 { types::I16 } else { types::I32 };
    let bytes = emitter.load(whole, address, 0);
    let vector_type = whole.by(128 / whole.bits()).expect("bug in bpc: no such vector");
    let vector = emitter.builder.ins().scalar_to_vector(vector_type, bytes);
    let mut wide = emitter.builder.ins().bitcast(types::I8X16, BITS, vector);
    for _ in 0..(if lanes == 2 { 3 } else { 2 }) {
        wide = emitter.builder.ins().uwiden_low(wide);
    }
    mask(emitter, wide, lanes)
}

/// A mask as bytes of 0 and 1 (in the low lanes of a vector of bytes).
fn narrow(emitter: &mut Emitter<'_, '_>, mask: Value, lanes: u32) -> Value {
    let words = emitter.builder.ins().bitcast(types::I32X4, BITS, mask);
    // Two wide lanes are four halves, of which every second one counts.
    let words = if lanes == 2 {
        let pairs = [0u8, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
        let bytes = emitter.builder.ins().bitcast(types::I8X16, BITS, words);
        let order = emitter.builder.func.dfg.immediates.push(pairs.as_slice().into());
        let bytes = emitter.builder.ins().shuffle(bytes, bytes, order);
        emitter.builder.ins().bitcast(types::I32X4, BITS, bytes)
    } else {
        words
    };
    let halves = emitter.builder.ins().snarrow(words, words);
    let bytes = emitter.builder.ins().snarrow(halves, halves);
    let one = emitter.builder.ins().iconst(types::I8, 1);
    let ones = emitter.builder.ins().splat(types::I8X16, one);
    emitter.builder.ins().band(bytes, ones)
}
