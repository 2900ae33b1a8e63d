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

/// Bytes of scratch for one scalar of every place of a group.
const ROW_BYTES: u64 = GROUP * 8;

/// Operations of a place that stand between its loads and its stores. The processor works on the next place while one waits for
/// its chain of operations, but sees only a few hundred instructions ahead; so a longer turn is cut into sections, and all places
/// of the group go through one section after the other.
const SECTION: usize = 72;

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
    if march.stage.inner[1] == 1 {
        return 0;
    }
    let sections = Sections::of(march, &times(&march.stage));
    (march.carries.len() as u64 + sections.rows) * ROW_BYTES
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

/// The turn of a place in pieces. Loads and carries are read again in each; other scalars that a later piece needs have a row of
/// the scratch after those of the carries.
struct Sections {
    /// The scalars of each, without loads and carries.
    ranges: Vec<Vec<ValueId>>,
    /// Which one computes a scalar.
    number: SecondaryMap<ValueId, usize>,
    /// Where a later one finds it.
    row: SecondaryMap<ValueId, Option<u64>>,
    /// How many rows there are.
    rows: u64,
}

impl Sections {
    fn of(march: &March, when: &SecondaryMap<ValueId, When>) -> Sections {
        let stage = &march.stage;
        let computed: Vec<ValueId> =
            stage.values.keys().filter(|id| when[*id] == When::Place && !is_read(&stage.values[*id])).collect();
        let count = computed.len().div_ceil(SECTION).max(1);
        let size = computed.len().div_ceil(count).max(1);
        let mut ranges: Vec<Vec<ValueId>> = computed.chunks(size).map(<[ValueId]>::to_vec).collect();
        if ranges.is_empty() {
            ranges.push(Vec::new());
        }
        let mut number = SecondaryMap::new();
        for (index, range) in ranges.iter().enumerate() {
            range.iter().for_each(|id| number[*id] = index);
        }
        // The last section that reads each scalar.
        let mut last = SecondaryMap::<ValueId, usize>::new();
        for id in &computed {
            stage.values[*id].operands().into_iter().for_each(|operand| last[operand] = last[operand].max(number[*id]));
        }
        sinks(march).for_each(|id| last[id] = ranges.len() - 1);
        let mut sections = Sections { ranges, number, row: SecondaryMap::new(), rows: 0 };
        let mut free: Vec<u64> = Vec::new();
        for index in 0..sections.ranges.len() {
            let ended = computed.iter().filter(|id| index > 0 && last[**id] == index - 1);
            free.extend(ended.filter_map(|id| sections.row[*id]));
            for id in sections.ranges[index].clone() {
                if last[id] > index {
                    sections.row[id] = Some(free.pop().unwrap_or_else(|| {
                        sections.rows += 1;
                        sections.rows - 1
                    }));
                }
            }
        }
        sections
    }

    /// The scalars that a section computes or reads, in order.
    fn needed(&self, march: &March, when: &SecondaryMap<ValueId, When>, section: usize) -> Vec<ValueId> {
        let mut needed = SecondaryMap::<ValueId, bool>::new();
        self.ranges[section].iter().for_each(|id| needed[*id] = true);
        if section + 1 == self.ranges.len() {
            sinks(march).for_each(|id| needed[id] = true);
        }
        let mut found = Vec::new();
        for (id, scalar) in march.stage.values.iter().rev().filter(|(id, _)| when[*id] == When::Place) {
            if needed[id] {
                found.push(id);
                if self.number[id] == section {
                    scalar.operands().into_iter().for_each(|operand| needed[operand] = true);
                }
            }
        }
        found.reverse();
        found
    }
}

/// Whether a scalar comes from memory, and its own operands are none.
fn is_read(scalar: &Scalar) -> bool {
    matches!(scalar, Scalar::Load { .. } | Scalar::Carried(_) | Scalar::Index { .. })
}

/// What is stored and what the carries become.
fn sinks(march: &March) -> impl Iterator<Item = ValueId> {
    march.stage.stores.iter().map(|store| store.value).chain(march.carries.iter().map(|carry| carry.next))
}

/// A turn, a place, and where the place is in its group.
#[derive(Clone, Copy)]
struct At {
    turn: Value,
    place: Value,
    lane: Value,
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
            let values = code.place(emitter, [turn, zero], &given);
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
        let sections = Sections::of(march, &self.when);
        self.turns(emitter, |code, emitter, turn| {
            let rest = emitter.builder.ins().band_imm_u(count, i64::from(lanes) - 1);
            let vectors = emitter.builder.ins().isub(count, rest);
            for number in 0..sections.ranges.len() {
                let run = |emitter: &mut Emitter<'_, '_>, lanes: u32, from: Value, to: Value| {
                    emitter.loop_range(from, to, i64::from(lanes), |emitter, lane| {
                        let place = emitter.builder.ins().iadd(low, lane);
                        code.section(emitter, &sections, number, At { turn, place, lane }, lanes);
                    });
                };
                run(emitter, lanes, zero, vectors);
                if lanes > 1 {
                    run(emitter, 1, vectors, count);
                }
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

    /// A row of the scratch at a place of the group.
    fn row(&self, emitter: &mut Emitter<'_, '_>, row: u64, dtype: Dtype, lane: Value) -> Access {
        let scratch = emitter.scratch.expect("bug in bpc: a march outside of a kernel");
        let offset = emitter.times(lane, dtype.bytes() as i64);
        let begin = emitter.builder.ins().iadd(scratch, offset);
        let row = emitter.plus(begin, (row * ROW_BYTES) as i64);
        Access { row, stride: 1, dtype, condition: None, guards: Vec::new(), outside: None, bits: None }
    }

    /// The row of a carry at a place of the group.
    fn carry(&self, emitter: &mut Emitter<'_, '_>, index: usize, lane: Value) -> Access {
        self.row(emitter, index as u64, self.march.carries[index].dtype, lane)
    }

    /// The row of a scalar that a later section reads.
    fn handed(&self, emitter: &mut Emitter<'_, '_>, row: u64, id: ValueId, lane: Value) -> Access {
        self.row(emitter, self.march.carries.len() as u64 + row, dtype(&self.march.stage, id), lane)
    }

    /// A section of the turn at one place, or at as many places from this one on as there are lanes.
    fn section(&self, emitter: &mut Emitter<'_, '_>, sections: &Sections, number: usize, at: At, lanes: u32) {
        let stage = &self.march.stage;
        let zero = emitter.integer(0);
        let mut values = if lanes == 1 { self.one.clone() } else { self.wide.clone() };
        let is_last = number + 1 == sections.ranges.len();
        let axes = [at.turn, at.place];
        for id in sections.needed(self.march, &self.when, number) {
            values[id] = Some(match (&stage.values[id], sections.row[id]) {
                (Scalar::Carried(index), _) => {
                    self.carry(emitter, *index as usize, at.lane).read(emitter, zero, 0, lanes)
                }
                (_, Some(row)) if sections.number[id] < number => {
                    self.handed(emitter, row, id, at.lane).read(emitter, zero, 0, lanes)
                }
                _ if lanes == 1 => scalar::scalar(emitter, stage, id, &axes, &values, &[]),
                _ => vector(emitter, stage, id, axes, &values, lanes),
            });
        }
        for id in sections.ranges[number].clone() {
            if let Some(row) = sections.row[id] {
                self.handed(emitter, row, id, at.lane).write(emitter, known(&values, id), zero, 0, lanes);
            }
        }
        if is_last {
            self.stores(emitter, axes, &values, lanes);
            for (index, carry) in self.march.carries.iter().enumerate() {
                let next = known(&values, carry.next);
                self.carry(emitter, index, at.lane).write(emitter, next, zero, 0, lanes);
            }
        }
    }

    /// All scalars of one turn of the one place there is.
    fn place(&self, emitter: &mut Emitter<'_, '_>, axes: [Value; 2], given: &[Value]) -> Values {
        let mut values = self.one.clone();
        for id in self.march.stage.values.keys().filter(|id| self.when[*id] == When::Place) {
            values[id] = Some(scalar::scalar(emitter, &self.march.stage, id, &axes, &values, given));
        }
        values
    }

    fn stores(&self, emitter: &mut Emitter<'_, '_>, axes: [Value; 2], values: &Values, lanes: u32) {
        let zero = emitter.integer(0);
        for store in &self.march.stage.stores {
            let row = emitter.address(store.buffer, &store.map, &axes, None);
            let dtype = dtype(&self.march.stage, store.value);
            let stride = store.map.strides[1];
            let access = Access { row, stride, dtype, condition: None, guards: Vec::new(), outside: None, bits: None };
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
            let access = Access { row, stride, dtype, condition: None, guards: Vec::new(), outside: None, bits: None };
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
        Scalar::Unary(op, x) => emitter.unary(op, dtype(stage, *x), operand(*x), lanes),
        Scalar::Binary(op, x, y) => emitter.binary(op, dtype(stage, *x), operand(*x), operand(*y), lanes),
        Scalar::Select(condition, x, y) => emitter.choose(operand(*condition), operand(*x), operand(*y), lanes),
        Scalar::Cast(x, to) => emitter.cast(operand(*x), dtype(stage, *x), *to, lanes),
        Scalar::Literal(_)
        | Scalar::Gather { .. }
        | Scalar::Random { .. }
        | Scalar::Reduced(_)
        | Scalar::Carried(_) => {
            panic!("bug in bpc: {id} in a vector of places")
        }
    }
}
