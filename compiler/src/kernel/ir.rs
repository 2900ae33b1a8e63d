//! The kernel IR: a step as a list of loops and library calls over buffers with fixed places.
//!
//! Expects: nothing; these are plain data types.
//! Guarantees: everything a backend needs is here: it knows no tensors, broadcasts or views, only loops, affine loads,
//! scalar arithmetic and calls.
//! Leaves out: how a backend vectorises; it may choose any order of independent iterations, but sums follow
//! [`Reduction`]'s order.

pub use super::affine::AffineMap;

use super::library::{self, Routine};
use crate::ir::types::{Dtype, Literal, TensorType};
use cranelift_entity::{PrimaryMap, entity_impl};

/// A piece of memory with a dtype.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BufferId(u32);
entity_impl!(BufferId, "b");

/// A scalar of a stage; an index into [`Stage::values`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(u32);
entity_impl!(ValueId, "v");

/// One compiled step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Of the model, with `_eval` behind it for an evaluation; of the region where there is no model.
    pub name: String,
    /// All memory.
    pub buffers: PrimaryMap<BufferId, Buffer>,
    /// In order; a step sees what the steps before it wrote.
    pub steps: Vec<Step>,
    /// Bytes of the state block (parameters, optimiser state, seed, step number); the same for every batch size.
    pub state_bytes: u64,
    /// Bytes of the workspace block (everything between data and outputs).
    pub workspace_bytes: u64,
}

/// Row-major memory of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Of the input or result it holds; empty for one in between.
    pub name: String,
    /// What it holds.
    pub ty: TensorType,
    /// What it is for.
    pub role: BufferRole,
    /// Where it lies.
    pub place: Place,
    /// Of bits that are packed, 64 to a word: how many make a row, which begins with a new word. Maps into such a buffer count bits,
    /// [`packed_row`] from row to row. What stands behind the last bit of a row may be anything.
    pub packed: Option<u64>,
}

/// How many bits a word holds.
pub const WORD_BITS: u64 = 64;

/// The bits from one packed row of so many to the next.
pub fn packed_row(bits: u64) -> u64 {
    bits.next_multiple_of(WORD_BITS)
}

impl Buffer {
    /// One in between without a name or a place.
    pub fn temporary(ty: TensorType) -> Buffer {
        Buffer { name: String::new(), ty, role: BufferRole::Temporary, place: Place::Unplanned, packed: None }
    }

    /// How many elements, or bits, its maps reach.
    pub fn extent(&self) -> u64 {
        match self.packed {
            Some(row) => self.ty.elements() / row * packed_row(row),
            None => self.ty.elements(),
        }
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> u64 {
        if self.packed.is_some() { self.extent() / 8 } else { self.ty.bytes() }
    }

    /// Where its maps find an element of the row-major tensor.
    pub fn index(&self, element: u64) -> u64 {
        match self.packed {
            Some(row) => element / row * packed_row(row) + element % row,
            None => element,
        }
    }
}

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BufferRole {
    /// Written by the caller before the step, kept from step to step: a parameter.
    Parameter,
    /// The same for optimiser state, seed and step number.
    State,
    /// Written by the caller before every step.
    Data,
    /// Read by the caller after the step.
    Output,
    /// The same for a bool scalar that says whether a warning holds, or an i32 vector that begins with it.
    Warning,
    /// In between.
    Temporary,
}

/// Where a buffer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not planned yet.
    Unplanned,
    /// This many bytes into the state block; 64-byte aligned.
    State(u64),
    /// All of the caller's memory of this number: data is read and outputs are written where the caller has them. The
    /// numbers count from 0 without gaps; only the dtype aligns it.
    Argument(u32),
    /// This many bytes into the workspace; 64-byte aligned. Buffers whose lives do not overlap may share bytes.
    Workspace(u64),
    /// This many bytes into the scratch of one worker: what one outer iteration of a nest hands from stage to stage;
    /// 64-byte aligned, alive for that iteration only. Maps into it do not use the outer axes.
    Scratch(u64),
    /// The slice of another buffer that belongs to the turn of the [`Repeat`] that lists it: turn t begins t times the
    /// bytes of this buffer after the beginning of the other. Nothing is copied; only the dtype aligns it.
    Slice(BufferId),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Generated loops.
    Nest(Nest),
    /// A call of the product routine.
    Product(Product),
    /// A call of the routine of an operation.
    Call(Call),
    /// A loop in time.
    Repeat(Repeat),
    /// A loop in time in registers.
    March(March),
}

/// Loops over `outer`, in each iteration the stages one after the other. Outer iterations are independent: workers share
/// them. In a nest of one stage the `inner` iterations are independent too: where `outer` is empty (a flat map, a sum
/// over columns), workers may share the first inner axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Nest {
    /// For people: the operations inside.
    pub name: String,
    /// Sizes of the outer axes; loop axes 0 .. outer.len().
    pub outer: Vec<u64>,
    /// One after the other.
    pub stages: Vec<Stage>,
    /// Bytes of scratch that a worker needs: all [`Place::Scratch`] buffers of this nest lie below.
    pub scratch_bytes: u64,
}

/// Loops over the outer axes, then `inner` axes, then `reduced` axes; axes are numbered in this order. Without
/// reductions it maps; with them, values from `n_inside` on are computed once after the reduced loops.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stage {
    /// Sizes of the axes of this stage.
    pub inner: Vec<u64>,
    /// Sizes of the axes that are reduced.
    pub reduced: Vec<u64>,
    /// The loop axis (an inner or the last reduced one) along which a backend takes several places at once.
    pub vector_axis: Option<u32>,
    /// Scalars; each uses earlier ones only.
    pub values: PrimaryMap<ValueId, Scalar>,
    /// Their dtypes.
    pub dtypes: cranelift_entity::SecondaryMap<ValueId, Option<Dtype>>,
    /// What is reduced.
    pub reductions: Vec<Reduction>,
    /// How many of `values` stand inside the reduced loops (all of them where nothing is reduced); the rest, after them,
    /// may use [`Scalar::Reduced`] and not those inside.
    pub n_inside: u32,
    /// What is written: without reductions at every (outer, inner) place; the same with them, after the reduced loops.
    pub stores: Vec<Store>,
}

/// A reduction over all reduced axes of a stage. Where the vector axis is the last reduced axis, a sum runs in 16 interleaved
/// lanes (element i of that axis goes to lane i % 16, all runs into the same lanes) that are added pairwise at the end (lane i
/// with i + 8, then + 4, + 2, + 1); otherwise it adds element by element in row-major order. So every backend and every
/// number of threads gives the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// Sum, largest, smallest, or the index of the first largest.
    pub kind: ReductionKind,
    /// The reduced scalar, inside the loops.
    pub value: ValueId,
}

/// How values are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReductionKind {
    /// 0 for none.
    Sum,
    /// A NaN gives NaN; of zeros of both signs, either.
    Max,
    /// A NaN gives NaN; of zeros of both signs, either.
    Min,
    /// i32 index along the one reduced axis of the first largest value; NaN counts as largest.
    Argmax,
}

/// A condition on a load: `low <= map < high`; outside, the load gives the scalar's `otherwise`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Guard {
    /// Coordinate along an axis of the padded tensor.
    pub map: AffineMap,
    /// First coordinate inside.
    pub low: i64,
    /// First coordinate beyond.
    pub high: i64,
}

/// A scalar computation. Arithmetic means what the op table says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scalar {
    /// A number.
    Literal(Literal),
    /// An affine function of the loop axes as a number of this dtype.
    Index {
        /// The function.
        map: AffineMap,
        /// Its dtype.
        dtype: Dtype,
    },
    /// An element of a buffer; where a guard fails, `otherwise`, and the memory is not touched.
    Load {
        /// What is read.
        buffer: BufferId,
        /// Where.
        map: AffineMap,
        /// All must hold.
        guards: Vec<Guard>,
        /// Else.
        otherwise: Literal,
    },
    /// An element of a row that another scalar names: buffer[index * row_stride + map]; outside [0, rows): NaN, 0 for whole numbers.
    Gather {
        /// The table.
        buffer: BufferId,
        /// i32 scalar.
        index: ValueId,
        /// Rows of the table.
        rows: u64,
        /// Elements from row to row.
        row_stride: i64,
        /// Where in the row.
        map: AffineMap,
    },
    /// Random number of the element that `map` counts; see `Op::Random`.
    Random {
        /// Standard normal, else uniform.
        normal: bool,
        /// The hash of the site.
        site: u32,
        /// u32[2]
        seed: BufferId,
        /// i32 scalar
        step: BufferId,
        /// Linear index of the element in the random tensor.
        map: AffineMap,
        /// f32 or f64.
        dtype: Dtype,
    },
    /// A unary operation of the op table, by the op's own enum.
    Unary(crate::ir::op::Op, ValueId),
    /// A binary one.
    Binary(crate::ir::op::Op, ValueId, ValueId),
    /// Condition, then, else.
    Select(ValueId, ValueId, ValueId),
    /// To another dtype.
    Cast(ValueId, Dtype),
    /// What a reduction of this stage gave; only after the reduced loops.
    Reduced(u32),
    /// What the turn before left in a carry; only in a [`March`].
    Carried(u32),
}

/// Writes a scalar to a buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Where to.
    pub buffer: BufferId,
    /// The place; reduced axes have stride 0.
    pub map: AffineMap,
    /// What.
    pub value: ValueId,
}

/// An operation of class `Library` on whole row-major buffers, none of which is the result; [`super::library`] has its
/// routine.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What is computed, as the op table says.
    pub op: crate::ir::op::Op,
    /// The operands in the order of the table, each with the type under which the operation sees it.
    pub operands: Vec<(BufferId, TensorType)>,
    /// Every element is written.
    pub result: BufferId,
    /// The memory that the routine works in, of its own: `None` where it needs none.
    pub memory: Option<BufferId>,
}

impl Call {
    /// The routine that computes it.
    pub fn routine(&self, program: &Program) -> Routine {
        let operands: Vec<_> =
            self.operands.iter().map(|(id, ty)| (ty, program.buffers[*id].packed.is_some())).collect();
        library::routine(&self.op, &operands)
    }
}

/// c = a b for each index of `batch`, f32 or f64: c[m, n] = sum over k of a[m, k] b[k, n].
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// Rows of a and c.
    pub m: u64,
    /// Columns of b and c.
    pub n: u64,
    /// Columns of a, rows of b; 0 gives zeros.
    pub k: u64,
    /// Sizes of the batch axes (none for one product).
    pub batch: Vec<u64>,
    /// First factor: strides over m and k.
    pub a: ProductOperand,
    /// Second factor: strides over k and n.
    pub b: ProductOperand,
    /// The result: strides over m and n; its elements do not overlap.
    pub c: ProductOperand,
}

/// A matrix (or a batch of them) in a buffer; all strides in elements.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductOperand {
    /// The memory.
    pub buffer: BufferId,
    /// First element.
    pub offset: i64,
    /// From row to row.
    pub row_stride: i64,
    /// From column to column.
    pub column_stride: i64,
    /// For each batch axis; 0 repeats the matrix.
    pub batch_strides: Vec<i64>,
}

/// A loop of `length` turns over steps. Carries are buffers that the body reads and that hold the next value after the
/// turn, written there by the body itself or through `advance`; sequences are read and stacks written a slice a turn,
/// in place: their slice buffers are [`Place::Slice`]s.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeat {
    /// For people.
    pub name: String,
    /// How many turns.
    pub length: u64,
    /// From the last turn to the first.
    pub reverse: bool,
    /// (whole, slice): what the body reads of a sequence.
    pub sequences: Vec<(BufferId, BufferId)>,
    /// (first value, carry): copied once before the first turn.
    pub initial: Vec<(BufferId, BufferId)>,
    /// The body.
    pub steps: Vec<Step>,
    /// (slice, whole): what the body writes of a stack.
    pub stacks: Vec<(BufferId, BufferId)>,
    /// (next value, carry): all copied after every turn. No carry is a next value here, so the order does not matter.
    pub advance: Vec<(BufferId, BufferId)>,
}

/// A loop in time whose turns are straight-line code on scalars. The stage has two inner axes, the turn and the place, one of so
/// many independent trajectories that workers share; its scalars are all that a place does in a turn, and it reduces nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct March {
    /// For people.
    pub name: String,
    /// From the last turn to the first.
    pub reverse: bool,
    /// What each place hands from turn to turn.
    pub carries: Vec<Carried>,
    /// One turn of one place. It reads no buffer that it writes.
    pub stage: Stage,
}

/// A scalar that each place of a [`March`] hands from turn to turn. Its maps do not use the turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// Of the scalar.
    pub dtype: Dtype,
    /// Where it lies before the first turn.
    pub first: (BufferId, AffineMap),
    /// What it is after a turn.
    pub next: ValueId,
    /// Where it goes after the last turn.
    pub last: Option<(BufferId, AffineMap)>,
}

impl Program {
    /// The buffers that lie in memory of the caller, in the order of their numbers.
    pub fn arguments(&self) -> Vec<BufferId> {
        let mut arguments: Vec<(u32, BufferId)> = self
            .buffers
            .iter()
            .filter_map(|(id, buffer)| match buffer.place {
                Place::Argument(number) => Some((number, id)),
                _ => None,
            })
            .collect();
        arguments.sort_unstable();
        arguments.into_iter().map(|(_, id)| id).collect()
    }
}

impl Scalar {
    /// The scalars that it uses.
    pub fn operands(&self) -> Vec<ValueId> {
        match self {
            Scalar::Literal(_)
            | Scalar::Index { .. }
            | Scalar::Load { .. }
            | Scalar::Random { .. }
            | Scalar::Reduced(_)
            | Scalar::Carried(_) => vec![],
            Scalar::Gather { index, .. } => vec![*index],
            Scalar::Unary(_, x) | Scalar::Cast(x, _) => vec![*x],
            Scalar::Binary(_, x, y) => vec![*x, *y],
            Scalar::Select(condition, x, y) => vec![*condition, *x, *y],
        }
    }

    /// Lets `rename` replace the scalars that it uses.
    pub fn rename(&mut self, rename: impl Fn(ValueId) -> ValueId) {
        match self {
            Scalar::Literal(_)
            | Scalar::Index { .. }
            | Scalar::Load { .. }
            | Scalar::Random { .. }
            | Scalar::Reduced(_)
            | Scalar::Carried(_) => {}
            Scalar::Gather { index, .. } => *index = rename(*index),
            Scalar::Unary(_, x) | Scalar::Cast(x, _) => *x = rename(*x),
            Scalar::Binary(_, x, y) => (*x, *y) = (rename(*x), rename(*y)),
            Scalar::Select(condition, x, y) => {
                (*condition, *x, *y) = (rename(*condition), rename(*x), rename(*y));
            }
        }
    }

    /// All its affine maps: of loads, guards and indices.
    pub fn maps_mut(&mut self) -> Vec<&mut AffineMap> {
        match self {
            Scalar::Index { map, .. } | Scalar::Gather { map, .. } | Scalar::Random { map, .. } => vec![map],
            Scalar::Load { map, guards, .. } => {
                std::iter::once(map).chain(guards.iter_mut().map(|guard| &mut guard.map)).collect()
            }
            _ => vec![],
        }
    }

    /// The same, to read.
    pub fn maps(&self) -> Vec<&AffineMap> {
        match self {
            Scalar::Index { map, .. } | Scalar::Gather { map, .. } | Scalar::Random { map, .. } => vec![map],
            Scalar::Load { map, guards, .. } => {
                std::iter::once(map).chain(guards.iter().map(|guard| &guard.map)).collect()
            }
            _ => vec![],
        }
    }

    /// The buffers that it reads.
    pub fn buffers_mut(&mut self) -> Vec<&mut BufferId> {
        match self {
            Scalar::Load { buffer, .. } | Scalar::Gather { buffer, .. } => vec![buffer],
            Scalar::Random { seed, step, .. } => vec![seed, step],
            _ => vec![],
        }
    }

    /// The same, to read.
    pub fn buffers(&self) -> Vec<BufferId> {
        match self {
            Scalar::Load { buffer, .. } | Scalar::Gather { buffer, .. } => vec![*buffer],
            Scalar::Random { seed, step, .. } => vec![*seed, *step],
            _ => vec![],
        }
    }
}

impl Stage {
    /// Adds a scalar of a dtype, or gives the equal one that is there.
    pub fn value(&mut self, scalar: Scalar, dtype: Dtype) -> ValueId {
        self.value_from(0, scalar, dtype)
    }

    /// The same; only scalars from this one on count as there.
    pub fn value_from(&mut self, first: usize, scalar: Scalar, dtype: Dtype) -> ValueId {
        if let Some((id, _)) = self.values.iter().skip(first).find(|(_, known)| **known == scalar) {
            return id;
        }
        let id = self.values.push(scalar);
        self.dtypes[id] = Some(dtype);
        id
    }

    /// Sizes of all loop axes of the stage under these outer ones.
    pub fn sizes(&self, outer: &[u64]) -> Vec<u64> {
        [outer, &self.inner, &self.reduced].concat()
    }

    /// Lets `change` replace every affine map.
    pub fn change_maps(&mut self, mut change: impl FnMut(&mut AffineMap)) {
        self.values.values_mut().flat_map(Scalar::maps_mut).for_each(&mut change);
        self.stores.iter_mut().map(|store| &mut store.map).for_each(change);
    }

    /// Changes the maps of the loads and stores of one buffer.
    pub fn change_maps_of(&mut self, buffer: BufferId, change: impl Fn(&mut AffineMap)) {
        for scalar in self.values.values_mut() {
            if let Scalar::Load { buffer: read, map, .. } = scalar
                && *read == buffer
            {
                change(map);
            }
        }
        self.stores.iter_mut().filter(|store| store.buffer == buffer).for_each(|store| change(&mut store.map));
    }

    /// Every affine map.
    pub fn maps(&self) -> impl Iterator<Item = &AffineMap> {
        self.values.values().flat_map(Scalar::maps).chain(self.stores.iter().map(|store| &store.map))
    }

    /// The dtype of a scalar.
    ///
    /// # Panics
    /// On a scalar without one, which no pass makes.
    pub fn dtype(&self, value: ValueId) -> Dtype {
        self.dtypes[value].expect("bug in bpc: a scalar without a dtype")
    }
}
