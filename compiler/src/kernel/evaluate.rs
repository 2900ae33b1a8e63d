//! A slow evaluator of programs, scalar by scalar: what a backend is compared with.
//!
//! Expects: a planned program that `verify` accepts, and blocks of its sizes.
//! Guarantees: every value is rounded to its own dtype, and sums run in the order of [`Reduction`], so that a backend
//! with exact arithmetic gives the same bits. Functions such as exp are the runtime's; calls of routines are computed in doubles
//! and rounded once.
//! Leaves out: speed.
//!
//! [`Reduction`]: super::ir::Reduction

use super::ir::{
    AffineMap, BufferId, Call, Carried, March, Nest, Place, Product, ProductOperand, Program, ReductionKind, Repeat,
    Scalar, Stage, Step, ValueId,
};
use crate::ir::interpret::{self, Tensor};
use crate::ir::op::Op;
use crate::ir::rounded;
use crate::ir::types::{Dtype, Literal};
use bpc_runtime::philox;
use cranelift_entity::SecondaryMap;

/// The memory of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Parameters and state.
    pub state: Vec<u8>,
    /// Data and outputs, by their numbers.
    pub arguments: Vec<Vec<u8>>,
    /// The rest.
    pub workspace: Vec<u8>,
}

/// Which memory.
#[derive(Clone, Copy)]
enum Block {
    State,
    Argument(usize),
    Workspace,
    Scratch,
}

impl Blocks {
    /// Blocks full of bytes that are no sensible number, so that a read before a write is seen.
    pub fn new(program: &Program) -> Blocks {
        Blocks {
            state: vec![0xff; program.state_bytes as usize],
            arguments: program
                .arguments()
                .into_iter()
                .map(|id| vec![0xff; program.buffers[id].ty.bytes() as usize])
                .collect(),
            workspace: vec![0xff; program.workspace_bytes as usize],
        }
    }

    /// Sets a buffer from doubles.
    pub fn set(&mut self, program: &Program, buffer: BufferId, values: &[f64]) {
        let dtype = program.buffers[buffer].ty.dtype;
        let mut memory = Memory { program, blocks: self, scratch: Vec::new(), turns: SecondaryMap::new() };
        for (index, value) in values.iter().enumerate() {
            let index = program.buffers[buffer].index(index as u64);
            memory.write(buffer, index as i64, Literal::new(dtype, *value));
        }
    }

    /// A buffer as doubles.
    pub fn get(&mut self, program: &Program, buffer: BufferId) -> Vec<f64> {
        let elements = program.buffers[buffer].ty.elements();
        let memory = Memory { program, blocks: self, scratch: Vec::new(), turns: SecondaryMap::new() };
        let index = |element| program.buffers[buffer].index(element) as i64;
        (0..elements).map(|element| memory.read(buffer, index(element)).as_f64()).collect()
    }
}

/// Runs one step of a program.
pub fn evaluate(program: &Program, blocks: &mut Blocks) {
    let mut memory = Memory { program, blocks, scratch: Vec::new(), turns: SecondaryMap::new() };
    memory.steps(&program.steps);
}

struct Memory<'a> {
    program: &'a Program,
    blocks: &'a mut Blocks,
    scratch: Vec<u8>,
    /// The turn of the loop that a slice belongs to.
    turns: SecondaryMap<BufferId, u64>,
}

impl Memory<'_> {
    /// Block and first byte of an element.
    fn locate(&self, buffer: BufferId, index: i64) -> (Block, usize) {
        let entry = &self.program.buffers[buffer];
        assert!(
            (0..entry.extent() as i64).contains(&index),
            "bug in bpc: element {index} of {buffer} of type {}",
            entry.ty
        );
        let byte = match entry.packed {
            Some(_) => index as usize / 8,
            None => index as usize * entry.ty.dtype.bytes() as usize,
        };
        match entry.place {
            Place::State(offset) => (Block::State, offset as usize + byte),
            Place::Argument(number) => (Block::Argument(number as usize), byte),
            Place::Workspace(offset) => (Block::Workspace, offset as usize + byte),
            Place::Scratch(offset) => (Block::Scratch, offset as usize + byte),
            Place::Slice(whole) => {
                let first = self.turns[buffer] * entry.ty.elements();
                self.locate(whole, first as i64 + index)
            }
            Place::Unplanned => panic!("bug in bpc: {buffer} has no place"),
        }
    }

    fn read(&self, buffer: BufferId, index: i64) -> Literal {
        let (block, at) = self.locate(buffer, index);
        let bytes = &match block {
            Block::State => &self.blocks.state,
            Block::Argument(number) => &self.blocks.arguments[number],
            Block::Workspace => &self.blocks.workspace,
            Block::Scratch => &self.scratch,
        }[at..];
        match self.program.buffers[buffer].ty.dtype {
            dtype @ Dtype::F32 => Literal::new(dtype, f64::from(f32::from_le_bytes(first(bytes)))),
            dtype @ Dtype::F64 => Literal::new(dtype, f64::from_le_bytes(first(bytes))),
            dtype @ Dtype::I32 => Literal::integer(dtype, i64::from(i32::from_le_bytes(first(bytes)))),
            dtype @ Dtype::U32 => Literal::integer(dtype, i64::from(u32::from_le_bytes(first(bytes)))),
            dtype @ Dtype::I64 => Literal::integer(dtype, i64::from_le_bytes(first(bytes))),
            dtype @ Dtype::Bool if self.program.buffers[buffer].packed.is_some() => {
                Literal::integer(dtype, i64::from(bytes[0] >> (index % 8) & 1))
            }
            dtype @ Dtype::Bool => Literal::integer(dtype, i64::from(bytes[0])),
        }
    }

    fn write(&mut self, buffer: BufferId, index: i64, value: Literal) {
        let (block, at) = self.locate(buffer, index);
        let is_packed = self.program.buffers[buffer].packed.is_some();
        let bytes = match self.program.buffers[buffer].ty.dtype {
            Dtype::F32 => (value.as_f64() as f32).to_le_bytes().to_vec(),
            Dtype::F64 => value.as_f64().to_le_bytes().to_vec(),
            Dtype::I32 => (value.as_i64() as i32).to_le_bytes().to_vec(),
            Dtype::U32 => (value.as_i64() as u32).to_le_bytes().to_vec(),
            Dtype::I64 => value.as_i64().to_le_bytes().to_vec(),
            Dtype::Bool => vec![value.as_i64() as u8],
        };
        let block = match block {
            Block::State => &mut self.blocks.state,
            Block::Argument(number) => &mut self.blocks.arguments[number],
            Block::Workspace => &mut self.blocks.workspace,
            Block::Scratch => &mut self.scratch,
        };
        if is_packed {
            let bit = 1 << (index % 8);
            block[at] = block[at] & !bit | if bytes[0] == 0 { 0 } else { bit };
            return;
        }
        block[at..at + bytes.len()].copy_from_slice(&bytes);
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Nest(nest) => self.nest(nest),
                Step::Product(product) => self.product(product),
                Step::Call(call) => self.call(call),
                Step::Repeat(repeat) => self.repeat(repeat),
                Step::March(march) => self.march(march),
            }
        }
    }

    fn copy(&mut self, from: BufferId, to: BufferId) {
        for index in 0..self.program.buffers[to].ty.elements() as i64 {
            let value = self.read(from, index);
            self.write(to, index, value);
        }
    }

    fn repeat(&mut self, repeat: &Repeat) {
        repeat.initial.iter().for_each(|(first, carry)| self.copy(*first, *carry));
        for count in 0..repeat.length {
            let turn = if repeat.reverse { repeat.length - 1 - count } else { count };
            let slices = repeat.sequences.iter().map(|(_, slice)| slice);
            for slice in slices.chain(repeat.stacks.iter().map(|(slice, _)| slice)) {
                self.turns[*slice] = turn;
            }
            self.steps(&repeat.steps);
            repeat.advance.iter().for_each(|(next, carry)| self.copy(*next, *carry));
        }
    }

    fn march(&mut self, march: &March) {
        let stage = &march.stage;
        let (length, places) = (stage.inner[0], stage.inner[1]);
        for place in 0..places {
            let first = march
                .carries
                .iter()
                .map(|Carried { first: (buffer, map), .. }| self.read(*buffer, map.at(&[0, place])));
            let mut carried: Vec<Literal> = first.collect();
            for count in 0..length {
                let turn = if march.reverse { length - 1 - count } else { count };
                let mut values = SecondaryMap::<ValueId, Option<Literal>>::new();
                self.scalars(stage, 0, stage.values.len(), &[turn, place], &carried, &mut values);
                let value = |id: ValueId| values[id].expect("bug in bpc: a scalar of a turn without a value");
                for store in &stage.stores {
                    self.write(store.buffer, store.map.at(&[turn, place]), value(store.value));
                }
                carried = march.carries.iter().map(|carry| value(carry.next)).collect();
            }
            for (carry, value) in march.carries.iter().zip(carried) {
                if let Some((buffer, map)) = &carry.last {
                    self.write(*buffer, map.at(&[0, place]), value);
                }
            }
        }
    }

    fn call(&mut self, call: &Call) {
        let tensors: Vec<Tensor> = call
            .operands
            .iter()
            .map(|(buffer, ty)| {
                let index = |element| self.program.buffers[*buffer].index(element) as i64;
                let data = (0..ty.elements()).map(|element| self.read(*buffer, index(element)).as_f64()).collect();
                Tensor { ty: ty.clone(), data }
            })
            .collect();
        let result = interpret::evaluate(&call.op, &tensors.iter().collect::<Vec<_>>())
            .unwrap_or_else(|error| panic!("bug in bpc: a verified call: {error}"));
        for (index, value) in result.data.iter().enumerate() {
            self.write(call.result, index as i64, Literal::new(result.ty.dtype, *value));
        }
    }

    fn product(&mut self, product: &Product) {
        let dtype = self.program.buffers[product.c.buffer].ty.dtype;
        let element = |operand: &ProductOperand, batch: &[u64], row: u64, column: u64| {
            let lead: i64 = batch.iter().zip(&operand.batch_strides).map(|(at, stride)| *at as i64 * stride).sum();
            operand.offset + lead + row as i64 * operand.row_stride + column as i64 * operand.column_stride
        };
        for_each(&product.batch, |batch| {
            for row in 0..product.m {
                for column in 0..product.n {
                    let mut sum = 0.0;
                    for k in 0..product.k {
                        let a = self.read(product.a.buffer, element(&product.a, batch, row, k)).as_f64();
                        let b = self.read(product.b.buffer, element(&product.b, batch, k, column)).as_f64();
                        sum += a * b;
                    }
                    let at = element(&product.c, batch, row, column);
                    self.write(product.c.buffer, at, Literal::new(dtype, sum));
                }
            }
        });
    }

    fn nest(&mut self, nest: &Nest) {
        for_each(&nest.outer, |outer| {
            self.scratch = vec![0xff; nest.scratch_bytes as usize];
            for stage in &nest.stages {
                for_each(&stage.inner, |inner| self.place(stage, &[outer, inner].concat()));
            }
        });
    }

    /// One (outer, inner) place of a stage.
    fn place(&mut self, stage: &Stage, kept: &[u64]) {
        let mut values = SecondaryMap::<ValueId, Option<Literal>>::new();
        let inside = stage.n_inside as usize;
        let mut reduced = Vec::new();
        if stage.reductions.is_empty() {
            self.scalars(stage, 0, inside, kept, &reduced, &mut values);
        } else {
            let mut sums: Vec<Accumulator> = stage
                .reductions
                .iter()
                .map(|reduction| Accumulator::new(reduction.kind, stage.dtype(reduction.value)))
                .collect();
            let lanes = stage.vector_axis.is_some_and(|axis| axis as usize == kept.len() + stage.reduced.len() - 1);
            for_each(&stage.reduced, |at| {
                self.scalars(stage, 0, inside, &[kept, at].concat(), &reduced, &mut values);
                let last = at.last().copied().unwrap_or(0);
                for (sum, reduction) in sums.iter_mut().zip(&stage.reductions) {
                    let value = values[reduction.value].expect("bug in bpc: a reduced scalar without a value");
                    sum.add(value, if lanes { (last % 16) as usize } else { 0 }, last);
                }
            });
            reduced = sums.iter().map(Accumulator::finish).collect();
        }
        let after = [kept, &vec![0; stage.reduced.len()]].concat();
        self.scalars(stage, inside, stage.values.len(), &after, &reduced, &mut values);
        for store in &stage.stores {
            let value = values[store.value].expect("bug in bpc: a stored scalar without a value");
            self.write(store.buffer, store.map.at(&after), value);
        }
    }

    /// Scalars `from .. to`; `given` is what reductions or carries hold.
    fn scalars(
        &self,
        stage: &Stage,
        from: usize,
        to: usize,
        axes: &[u64],
        given: &[Literal],
        values: &mut SecondaryMap<ValueId, Option<Literal>>,
    ) {
        for (id, scalar) in stage.values.iter().take(to).skip(from) {
            let dtype = stage.dtype(id);
            let get = |id: &ValueId| values[*id].expect("bug in bpc: a scalar is used before it is computed");
            let value = match scalar {
                Scalar::Literal(literal) => *literal,
                Scalar::Index { map, dtype } => rounded::whole(*dtype, map.at(axes)),
                Scalar::Load { buffer, map, guards, otherwise } => {
                    let holds = |map: &AffineMap, low: i64, high: i64| (low..high).contains(&map.at(axes));
                    if guards.iter().all(|guard| holds(&guard.map, guard.low, guard.high)) {
                        self.read(*buffer, map.at(axes))
                    } else {
                        *otherwise
                    }
                }
                Scalar::Gather { buffer, index, rows, row_stride, map } => {
                    let row = get(index).as_i64();
                    if (0..*rows as i64).contains(&row) {
                        self.read(*buffer, row * row_stride + map.at(axes))
                    } else {
                        Literal::new(dtype, f64::NAN)
                    }
                }
                Scalar::Random { normal, site, seed, step, map, dtype } => {
                    let seed = [self.read(*seed, 0).as_i64() as u32, self.read(*seed, 1).as_i64() as u32];
                    let step = self.read(*step, 0).as_i64() as i32;
                    let index = map.at(axes) as u64;
                    let value = match (normal, dtype) {
                        (true, Dtype::F64) => philox::normal_f64(seed, step, *site, index),
                        (true, _) => f64::from(philox::normal_f32(seed, step, *site, index)),
                        (false, Dtype::F64) => philox::uniform_f64(seed, step, *site, index),
                        (false, _) => f64::from(philox::uniform_f32(seed, step, *site, index)),
                    };
                    Literal::new(*dtype, value)
                }
                Scalar::Unary(op, x) => rounded::unary(op, get(x)),
                Scalar::Binary(op, x, y) => rounded::binary(op, get(x), get(y)),
                Scalar::Select(condition, x, y) => {
                    if get(condition).as_i64() != 0 {
                        get(x)
                    } else {
                        get(y)
                    }
                }
                Scalar::Cast(x, dtype) => rounded::cast(get(x), *dtype),
                Scalar::Reduced(index) | Scalar::Carried(index) => given[*index as usize],
            };
            values[id] = Some(value);
        }
    }
}

/// A reduction under way.
struct Accumulator {
    kind: ReductionKind,
    dtype: Dtype,
    lanes: [Literal; 16],
    best: Option<(Literal, u64)>,
}

impl Accumulator {
    fn new(kind: ReductionKind, dtype: Dtype) -> Accumulator {
        Accumulator { kind, dtype, lanes: [Literal::new(dtype, 0.0); 16], best: None }
    }

    fn add(&mut self, value: Literal, lane: usize, at: u64) {
        match (self.kind, self.best) {
            (ReductionKind::Sum, _) => {
                self.lanes[lane] = rounded::binary(&Op::Add {}, self.lanes[lane], value);
            }
            (_, None) => self.best = Some((value, at)),
            (ReductionKind::Max, Some((best, _))) => {
                self.best = Some((rounded::binary(&Op::Maximum {}, best, value), at));
            }
            (ReductionKind::Min, Some((best, _))) => {
                self.best = Some((rounded::binary(&Op::Minimum {}, best, value), at));
            }
            (ReductionKind::Argmax, Some((best, _))) => {
                let larger = if self.dtype.is_float() {
                    let (best, value) = (best.as_f64(), value.as_f64());
                    !best.is_nan() && (value.is_nan() || value > best)
                } else {
                    value.as_i64() > best.as_i64()
                };
                if larger {
                    self.best = Some((value, at));
                }
            }
        }
    }

    fn finish(&self) -> Literal {
        match (self.kind, self.best) {
            (ReductionKind::Sum, _) => {
                let mut lanes = self.lanes;
                for half in [8, 4, 2, 1] {
                    for lane in 0..half {
                        lanes[lane] = rounded::binary(&Op::Add {}, lanes[lane], lanes[lane + half]);
                    }
                }
                lanes[0]
            }
            (ReductionKind::Argmax, Some((_, at))) => Literal::integer(Dtype::I32, at as i64),
            (_, Some((best, _))) => best,
            (_, None) => Literal::new(self.dtype, f64::NAN),
        }
    }
}

/// Calls `body` for every index of a box, in row-major order.
fn for_each(sizes: &[u64], mut body: impl FnMut(&[u64])) {
    let total: u64 = sizes.iter().product();
    let mut at = vec![0; sizes.len()];
    for _ in 0..total {
        body(&at);
        for axis in (0..sizes.len()).rev() {
            at[axis] += 1;
            if at[axis] < sizes[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut result = [0; N];
    result.copy_from_slice(&bytes[..N]);
    result
}
