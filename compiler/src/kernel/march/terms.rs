//! One turn of a loop as scalars: what each element of each buffer of the body holds at one place.
//!
//! Expects: the steps of the body in order, as `region` leaves them.
//! Guarantees: equal scalars are one; a sum over the places is told from what each place has for itself.
//! Leaves out: what happens to carries and stacks in the end (the parent module).

use crate::ir::op::Op;
use crate::ir::types::{Dtype, Literal};
use crate::kernel::ir::{
    AffineMap, BufferId, Guard, Nest, Place, Product, Program, Reduction, ReductionKind, Repeat, Scalar, Stage, Step,
    Store, ValueId,
};
use cranelift_entity::SecondaryMap;
use std::collections::{BTreeMap, BTreeSet};

/// The most scalars in a turn: straight-line code for more would not stay in the instruction cache.
const MOST_SCALARS: usize = 4096;
/// The most terms of a matrix product for one place; the product routine is faster on more.
const MOST_PRODUCT_TERMS: u64 = 512;
/// The most elements of a stage over which no axis is that of the places.
const MOST_SHARED: u64 = 1024;

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// This scalar, at each place its own.
    Here(ValueId),
    /// The sum of this scalar over all places.
    Sum(ValueId),
    /// Something that needs all places at once.
    Lost,
}

/// The elements of a buffer.
struct Content {
    /// Whether each place has a row of it; else all places share it.
    has_row: bool,
    /// Of the row or of the whole; none where nothing was stored.
    terms: Vec<Option<Term>>,
}

/// A turn in the making.
pub struct Turn<'a> {
    program: &'a Program,
    repeat: &'a Repeat,
    /// How many places there are.
    pub places: u64,
    /// All scalars so far.
    pub stage: Stage,
    found: BTreeMap<Scalar, ValueId>,
    /// Whether a scalar is the same at all places.
    same: SecondaryMap<ValueId, bool>,
    memory: BTreeMap<BufferId, Content>,
}

/// A stage and the axis that runs over the places.
struct Placed {
    stage: Stage,
    axis: Option<usize>,
}

impl<'a> Turn<'a> {
    /// Before the first step; `sums` are the carries that are sums over the places.
    pub fn new(program: &'a Program, repeat: &'a Repeat, places: u64, sums: &BTreeSet<BufferId>) -> Turn<'a> {
        let mut turn = Turn {
            program,
            repeat,
            places,
            stage: Stage::default(),
            found: BTreeMap::new(),
            same: SecondaryMap::new(),
            memory: BTreeMap::new(),
        };
        let mut number = 0;
        for (_, carry) in &repeat.initial {
            let has_row = turn.has_row(*carry);
            let is_sum = sums.contains(carry);
            let ty = &program.buffers[*carry].ty;
            let count = if has_row { ty.elements() / places } else { ty.elements() };
            let terms = (0..count).map(|_| {
                let value = turn.push(Scalar::Carried(number), ty.dtype, !has_row && !is_sum);
                number += 1;
                Some(if is_sum { Term::Sum(value) } else { Term::Here(value) })
            });
            let terms = terms.collect();
            turn.memory.insert(*carry, Content { has_row, terms });
        }
        turn
    }

    /// Whether each place has a row of a carry or a slice.
    pub fn has_row(&self, buffer: BufferId) -> bool {
        self.places > 1 && self.program.buffers[buffer].ty.shape.first() == Some(&self.places)
    }

    /// The scalar of a term as it was wanted, for each place or summed over them; none where it is something else.
    pub fn value(&mut self, term: Term, is_sum: bool) -> Option<ValueId> {
        match (term, is_sum) {
            (Term::Here(value), false) | (Term::Sum(value), true) => Some(value),
            (Term::Here(zero), true) if self.is_zero(zero) => Some(zero),
            (Term::Here(shared), true) if self.same[shared] => Some(self.at_first_place(shared)),
            _ => None,
        }
    }

    /// The number that a scalar is whatever the turn and the place.
    fn known(&self, value: ValueId) -> Option<Literal> {
        match &self.stage.values[value] {
            Scalar::Literal(literal) => Some(*literal),
            _ => None,
        }
    }

    /// What an operation on known indices gives: where an element stands in a concatenation or in padding.
    fn known_condition(&self, op: &Op, x: Term, y: Term) -> Option<bool> {
        let (Term::Here(x), Term::Here(y)) = (x, y) else { return None };
        let (x, y) = (self.known(x)?, self.known(y)?);
        match op {
            _ if x.dtype.is_float() => None,
            Op::Less {} => Some(x.as_i64() < y.as_i64()),
            Op::LessEqual {} => Some(x.as_i64() <= y.as_i64()),
            Op::And {} if x.dtype == Dtype::Bool => Some(x.as_i64() != 0 && y.as_i64() != 0),
            _ => None,
        }
    }

    /// Whether a scalar is the number 0.
    fn is_zero(&self, value: ValueId) -> bool {
        self.known(value).is_some_and(|literal| literal.as_f64() == 0.0)
    }

    /// What the elements of a buffer are where it stands for a carry or slice; none where that cannot be said.
    pub fn terms(&mut self, buffer: BufferId, stands_for: BufferId) -> Option<Vec<Term>> {
        let has_row = self.has_row(stands_for);
        let elements = self.program.buffers[stands_for].ty.elements();
        let count = if has_row { elements / self.places } else { elements };
        if count > MOST_SCALARS as u64 {
            return None;
        }
        if let Some(content) = self.memory.get(&buffer) {
            return (content.has_row == has_row).then(|| content.terms.iter().copied().collect())?;
        }
        let row = if has_row { count as i64 } else { 0 };
        let dtype = self.program.buffers[buffer].ty.dtype;
        (0..count as i64).map(|element| self.outside(buffer, element, row, dtype)).collect()
    }

    /// Adds a scalar, or finds the equal one.
    fn push(&mut self, scalar: Scalar, dtype: Dtype, same: bool) -> ValueId {
        if let Some(id) = self.found.get(&scalar) {
            return *id;
        }
        let id = self.stage.values.push(scalar.clone());
        self.stage.dtypes[id] = Some(dtype);
        self.same[id] = same || self.places == 1;
        self.found.insert(scalar, id);
        id
    }

    fn literal(&mut self, literal: Literal) -> Term {
        Term::Here(self.push(Scalar::Literal(literal), literal.dtype, true))
    }

    /// Does a step; none where a turn cannot hold it.
    pub fn step(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Nest(Nest { outer, stages, .. }) if outer.is_empty() => {
                stages.iter().try_for_each(|stage| self.stage(stage))
            }
            Step::Product(product) => self.product(product),
            Step::Nest(_) | Step::Call(_) | Step::Repeat(_) | Step::March(_) => None,
        }
    }

    fn product(&mut self, product: &Product) -> Option<()> {
        let Product { m, n, k, batch, a, b, c } = product;
        let terms = batch.iter().chain([m, n, k]).try_fold(1u64, |terms, size| terms.checked_mul(*size))?;
        if terms / self.places > MOST_PRODUCT_TERMS {
            return None;
        }
        let dtype = self.program.buffers[c.buffer].ty.dtype;
        let map = |operand: &crate::kernel::ir::ProductOperand, matrix: [i64; 3]| AffineMap {
            offset: operand.offset,
            strides: [operand.batch_strides.as_slice(), &matrix].concat(),
        };
        let mut stage = Stage { inner: [batch.as_slice(), &[*m, *n]].concat(), reduced: vec![*k], ..Stage::default() };
        let mut factor = |buffer: BufferId, map: AffineMap| {
            let otherwise = Literal::new(dtype, 0.0);
            stage.value(Scalar::Load { buffer, map, guards: vec![], otherwise }, dtype)
        };
        let x = factor(a.buffer, map(a, [a.row_stride, 0, a.column_stride]));
        let y = factor(b.buffer, map(b, [0, b.column_stride, b.row_stride]));
        let value = stage.value(Scalar::Binary(Op::Mul {}, x, y), dtype);
        stage.n_inside = stage.values.len() as u32;
        stage.reductions.push(Reduction { kind: ReductionKind::Sum, value });
        let value = stage.value(Scalar::Reduced(0), dtype);
        stage.stores.push(Store { buffer: c.buffer, map: map(c, [c.row_stride, c.column_stride, 0]), value });
        self.stage(&stage)
    }

    /// The axis of the places in a stage: an inner one, or none, or a reduced one, whichever fits what is known of its buffers.
    fn placed(&self, stage: &Stage) -> Option<Placed> {
        let sizes = stage.sizes(&[]);
        let alone = Placed { stage: stage.clone(), axis: None };
        if self.places == 1 {
            return Some(alone);
        }
        let with_axis = |axis: usize| {
            let divides = sizes[axis] > 0 && sizes[axis].is_multiple_of(self.places);
            divides.then(|| Placed { stage: split(stage, axis, self.places), axis: Some(axis) })
        };
        let inner = stage.inner.len();
        let is_small = sizes.iter().product::<u64>() <= MOST_SHARED;
        (0..inner)
            .filter_map(with_axis)
            .chain(is_small.then_some(alone))
            .chain((inner..sizes.len()).filter_map(with_axis))
            .find(|placed| self.fits(placed))
    }

    fn fits(&self, placed: &Placed) -> bool {
        let Placed { stage, axis } = placed;
        let stride = |map: &AffineMap| axis.map_or(0, |axis| map.strides[axis]);
        let known = |buffer: BufferId, map: &AffineMap| {
            let row = match self.memory.get(&buffer) {
                Some(content) => content.has_row.then_some(content.terms.len() as u64),
                None if self.is_slice(buffer) && self.has_row(buffer) => {
                    Some(self.program.buffers[buffer].ty.elements() / self.places)
                }
                None => return None,
            };
            Some(match row {
                Some(row) => axis.is_some() && stride(map) == row as i64,
                None => stride(map) == 0,
            })
        };
        let loads = stage.values.values().all(|scalar| match scalar {
            Scalar::Load { buffer, map, guards, .. } => {
                guards.iter().all(|guard| stride(&guard.map) == 0) && known(*buffer, map).unwrap_or(true)
            }
            _ => true,
        });
        let stores = stage.stores.iter().all(|store| {
            known(store.buffer, &store.map).unwrap_or_else(|| {
                let elements = self.program.buffers[store.buffer].ty.elements();
                let is_inner = axis.is_some_and(|axis| axis < stage.inner.len());
                let row = if is_inner { elements / self.places } else { 0 };
                stride(&store.map) == row as i64 && (!is_inner || elements.is_multiple_of(self.places))
            })
        });
        loads && stores
    }

    fn stage(&mut self, stage: &Stage) -> Option<()> {
        let Placed { stage, axis } = self.placed(stage)?;
        let mut sizes = stage.sizes(&[]);
        if let Some(axis) = axis {
            sizes[axis] = 1;
        }
        let (inner, reduced) = sizes.split_at(stage.inner.len());
        let sums_places = axis.is_some_and(|axis| axis >= stage.inner.len());
        let work = sizes.iter().try_fold(1u64, |work, size| work.checked_mul(*size))?;
        if work > MOST_SCALARS as u64 {
            return None;
        }
        let n_inside = stage.n_inside as usize;
        for kept in indices(inner) {
            let mut values = SecondaryMap::new();
            let mut given = Vec::new();
            let after = [kept.as_slice(), &vec![0; reduced.len()]].concat();
            if stage.reductions.is_empty() {
                self.scalars(&stage, axis, 0..n_inside, &kept, &given, &mut values)?;
            } else {
                let mut sums: Vec<Option<Term>> = vec![None; stage.reductions.len()];
                for inside in indices(reduced) {
                    self.scalars(&stage, axis, 0..n_inside, &[kept.as_slice(), &inside].concat(), &given, &mut values)?;
                    for (sum, reduction) in sums.iter_mut().zip(&stage.reductions) {
                        let op = match reduction.kind {
                            ReductionKind::Sum => Op::Add {},
                            ReductionKind::Max => Op::Maximum {},
                            ReductionKind::Min => Op::Minimum {},
                            ReductionKind::Argmax => return None,
                        };
                        let term = values[reduction.value]?;
                        *sum = Some(match *sum {
                            None => term,
                            Some(sum) => self.binary(&op, sum, term, stage.dtype(reduction.value)),
                        });
                    }
                }
                for (sum, reduction) in sums.into_iter().zip(&stage.reductions) {
                    let is_sum = reduction.kind == ReductionKind::Sum;
                    let sum = match sum {
                        Some(sum) => sum,
                        None if is_sum => self.literal(Literal::new(stage.dtype(reduction.value), 0.0)),
                        None => return None,
                    };
                    given.push(match sum {
                        _ if !sums_places => sum,
                        Term::Here(value) if is_sum => Term::Sum(value),
                        _ => Term::Lost,
                    });
                }
                self.scalars(&stage, axis, n_inside..stage.values.len(), &after, &given, &mut values)?;
            }
            for store in &stage.stores {
                let has_row = axis.is_some() && !sums_places;
                self.store(store.buffer, store.map.at(&after), values[store.value]?, has_row)?;
            }
            if self.stage.values.len() > MOST_SCALARS {
                return None;
            }
        }
        Some(())
    }

    fn store(&mut self, buffer: BufferId, element: i64, term: Term, has_row: bool) -> Option<()> {
        let elements = self.program.buffers[buffer].ty.elements();
        let count = if has_row { elements / self.places } else { elements } as usize;
        if count > MOST_SCALARS {
            return None;
        }
        let content = self.memory.entry(buffer).or_insert_with(|| Content { has_row, terms: vec![None; count] });
        let fits = match term {
            Term::Here(value) => has_row || self.same[value],
            Term::Sum(_) => !has_row,
            Term::Lost => true,
        };
        *content.terms.get_mut(usize::try_from(element).ok()?)? = Some(if fits { term } else { Term::Lost });
        Some(())
    }

    /// Some scalars of a stage where the loop axes are at these indices (0 for the axis of the places).
    fn scalars(
        &mut self,
        stage: &Stage,
        axis: Option<usize>,
        range: std::ops::Range<usize>,
        at: &[u64],
        given: &[Term],
        values: &mut SecondaryMap<ValueId, Option<Term>>,
    ) -> Option<()> {
        let at: Vec<u64> = at.iter().copied().chain(std::iter::repeat(0)).take(stage.sizes(&[]).len()).collect();
        let stride = |map: &AffineMap| axis.map_or(0, |axis| map.strides[axis]);
        for (id, scalar) in stage.values.iter().take(range.end).skip(range.start) {
            let dtype = stage.dtype(id);
            let get = |id: &ValueId| values[*id];
            let term = match scalar {
                Scalar::Literal(literal) => self.literal(*literal),
                Scalar::Index { map, dtype } if stride(map) == 0 => self.literal(Literal::integer(*dtype, map.at(&at))),
                Scalar::Index { map, dtype } => {
                    let map = AffineMap { offset: map.at(&at), strides: vec![0, stride(map)] };
                    Term::Here(self.push(Scalar::Index { map, dtype: *dtype }, *dtype, false))
                }
                Scalar::Load { buffer, map, guards, otherwise } => {
                    let holds = |guard: &Guard| (guard.low..guard.high).contains(&guard.map.at(&at));
                    if guards.iter().all(holds) {
                        self.load(*buffer, map.at(&at), stride(map), dtype)?
                    } else {
                        self.literal(*otherwise)
                    }
                }
                Scalar::Gather { buffer, index, rows, row_stride, map } => {
                    let Term::Here(index) = get(index)? else { return None };
                    if self.memory.contains_key(buffer) || self.is_slice(*buffer) {
                        return None;
                    }
                    let same = self.same[index] && stride(map) == 0;
                    let map = AffineMap { offset: map.at(&at), strides: vec![0, stride(map)] };
                    let (buffer, rows, row_stride) = (*buffer, *rows, *row_stride);
                    Term::Here(self.push(Scalar::Gather { buffer, index, rows, row_stride, map }, dtype, same))
                }
                Scalar::Unary(op, x) => self.unary(op, get(x)?, dtype),
                Scalar::Binary(op, x, y) => self.binary(op, get(x)?, get(y)?, dtype),
                Scalar::Select(condition, x, y) => match (get(condition)?, get(x)?, get(y)?) {
                    (Term::Here(condition), x, y) if self.known(condition).is_some() => {
                        if self.is_zero(condition) {
                            y
                        } else {
                            x
                        }
                    }
                    (Term::Here(condition), Term::Here(x), Term::Here(y)) => {
                        let same = [condition, x, y].iter().all(|value| self.same[*value]);
                        Term::Here(self.push(Scalar::Select(condition, x, y), dtype, same))
                    }
                    _ => Term::Lost,
                },
                Scalar::Cast(x, dtype) => match get(x)? {
                    Term::Here(x) => Term::Here(self.push(Scalar::Cast(x, *dtype), *dtype, self.same[x])),
                    _ => Term::Lost,
                },
                Scalar::Reduced(index) => *given.get(*index as usize)?,
                Scalar::Random { .. } | Scalar::Carried(_) => return None,
            };
            values[id] = Some(term);
        }
        Some(())
    }

    fn is_slice(&self, buffer: BufferId) -> bool {
        let mut slices = self
            .repeat
            .sequences
            .iter()
            .map(|(_, slice)| slice)
            .chain(self.repeat.stacks.iter().map(|(slice, _)| slice));
        slices.any(|slice| *slice == buffer)
    }

    /// An element of a buffer, counted in the row of a place where each has one.
    fn load(&mut self, buffer: BufferId, element: i64, stride: i64, dtype: Dtype) -> Option<Term> {
        match self.memory.get(&buffer) {
            Some(content) => *content.terms.get(usize::try_from(element).ok()?)?,
            None => self.outside(buffer, element, stride, dtype),
        }
    }

    /// An element of a buffer that the body does not write, `stride` elements further from place to place.
    fn outside(&mut self, buffer: BufferId, element: i64, stride: i64, dtype: Dtype) -> Option<Term> {
        let mut strides = vec![0, stride];
        let mut from = buffer;
        if let Some((whole, slice)) = self.repeat.sequences.iter().find(|(_, slice)| *slice == buffer) {
            strides[0] = self.program.buffers[*slice].ty.elements() as i64;
            from = *whole;
        } else if self.is_slice(buffer) {
            return None;
        }
        debug_assert!(!matches!(self.program.buffers[from].place, Place::Scratch(_)), "scratch comes after marches");
        let map = AffineMap { offset: element, strides };
        let load = Scalar::Load { buffer: from, map, guards: vec![], otherwise: Literal::new(dtype, 0.0) };
        Some(Term::Here(self.push(load, dtype, stride == 0)))
    }

    /// What all places share, as a sum over the places to which the first alone contributes.
    fn at_first_place(&mut self, shared: ValueId) -> ValueId {
        let dtype = self.stage.dtype(shared);
        let map = AffineMap { offset: 0, strides: vec![0, 1] };
        let place = self.push(Scalar::Index { map, dtype }, dtype, false);
        let zero = self.push(Scalar::Literal(Literal::new(dtype, 0.0)), dtype, true);
        let is_first = self.push(Scalar::Binary(Op::Equal {}, place, zero), Dtype::Bool, false);
        self.push(Scalar::Select(is_first, shared, zero), dtype, false)
    }

    fn unary(&mut self, op: &Op, x: Term, dtype: Dtype) -> Term {
        match x {
            Term::Here(x) => Term::Here(self.push(Scalar::Unary(op.clone(), x), dtype, self.same[x])),
            Term::Sum(x) if matches!(op, Op::Neg {}) => {
                Term::Sum(self.push(Scalar::Unary(op.clone(), x), dtype, false))
            }
            _ => Term::Lost,
        }
    }

    fn binary(&mut self, op: &Op, x: Term, y: Term, dtype: Dtype) -> Term {
        if let Some(holds) = self.known_condition(op, x, y) {
            return self.literal(Literal::new(Dtype::Bool, f64::from(u8::from(holds))));
        }
        let is_zero = |term: Term| matches!(term, Term::Here(value) if self.is_zero(value));
        let adds = matches!(op, Op::Add {} | Op::Sub {});
        if adds && is_zero(y) {
            return x;
        }
        if is_zero(x) && matches!(op, Op::Add {}) {
            return y;
        }
        let (x, y) = match (x, y) {
            (Term::Sum(_), Term::Here(shared)) if adds && self.same[shared] => {
                (x, Term::Sum(self.at_first_place(shared)))
            }
            (Term::Here(shared), Term::Sum(_)) if adds && self.same[shared] => {
                (Term::Sum(self.at_first_place(shared)), y)
            }
            _ => (x, y),
        };
        let is_linear = match (x, y) {
            (Term::Here(_), Term::Here(_)) => true,
            (Term::Sum(_), Term::Sum(_)) => adds,
            (Term::Sum(_), Term::Here(y)) => self.same[y] && dtype.is_float() && matches!(op, Op::Mul {} | Op::Div {}),
            (Term::Here(x), Term::Sum(_)) => self.same[x] && matches!(op, Op::Mul {}),
            _ => false,
        };
        let (Term::Here(a) | Term::Sum(a), Term::Here(b) | Term::Sum(b), true) = (x, y, is_linear) else {
            return Term::Lost;
        };
        let same = self.same[a] && self.same[b];
        let value = self.push(Scalar::Binary(op.clone(), a, b), dtype, same);
        if matches!((x, y), (Term::Here(_), Term::Here(_))) { Term::Here(value) } else { Term::Sum(value) }
    }
}

/// A stage in which this axis has so many indices; what is left of it becomes the axis after.
fn split(stage: &Stage, axis: usize, places: u64) -> Stage {
    let mut stage = stage.clone();
    let inner = stage.inner.len();
    let (sizes, at) = if axis < inner { (&mut stage.inner, axis) } else { (&mut stage.reduced, axis - inner) };
    let rest = sizes[at] / places;
    if rest > 1 {
        sizes[at] = places;
        sizes.insert(at + 1, rest);
        stage.change_maps(|map| {
            let stride = map.strides[axis];
            map.strides[axis] = stride * rest as i64;
            map.strides.insert(axis + 1, stride);
        });
    }
    stage
}

/// Every index of a box, in row-major order.
fn indices(sizes: &[u64]) -> Vec<Vec<u64>> {
    sizes.iter().fold(vec![Vec::new()], |lead, size| {
        lead.iter().flat_map(|lead| (0..*size).map(move |index| [lead.as_slice(), &[index]].concat())).collect()
    })
}
