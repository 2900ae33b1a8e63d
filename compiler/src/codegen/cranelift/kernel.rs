//! A nest or a march as a function `kernel(frame, workspace, scratch, begin, end)` that does a range of its iterations.
//!
//! Expects: `frame` to point at the addresses of the state block and of the arguments' addresses, followed by the turn of
//! each repeat around it, outermost first.
//! Guarantees: iterations are numbered the same for every number of threads; see [`Iterations`].
//! Leaves out: the stages (`scalar`, `vector`) and marches (`march`).

use super::arithmetic::lane_type;
use super::emitter::Emitter;
use super::plan::Plan;
use super::{march, runtime, scalar, step, vector};
use crate::ir::types::Dtype;
use crate::kernel::ir::{March, Nest, Program, Repeat, Scalar, Stage};
use cranelift_codegen::ir::{InstBuilder, Signature, Value, types};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use cranelift_module::Module;

/// Elements of the vector axis that workers do not share, and that are in scratch at a time.
pub(super) const TILE: u64 = 512;

/// What a function is made of.
#[derive(Clone, Copy)]
pub(super) enum Kernel<'a> {
    Nest(&'a Nest),
    March(&'a March),
}

impl Kernel<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Kernel::Nest(nest) => &nest.name,
            Kernel::March(march) => &march.name,
        }
    }

    pub(super) fn iterations(&self) -> Iterations {
        match self {
            Kernel::Nest(nest) => Iterations::of(nest),
            Kernel::March(march) => march::iterations(march),
        }
    }

    /// Bytes of scratch that a worker needs.
    pub(super) fn scratch_bytes(&self) -> u64 {
        match self {
            Kernel::Nest(nest) => scratch_bytes(nest),
            Kernel::March(march) => march::scratch_bytes(march),
        }
    }
}

/// How the work of a kernel is cut.
pub(super) struct Iterations {
    /// How many pieces there are.
    pub(super) count: u64,
    /// Indices of the first inner axis in one piece, where that axis is cut; else a piece is a place of the outer axes.
    pub(super) chunk: Option<u64>,
    /// About how many nanoseconds all of it takes.
    pub(super) nanoseconds: f64,
}

impl Iterations {
    /// Of a nest.
    pub(super) fn of(nest: &Nest) -> Iterations {
        let outer: u64 = nest.outer.iter().product();
        let nanoseconds = outer as f64 * nest.stages.iter().map(stage_nanoseconds).sum::<f64>();
        match nest.stages.as_slice() {
            [stage] if nest.outer.is_empty() && !stage.inner.is_empty() => {
                let chunk = if stage.vector_axis == Some(0) { TILE } else { 1 };
                Iterations { count: stage.inner[0].div_ceil(chunk), chunk: Some(chunk), nanoseconds }
            }
            _ => Iterations { count: outer, chunk: None, nanoseconds },
        }
    }
}

/// A rough estimate, fixed by the program alone.
pub(super) fn stage_nanoseconds(stage: &Stage) -> f64 {
    let places: u64 = stage.inner.iter().chain(&stage.reduced).product();
    let each: f64 = stage.values.iter().map(|(id, scalar)| scalar_nanoseconds(scalar, stage.dtypes[id])).sum();
    places as f64 * each
}

fn scalar_nanoseconds(scalar: &Scalar, dtype: Option<Dtype>) -> f64 {
    match scalar {
        Scalar::Unary(op, _) | Scalar::Binary(op, ..)
            if runtime::routine(op, dtype.unwrap_or(Dtype::F32)).is_some() =>
        {
            1.0
        }
        Scalar::Random { .. } => 3.0,
        Scalar::Literal(_) | Scalar::Reduced(_) | Scalar::Carried(_) => 0.0,
        _ => 0.15,
    }
}

/// The signature of every kernel.
pub(super) fn signature(convention: CallConv) -> Signature {
    let mut signature = Signature::new(convention);
    signature.params.resize(5, cranelift_codegen::ir::AbiParam::new(lane_type(Dtype::I64, 1)));
    signature
}

/// Emits the function of a kernel inside of these repeats.
pub(super) fn emit(
    mut builder: FunctionBuilder<'_>,
    module: &mut dyn Module,
    program: &Program,
    kernel: Kernel<'_>,
    repeats: &[&Repeat],
) {
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    let [frame, workspace, scratch, begin, end] = builder.block_params(entry)[..] else {
        panic!("bug in bpc: a kernel has five parameters");
    };
    let state = builder.ins().load(types::I64, super::emitter::MEMORY, frame, 0);
    let arguments = builder.ins().load(types::I64, super::emitter::MEMORY, frame, 8);
    let mut emitter = Emitter::new(builder, module, program, [state, arguments, workspace], Some(scratch));
    for (depth, repeat) in repeats.iter().enumerate() {
        let turn = emitter.load(types::I64, frame, 8 * (depth as i32 + step::FRAME_HEAD));
        emitter.enter(repeat, turn);
    }
    match kernel {
        Kernel::Nest(nest) => self::nest(&mut emitter, nest, begin, end),
        Kernel::March(march) => march::emit(&mut emitter, march, begin, end),
    }
    emitter.finish();
}

fn nest(emitter: &mut Emitter<'_, '_>, nest: &Nest, begin: Value, end: Value) {
    match Iterations::of(nest).chunk {
        Some(chunk) => {
            let low = emitter.times(begin, chunk as i64);
            let high = emitter.times(end, chunk as i64);
            let size = emitter.integer(nest.stages[0].inner[0] as i64);
            let high = emitter.builder.ins().smin(high, size);
            stage(emitter, nest, &nest.stages[0], &[], Some((low, high)));
        }
        None if nest.outer.is_empty() => {
            nest.stages.iter().for_each(|part| stage(emitter, nest, part, &[], None));
        }
        None => emitter.loop_range(begin, end, 1, |emitter, flat| {
            let outer = coordinates(emitter, &nest.outer, flat);
            nest.stages.iter().for_each(|part| stage(emitter, nest, part, &outer, None));
        }),
    }
}

fn stage(emitter: &mut Emitter<'_, '_>, nest: &Nest, stage: &Stage, outer: &[Value], share: scalar::Share) {
    match Plan::of(stage, nest.outer.len()) {
        Some(plan) => vector::emit(emitter, stage, &plan, tiles(nest), outer, share),
        None => scalar::emit(emitter, stage, outer, share),
    }
}

/// Where the tiles begin in the scratch.
fn tiles(nest: &Nest) -> u64 {
    nest.scratch_bytes.next_multiple_of(64)
}

/// The indices of the axes with these sizes at a place of their product.
fn coordinates(emitter: &mut Emitter<'_, '_>, sizes: &[u64], mut flat: Value) -> Vec<Value> {
    let mut indices = Vec::new();
    for (axis, size) in sizes.iter().enumerate().rev() {
        if axis == 0 {
            indices.push(flat);
        } else {
            let index = emitter.builder.ins().urem_imm_u(flat, *size as i64);
            flat = emitter.builder.ins().udiv_imm_u(flat, *size as i64);
            indices.push(index);
        }
    }
    indices.reverse();
    indices
}

fn scratch_bytes(nest: &Nest) -> u64 {
    let plans = nest.stages.iter().filter_map(|stage| Plan::of(stage, nest.outer.len()));
    tiles(nest) + plans.map(|plan| plan.tile_bytes).max().unwrap_or(0)
}
