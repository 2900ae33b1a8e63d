//! Loops in time over small states become marches: straight-line code on scalars for one turn of one trajectory.
//!
//! Expects: loops as `repeat` leaves them, before fusion.
//! Guarantees: a march computes what the loop did, a scalar for every element of every small tensor. Where all that the body
//! makes has one leading axis in common, or is a sum over that axis that only linear operations follow, the march has a place
//! for each index of the axis; such a sum is taken after the loop, in the order of [`Reduction`] and so for every number of
//! threads the same. Adding a literal zero, which padding brings, is left out.
//! Leaves out: bodies with calls, inner loops, random numbers or argmax, and those of more scalars than straight-line code is good
//! for; they stay loops over steps.
//!
//! [`Reduction`]: super::ir::Reduction

mod terms;

use super::ir::{
    AffineMap, Buffer, BufferId, Carried, Guard, March, Nest, Program, Reduction, ReductionKind, Repeat, Scalar, Stage,
    Step, Store, ValueId,
};
use crate::ir::types::{Dtype, Literal, TensorType};
use cranelift_entity::{EntityRef, SecondaryMap};
use std::collections::BTreeSet;
use terms::{Term, Turn};

/// Rewrites the loops that are small enough.
pub fn march(program: &mut Program, steps: Vec<Step>) -> Vec<Step> {
    let mut done = Vec::new();
    for step in steps {
        let Step::Repeat(mut repeat) = step else {
            done.push(step);
            continue;
        };
        repeat.steps = march(program, std::mem::take(&mut repeat.steps));
        match places(program, &repeat).into_iter().find_map(|places| attempt(program, &repeat, places)) {
            Some(marched) => {
                marched.buffers.into_iter().for_each(|buffer| {
                    program.buffers.push(buffer);
                });
                done.extend(marched.before.into_iter().map(Step::Nest));
                done.push(Step::March(marched.march));
                done.extend(marched.after.into_iter().map(Step::Nest));
            }
            None => done.push(Step::Repeat(repeat)),
        }
    }
    done
}

/// How many trajectories there may be: the leading sizes of what the loop carries and slices, the largest first, and one.
fn places(program: &Program, repeat: &Repeat) -> Vec<u64> {
    let carries = repeat.initial.iter().map(|(_, carry)| carry);
    let sequences = repeat.sequences.iter().map(|(_, slice)| slice);
    let stacks = repeat.stacks.iter().map(|(slice, _)| slice);
    let leading =
        carries.chain(sequences).chain(stacks).filter_map(|id| program.buffers[*id].ty.shape.first().copied());
    let mut sizes: BTreeSet<u64> = leading.filter(|size| *size > 1).collect();
    sizes.insert(1);
    sizes.into_iter().rev().collect()
}

/// A march in the making.
struct Marched {
    march: March,
    /// New buffers, numbered on from those of the program.
    buffers: Vec<Buffer>,
    /// What precedes the march: first values of sums over the places.
    before: Vec<Nest>,
    /// What follows it: sums over the places, and what is the same for all of them.
    after: Vec<Nest>,
    first_buffer: usize,
}

fn attempt(program: &Program, repeat: &Repeat, places: u64) -> Option<Marched> {
    let mut sums = BTreeSet::new();
    loop {
        let mut turn = Turn::new(program, repeat, places, &sums);
        repeat.steps.iter().try_for_each(|step| turn.step(step))?;
        // A carry that a sum over the places goes into is a sum itself.
        let mut found = false;
        for (_, carry) in &repeat.initial {
            if !turn.has_row(*carry) && !sums.contains(carry) {
                let next = next_value(repeat, *carry);
                let terms = turn.terms(next, *carry)?;
                found |= terms.iter().any(|term| !matches!(term, Term::Here(_))) && sums.insert(*carry);
            }
        }
        if !found {
            return finish(turn, program, repeat, &sums);
        }
    }
}

/// The buffer that holds the carry after a turn.
fn next_value(repeat: &Repeat, carry: BufferId) -> BufferId {
    repeat.advance.iter().find(|(_, to)| *to == carry).map_or(carry, |(next, _)| *next)
}

fn finish(mut turn: Turn<'_>, program: &Program, repeat: &Repeat, sums: &BTreeSet<BufferId>) -> Option<Marched> {
    let places = turn.places;
    let march = March {
        name: repeat.name.clone(),
        reverse: repeat.reverse,
        carries: Vec::new(),
        stage: Stage { inner: vec![repeat.length, places], ..Stage::default() },
    };
    let mut marched = Marched {
        march,
        buffers: Vec::new(),
        before: Vec::new(),
        after: Vec::new(),
        first_buffer: program.buffers.len(),
    };
    let mut stores = Vec::new();
    for (first, carry) in &repeat.initial {
        let ty = &program.buffers[*carry].ty;
        let is_sum = sums.contains(carry);
        let terms = turn.terms(next_value(repeat, *carry), *carry)?;
        let row = if turn.has_row(*carry) { terms.len() as i64 } else { 0 };
        let elements = (ty.dtype, terms.len() as u64);
        let shared = (row == 0 && places > 1).then(|| marched.shared(1, places, elements, *carry, is_sum));
        let first = if is_sum { marched.at_first_place(places, elements, *first) } else { *first };
        for (element, term) in terms.into_iter().enumerate() {
            let next = turn.value(term, is_sum)?;
            let at = |row: i64| AffineMap { offset: element as i64, strides: vec![0, row] };
            let count = ty.elements() as i64;
            let first = (first, at(if is_sum { count } else { row }));
            let last = shared.map_or((*carry, at(row)), |buffer| (buffer, at(count)));
            marched.march.carries.push(Carried { dtype: ty.dtype, first, next, last: Some(last) });
        }
    }
    for (slice, whole) in &repeat.stacks {
        let ty = &program.buffers[*slice].ty;
        let elements = ty.elements() as i64;
        if elements == 0 {
            continue;
        }
        let terms = turn.terms(*slice, *slice)?;
        let row = if turn.has_row(*slice) { terms.len() as i64 } else { 0 };
        let is_sum = terms.iter().any(|term| matches!(term, Term::Sum(_)));
        let each = (ty.dtype, elements as u64);
        let shared = (row == 0 && places > 1).then(|| marched.shared(repeat.length, places, each, *whole, is_sum));
        for (element, term) in terms.into_iter().enumerate() {
            let value = turn.value(term, is_sum)?;
            let (buffer, strides) = match shared {
                Some(buffer) => (buffer, vec![elements * places as i64, elements]),
                None => (*whole, vec![elements, row]),
            };
            stores.push(Store { buffer, map: AffineMap { offset: element as i64, strides }, value });
        }
    }
    marched.march.stage.stores = stores;
    turn.live_values(&mut marched.march);
    Some(marched)
}

impl Marched {
    /// A new buffer between steps.
    fn buffer(&mut self, ty: TensorType) -> BufferId {
        let buffer = BufferId::new(self.first_buffer + self.buffers.len());
        self.buffers.push(Buffer::temporary(ty));
        buffer
    }

    /// A buffer with a row for each place, the first of which is `first`; the others are zero.
    fn at_first_place(&mut self, places: u64, (dtype, elements): (Dtype, u64), first: BufferId) -> BufferId {
        let buffer = self.buffer(TensorType::new(dtype, [places, elements]));
        if elements > 0 {
            let mut stage = Stage { inner: vec![places, elements], n_inside: 1, ..Stage::default() };
            let guards = vec![Guard { map: AffineMap::axis(0, 2), low: 0, high: 1 }];
            let otherwise = Literal::new(dtype, 0.0);
            let load = Scalar::Load { buffer: first, map: AffineMap::axis(1, 2), guards, otherwise };
            let value = stage.value(load, dtype);
            let map = AffineMap { offset: 0, strides: vec![elements as i64, 1] };
            stage.stores.push(Store { buffer, map, value });
            self.before.push(one_stage("pad", stage));
        }
        buffer
    }

    /// A buffer in which each place keeps its own of what all share, `lead` times `elements` of them, and the nest that makes
    /// `whole` of it: the sum over the places, or what the first place has.
    fn shared(
        &mut self,
        lead: u64,
        places: u64,
        (dtype, elements): (Dtype, u64),
        whole: BufferId,
        is_sum: bool,
    ) -> BufferId {
        let buffer = self.buffer(TensorType::new(dtype, [lead, places, elements]));
        if lead == 0 || elements == 0 {
            return buffer;
        }
        let axes = [(lead, (places * elements) as i64, elements as i64), (elements, 1, 1)];
        let axes: Vec<(u64, i64, i64)> = axes.into_iter().filter(|(size, ..)| *size > 1).collect();
        let mut stage = Stage { inner: axes.iter().map(|axis| axis.0).collect(), n_inside: 1, ..Stage::default() };
        let mut from = AffineMap { offset: 0, strides: axes.iter().map(|axis| axis.1).collect() };
        let mut to = AffineMap { offset: 0, strides: axes.iter().map(|axis| axis.2).collect() };
        if is_sum {
            stage.reduced = vec![places];
            from.strides.push(elements as i64);
            to.strides.push(0);
        }
        let load = Scalar::Load { buffer, map: from, guards: vec![], otherwise: Literal::new(dtype, 0.0) };
        let mut value = stage.value(load, dtype);
        if is_sum {
            stage.reductions.push(Reduction { kind: ReductionKind::Sum, value });
            value = stage.value(Scalar::Reduced(0), dtype);
        }
        stage.stores.push(Store { buffer: whole, map: to, value });
        self.after.push(one_stage(if is_sum { "reduce_sum" } else { "copy" }, stage));
        buffer
    }
}

fn one_stage(name: &str, stage: Stage) -> Nest {
    Nest { name: name.to_owned(), outer: vec![], stages: vec![stage], scratch_bytes: 0 }
}

impl Turn<'_> {
    /// Moves the scalars that a store or a carry needs into the march.
    fn live_values(&mut self, march: &mut March) {
        let mut live = SecondaryMap::<ValueId, bool>::new();
        march.stage.stores.iter().for_each(|store| live[store.value] = true);
        march.carries.iter().for_each(|carry| live[carry.next] = true);
        for (id, scalar) in self.stage.values.iter().rev() {
            if live[id] {
                scalar.operands().into_iter().for_each(|operand| live[operand] = true);
            }
        }
        let mut names = SecondaryMap::<ValueId, Option<ValueId>>::new();
        let name = |names: &SecondaryMap<ValueId, Option<ValueId>>, id: ValueId| {
            names[id].expect("bug in bpc: a scalar that is needed was dropped")
        };
        for (id, scalar) in self.stage.values.iter().filter(|(id, _)| live[*id]) {
            let mut scalar = scalar.clone();
            scalar.rename(|operand| name(&names, operand));
            let new = march.stage.values.push(scalar);
            march.stage.dtypes[new] = Some(self.stage.dtype(id));
            names[id] = Some(new);
        }
        march.stage.n_inside = march.stage.values.len() as u32;
        march.stage.stores.iter_mut().for_each(|store| store.value = name(&names, store.value));
        march.carries.iter_mut().for_each(|carry| carry.next = name(&names, carry.next));
    }
}
