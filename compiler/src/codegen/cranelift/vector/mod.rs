//! Stages by vectors: loops over tiles of the vector axis, piece by piece, with the calls of heavy functions between.
//!
//! Expects: a [`Plan`] of the stage.
//! Guarantees: the bits of the element-by-element path (`scalar`); memory outside of a buffer is not touched.
//! Leaves out: which value is computed where (`plan`), what happens within a tile (`run`, `values`, `access`).

pub(super) mod access;
mod run;
mod values;

use super::arithmetic::initial;
use super::emitter::Emitter;
use super::kernel::TILE;
use super::plan::{Plan, Section};
use super::scalar::{self, SUM_LANES, Share, dtype};
use crate::ir::types::{Dtype, Literal};
use crate::kernel::ir::{ReductionKind, Stage, ValueId};
use cranelift_codegen::ir::{InstBuilder, Value};
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
    /// Added into lanes.
    Rows(&'a [Lanes]),
}

/// The vectors in which a reduction along the axis keeps what it has.
struct Lanes {
    values: Vec<Variable>,
    /// Of an arg max, where the values came from.
    indices: Vec<Variable>,
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
    let mut sums: Vec<Lanes> = Vec::new();
    for reduction in &stage.reductions {
        let dtype = dtype(stage, reduction.value);
        let variables = |emitter: &mut Emitter<'_, '_>, first: Value| -> Vec<Variable> {
            let ty = emitter.builder.func.dfg.value_type(first);
            let variables: Vec<Variable> = (0..groups).map(|_| emitter.builder.declare_var(ty)).collect();
            variables.iter().for_each(|variable| emitter.builder.def_var(*variable, first));
            variables
        };
        let first = emitter.splat_literal(initial(reduction.kind, dtype), plan.lanes);
        let values = variables(emitter, first);
        let mut indices = Vec::new();
        if reduction.kind == ReductionKind::Argmax {
            let zero = emitter.splat_literal(Literal::integer(plan.index_dtype(), 0), plan.lanes);
            indices = variables(emitter, zero);
        }
        sums.push(Lanes { values, indices });
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
        let mut sums: Vec<(Value, Option<Value>)> = Vec::new();
        for (group, value) in lanes.values.iter().enumerate() {
            let index = lanes.indices.get(group).map(|index| emitter.builder.use_var(*index));
            sums.push((emitter.builder.use_var(*value), index));
        }
        let mut lanes = plan.lanes;
        while sums.len() > 1 || lanes == plan.lanes {
            if let [(value, index)] = sums[..] {
                let mut take = |vector: Value, lane: u8| emitter.builder.ins().extractlane(vector, lane);
                sums = (0..lanes as u8).map(|lane| (take(value, lane), index.map(|index| take(index, lane)))).collect();
                lanes = 1;
            }
            let upper = sums.split_off(sums.len() / 2);
            for (sum, x) in sums.iter_mut().zip(upper) {
                *sum = match (*sum, x) {
                    ((value, Some(index)), (x, Some(at))) => {
                        let (value, index) = emitter.first_largest(dtype, (value, index), (x, at), lanes);
                        (value, Some(index))
                    }
                    ((value, _), (x, _)) => (emitter.accumulate(reduction.kind, dtype, value, x, lanes), None),
                };
            }
        }
        reduced.push(match sums[0] {
            (_, Some(index)) => emitter.cast(index, plan.index_dtype(), Dtype::I32, 1),
            (value, None) => value,
        });
    }
    let mut values = SecondaryMap::new();
    for id in stage.values.keys().skip(stage.n_inside as usize) {
        values[id] = Some(scalar::scalar(emitter, stage, id, &axes, &values, &reduced));
    }
    scalar::store(emitter, stage, &axes, &values);
}
