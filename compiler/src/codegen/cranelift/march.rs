//! Marches: all turns of one trajectory with its carries in registers, or turns around vectors of trajectories with their
//! carries side by side in scratch.
//!
//! Expects: a march whose stage has the axes turn and place.
//! Guarantees: no call but of heavy functions; every place gives the bits that it would give alone. What does not depend on the
//! turn is computed once.
//! Leaves out: sums over places, which are nests behind the march.

use super::emitter::{Emitter, element_type};
use super::kernel::{Iterations, stage_nanoseconds};
use super::scalar::{self, dtype};
use super::vector::access::{Access, collect};
use super::{plan, runtime};
use crate::ir::types::Dtype;
use crate::kernel::ir::{Carried, March, Scalar, Stage, ValueId};
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_entity::SecondaryMap;
use cranelift_frontend::Variable;

/// Places that one worker takes through all turns together: their independent chains of operations fill the time that each
/// waits for its own, and a turn of them reads and writes whole cache lines.
const GROUP: u64 = 16;

/// Bytes of scratch for one carry of a group.
const CARRY_BYTES: u64 = GROUP * 8;

/// How often a scalar is computed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Once.
    Ever,
    /// Once a turn, for all places.
    Turn,
    /// For every place.
    Place,
}

/// One value for each scalar; none where it has none yet.
type Values = SecondaryMap<ValueId, Option<Value>>;

/// How the places are cut.
pub(super) fn iterations(march: &March) -> Iterations {
    let nanoseconds = stage_nanoseconds(&march.stage);
    Iterations { count: march.stage.inner[1].div_ceil(GROUP), chunk: None, nanoseconds }
}

/// Bytes of scratch that a worker needs.
pub(super) fn scratch_bytes(march: &March) -> u64 {
    if march.stage.inner[1] > 1 { march.carries.len() as u64 * CARRY_BYTES } else { 0 }
}

/// Emits the groups `begin .. end` of a march.
pub(super) fn emit(emitter: &mut Emitter<'_, '_>, march: &March, begin: Value, end: Value) {
    let when = times(&march.stage);
    let mut code = Code { march, lanes: lanes(march, &when), when, one: Values::new(), wide: Values::new() };
    let zero = emitter.integer(0);
    code.shared(emitter, When::Ever, zero);
    if march.stage.inner[1] == 1 {
        code.alone(emitter);
    } else {
        emitter.loop_range(begin, end, 1, |emitter, group| code.group(emitter, group));
    }
}

/// How often each scalar must be computed.
fn times(stage: &Stage) -> SecondaryMap<ValueId, When> {
    let mut when = SecondaryMap::with_default(When::Ever);
    for (id, scalar) in &stage.values {
        let varies = |axis: usize| scalar.maps().iter().any(|map| map.strides[axis] != 0);
        let any = |wanted: When| scalar.operands().iter().any(|operand| when[*operand] == wanted);
        when[id] = if varies(1) || matches!(scalar, Scalar::Carried(_)) || any(When::Place) {
            When::Place
        } else if varies(0) || any(When::Turn) {
            When::Turn
        } else {
            When::Ever
        };
    }
    when
}

/// Places that go through a turn in one vector: as many as hold all that differs from place to place.
fn lanes(march: &March, when: &SecondaryMap<ValueId, When>) -> u32 {
    let stage = &march.stage;
    if march.stage.inner[1] == 1 {
        return 1;
    }
    let mut width = None;
    let per_place = stage.values.iter().filter(|(id, _)| when[*id] == When::Place);
    let scalars = per_place.map(|(id, scalar)| (dtype(stage, id), matches!(scalar, Scalar::Gather { .. })));
    let carries = march.carries.iter().map(|carry| (carry.dtype, false));
    let stores = stage.stores.iter().map(|store| (dtype(stage, store.value), false));
    for (dtype, is_gather) in scalars.chain(carries).chain(stores) {
        if is_gather || dtype != Dtype::Bool && width.is_some_and(|width| width != dtype.bytes()) {
            return 1;
        }
        if dtype != Dtype::Bool {
            width = Some(dtype.bytes());
        }
    }
    width.map_or(1, |width| (16 / width) as u32)
}

struct Code<'a> {
    march: &'a March,
    lanes: u32,
    when: SecondaryMap<ValueId, When>,
    /// Scalars that all places share, as one element.
    one: Values,
    /// The same in all lanes.
    wide: Values,
}

impl Code<'_> {
    /// Computes what all places share, once or for a turn.
    fn shared(&mut self, emitter: &mut Emitter<'_, '_>, when: When, turn: Value) {
        let stage = &self.march.stage;
        let zero = emitter.integer(0);
        for id in stage.values.keys().filter(|id| self.when[*id] == when) {
            let value = scalar::scalar(emitter, stage, id, &[turn, zero], &self.one, &[]);
            self.one[id] = Some(value);
            self.wide[id] = Some(emitter.splat(value, dtype(stage, id), self.lanes));
        }
    }

    /// `body` for every turn in order.
    fn turns(&mut self, emitter: &mut Emitter<'_, '_>, body: impl FnOnce(&mut Self, &mut Emitter<'_, '_>, Value)) {
        let zero = emitter.integer(0);
        let length = emitter.integer(self.march.stage.inner[0] as i64);
        emitter.loop_range(zero, length, 1, |emitter, index| {
            let mut turn = index;
            if self.march.reverse {
                let last = emitter.plus(length, -1);
                turn = emitter.builder.ins().isub(last, index);
            }
            self.shared(emitter, When::Turn, turn);
            body(self, emitter, turn);
        });
    }

    /// The one place there is, with its carries in registers.
    fn alone(&mut self, emitter: &mut Emitter<'_, '_>) {
        let zero = emitter.integer(0);
        let march = self.march;
        let carries: Vec<Variable> =
            march.carries.iter().map(|carry| emitter.builder.declare_var(element_type(carry.dtype))).collect();
        for (index, carry) in carries.iter().enumerate() {
            let first = self.first(emitter, index, zero);
            emitter.builder.def_var(*carry, first);
        }
        self.turns(emitter, |code, emitter, turn| {
            let given: Vec<Value> = carries.iter().map(|carry| emitter.builder.use_var(*carry)).collect();
            let values = code.place(emitter, [turn, zero], &given, 1);
            code.stores(emitter, [turn, zero], &values, 1);
            for (carry, variable) in march.carries.iter().zip(&carries) {
                emitter.builder.def_var(*variable, known(&values, carry.next));
            }
        });
        for (carry, variable) in march.carries.iter().zip(&carries) {
            if let Some((buffer, map)) = &carry.last {
                let value = emitter.builder.use_var(*variable);
                let address = emitter.address(*buffer, map, &[zero, zero], None);
                emitter.store(value, address, 0);
            }
        }
    }

    /// All turns of a group of places.
    fn group(&mut self, emitter: &mut Emitter<'_, '_>, group: Value) {
        let march = self.march;
        let zero = emitter.integer(0);
        let low = emitter.times(group, GROUP as i64);
        let places = emitter.integer(march.stage.inner[1] as i64);
        let left = emitter.builder.ins().isub(places, low);
        let most = emitter.integer(GROUP as i64);
        let count = emitter.builder.ins().smin(left, most);
        emitter.loop_range(zero, count, 1, |emitter, lane| {
            let place = emitter.builder.ins().iadd(low, lane);
            for index in 0..march.carries.len() {
                let first = self.first(emitter, index, place);
                self.carry(emitter, index, lane).write(emitter, first, zero, 0, 1);
            }
        });
        let lanes = self.lanes;
        self.turns(emitter, |code, emitter, turn| {
            let rest = emitter.builder.ins().band_imm_u(count, i64::from(lanes) - 1);
            let vectors = emitter.builder.ins().isub(count, rest);
            let run = |emitter: &mut Emitter<'_, '_>, lanes: u32, from: Value, to: Value| {
                emitter.loop_range(from, to, i64::from(lanes), |emitter, lane| {
                    let place = emitter.builder.ins().iadd(low, lane);
                    let axes = [turn, place];
                    let given: Vec<Value> = (0..march.carries.len())
                        .map(|index| code.carry(emitter, index, lane).read(emitter, zero, 0, lanes))
                        .collect();
                    let values = code.place(emitter, axes, &given, lanes);
                    code.stores(emitter, axes, &values, lanes);
                    for (index, carry) in march.carries.iter().enumerate() {
                        let next = known(&values, carry.next);
                        code.carry(emitter, index, lane).write(emitter, next, zero, 0, lanes);
                    }
                });
            };
            run(emitter, lanes, zero, vectors);
            if lanes > 1 {
                run(emitter, 1, vectors, count);
            }
        });
        emitter.loop_range(zero, count, 1, |emitter, lane| {
            let place = emitter.builder.ins().iadd(low, lane);
            for (index, carry) in march.carries.iter().enumerate() {
                if let Some((buffer, map)) = &carry.last {
                    let value = self.carry(emitter, index, lane).read(emitter, zero, 0, 1);
                    let address = emitter.address(*buffer, map, &[zero, place], None);
                    emitter.store(value, address, 0);
                }
            }
        });
    }

    /// The first value of a carry at a place.
    fn first(&self, emitter: &mut Emitter<'_, '_>, index: usize, place: Value) -> Value {
        let Carried { dtype, first: (buffer, map), .. } = &self.march.carries[index];
        let zero = emitter.integer(0);
        let address = emitter.address(*buffer, map, &[zero, place], None);
        emitter.load(element_type(*dtype), address, 0)
    }

    /// Where a carry of a place of the group lies in the scratch.
    fn carry(&self, emitter: &mut Emitter<'_, '_>, index: usize, lane: Value) -> Access {
        let dtype = self.march.carries[index].dtype;
        let scratch = emitter.scratch.expect("bug in bpc: a march outside of a kernel");
        let offset = emitter.times(lane, dtype.bytes() as i64);
        let begin = emitter.builder.ins().iadd(scratch, offset);
        let row = emitter.plus(begin, (index as u64 * CARRY_BYTES) as i64);
        Access { row, stride: 1, dtype, condition: None, guards: Vec::new(), outside: None }
    }

    /// All scalars of one turn of one place, or of as many places from this one on as there are lanes.
    fn place(&self, emitter: &mut Emitter<'_, '_>, axes: [Value; 2], given: &[Value], lanes: u32) -> Values {
        let stage = &self.march.stage;
        let mut values = if lanes == 1 { self.one.clone() } else { self.wide.clone() };
        for id in stage.values.keys().filter(|id| self.when[*id] == When::Place) {
            values[id] = Some(if lanes == 1 {
                scalar::scalar(emitter, stage, id, &axes, &values, given)
            } else {
                vector(emitter, stage, id, axes, &values, given, lanes)
            });
        }
        values
    }

    fn stores(&self, emitter: &mut Emitter<'_, '_>, axes: [Value; 2], values: &Values, lanes: u32) {
        let zero = emitter.integer(0);
        for store in &self.march.stage.stores {
            let row = emitter.address(store.buffer, &store.map, &axes, None);
            let dtype = dtype(&self.march.stage, store.value);
            let stride = store.map.strides[1];
            let access = Access { row, stride, dtype, condition: None, guards: Vec::new(), outside: None };
            access.write(emitter, known(values, store.value), zero, 0, lanes);
        }
    }
}

fn known(values: &Values, id: ValueId) -> Value {
    values[id].expect("bug in bpc: a scalar of a turn that was not computed")
}

/// One scalar for as many places as there are lanes.
fn vector(
    emitter: &mut Emitter<'_, '_>,
    stage: &Stage,
    id: ValueId,
    axes: [Value; 2],
    values: &Values,
    given: &[Value],
    lanes: u32,
) -> Value {
    let operand = |id: ValueId| known(values, id);
    if plan::is_heavy(stage, id)
        && let Scalar::Unary(op, x) | Scalar::Binary(op, x, _) = &stage.values[id]
        && let Some(routine) = runtime::routine(op, dtype(stage, *x))
    {
        let operands: Vec<Value> = stage.values[id].operands().into_iter().map(operand).collect();
        return scalar::call(emitter, routine, &operands);
    }
    match &stage.values[id] {
        Scalar::Load { buffer, map, .. } => {
            let row = emitter.address(*buffer, map, &axes, None);
            let dtype = dtype(stage, id);
            let stride = map.strides[1];
            let zero = emitter.integer(0);
            let access = Access { row, stride, dtype, condition: None, guards: Vec::new(), outside: None };
            access.read(emitter, zero, 0, lanes)
        }
        Scalar::Index { map, dtype } => {
            let first = emitter.affine(map, &axes, None);
            let elements: Vec<Value> = (0..i64::from(lanes))
                .map(|lane| {
                    let index = emitter.plus(first, lane * map.strides[1]);
                    emitter.cast(index, Dtype::I64, *dtype, 1)
                })
                .collect();
            collect(emitter, *dtype, &elements)
        }
        Scalar::Carried(index) => given[*index as usize],
        Scalar::Unary(op, x) => emitter.unary(op, dtype(stage, *x), operand(*x), lanes),
        Scalar::Binary(op, x, y) => emitter.binary(op, dtype(stage, *x), operand(*x), operand(*y), lanes),
        Scalar::Select(condition, x, y) => emitter.choose(operand(*condition), operand(*x), operand(*y), lanes),
        Scalar::Cast(x, to) => emitter.cast(operand(*x), dtype(stage, *x), *to, lanes),
        Scalar::Literal(_) | Scalar::Gather { .. } | Scalar::Random { .. } | Scalar::Reduced(_) => {
            panic!("bug in bpc: {id} in a vector of places")
        }
    }
}
