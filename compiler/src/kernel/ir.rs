//! The kernel IR: a step as a list of loop nests and library calls over buffers with fixed places.
//!
//! Expects: nothing; these are plain data types.
//! Guarantees: everything a backend needs is here: it knows no tensors, broadcasts or views, only loops, affine loads,
//! scalar arithmetic and calls.
//! Leaves out: how a backend vectorises; it may choose any order of independent iterations, but sums follow
//! [`Reduction`]'s order.

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
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Of the model.
    pub name: String,
    /// All memory.
    pub buffers: PrimaryMap<BufferId, Buffer>,
    /// In order; a step sees what the steps before it wrote.
    pub steps: Vec<Step>,
    /// Bytes of the state block (parameters, optimiser state, seed, step number); the same for every batch size.
    pub state_bytes: u64,
    /// Bytes of the workspace block (data, outputs, everything in between).
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
#[derive(Clone, Debug)]
pub enum Step {
    /// Generated loops.
    Nest(Nest),
    /// A call of the product routine.
    Product(Product),
    /// `target[indices[i], :] += updates[i, :]` in the order of i, after filling the target with zeros; an index outside is left out.
    ScatterAdd {
        /// i32, any shape.
        indices: BufferId,
        /// [indices.., width]
        updates: BufferId,
        /// [rows, width]
        target: BufferId,
    },
    /// A loop in time.
    Repeat(Repeat),
}

/// Loops over `outer`, in each iteration the stages one after the other. Outer iterations are independent: workers share
/// them. In a nest of one stage the `inner` iterations are independent too: where `outer` is empty (a flat map, a sum
/// over columns), workers may share the first inner axis.
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug, Default)]
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
    /// A NaN gives NaN.
    Max,
    /// A NaN gives NaN.
    Min,
    /// i32 index along the one reduced axis of the first largest value; NaN counts as largest.
    Argmax,
}

/// A place in memory as a function of the loop axes: `offset + sum(strides[axis] * axis)`, in elements.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AffineMap {
    /// Where zeros on all axes lead.
    pub offset: i64,
    /// One for each loop axis of the stage (outer, inner, reduced).
    pub strides: Vec<i64>,
}

/// A condition on a load: `low <= map < high`; outside, the load gives the scalar's `otherwise`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Coordinate along an axis of the padded tensor.
    pub map: AffineMap,
    /// First coordinate inside.
    pub low: i64,
    /// First coordinate beyond.
    pub high: i64,
}

/// A scalar computation. Arithmetic means what the op table says.
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug)]
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
