//! A region as a list of steps: every node that lies in memory gets a buffer and the loops or the call that fill it.
//!
//! Expects: a region without markers.
//! Guarantees: each buffer is written once, before it is read, by one nest, product, call or loop; nests have one
//! stage each, without outer axes. Results of the main region lie in buffers of their own.
//! Leaves out: fusion of stages (`fuse`), the choice of outer and vector axes (`schedule`), places (`plan`).

use super::emit::{Buffers, Emitter};
use super::ir::{
    AffineMap, Buffer, BufferId, BufferRole, Call, Guard, Nest, Place, Program, ReductionKind, Scalar, Stage, Step,
    Store,
};
use super::memory::{self, Memory};
use super::product;
use super::views::{self, Failure};
use crate::ir::graph::{Graph, NodeId, OutputRole, Region, RegionId};
use crate::ir::op::{Op, OpClass};
use crate::ir::types::{Dtype, TensorType, Type};

/// A region under construction.
pub struct Builder<'a> {
    /// The graph, for the bodies of loops.
    pub graph: &'a Graph,
    /// Where buffers go.
    pub program: &'a mut Program,
    /// The region.
    pub region: &'a Region,
    /// The buffers of its nodes so far.
    pub buffers: Buffers,
    /// Its steps so far.
    pub steps: Vec<Step>,
}

/// What fills a node, or why not yet.
type Attempt = Result<(), Failure<NodeId>>;

/// The loop axes that run over a tensor: each of its axes as a product of loop axes.
#[derive(Clone)]
struct Axes {
    /// For each axis of the tensor the sizes of its loop axes, outermost first; none for size 1.
    factors: Vec<Vec<u64>>,
}

impl Axes {
    fn new(shape: &[u64]) -> Axes {
        Axes { factors: shape.iter().map(|size| if *size == 1 { vec![] } else { vec![*size] }).collect() }
    }

    fn split(&mut self, axis: usize, inner: u64) {
        let mut first = 0;
        for factors in &mut self.factors {
            if axis < first + factors.len() {
                let size = factors[axis - first];
                factors[axis - first] = size / inner;
                factors.insert(axis - first + 1, inner);
                return;
            }
            first += factors.len();
        }
    }

    fn sizes(&self) -> Vec<u64> {
        self.factors.concat()
    }

    /// The coordinates of the tensor's axes in `all` loop axes, of which these begin at `first`.
    fn coordinates(&self, mut first: usize, all: usize) -> Vec<AffineMap> {
        let mut result = Vec::new();
        for factors in &self.factors {
            let mut map = AffineMap::constant(0, all);
            for (i, stride) in views::row_major(factors).into_iter().enumerate() {
                map.strides[first + i] = stride;
            }
            first += factors.len();
            result.push(map);
        }
        result
    }
}

impl<'a> Builder<'a> {
    /// An empty list of steps; the buffers of the inputs are given.
    pub fn new(graph: &'a Graph, program: &'a mut Program, region: RegionId, inputs: &[BufferId]) -> Builder<'a> {
        let region = &graph.regions[region];
        let mut buffers = Buffers::new();
        for (input, buffer) in region.inputs.iter().zip(inputs) {
            buffers[*input] = Some(*buffer);
        }
        Builder { graph, program, region, buffers, steps: Vec::new() }
    }

    /// Fills every node that lies in memory.
    ///
    /// # Errors
    /// A sentence, where the region holds what kernels cannot express.
    pub fn run(&mut self) -> Result<(), String> {
        let Memory { live, stored } = memory::decide(self.region);
        for id in self.region.nodes.keys() {
            if live.contains(id) && stored[id] && !matches!(self.region.nodes[id].op, Op::Scan { .. }) {
                self.materialise(id)?;
            }
        }
        Ok(())
    }

    /// The buffer that holds a node, filled by now.
    ///
    /// # Errors
    /// The same.
    pub fn materialise(&mut self, id: NodeId) -> Result<BufferId, String> {
        if let Some(buffer) = self.buffers[id] {
            return Ok(buffer);
        }
        let node = &self.region.nodes[id];
        match &node.op {
            // Row-major memory is the same under every shape.
            Op::Reshape { .. } => {
                let buffer = self.materialise(node.operands[0])?;
                self.buffers[id] = Some(buffer);
                return Ok(buffer);
            }
            Op::Scan { .. } => return Err(format!("bug in bpc: the tuple {id} as one tensor")),
            Op::Project { index } => {
                let scan = node.operands[0];
                super::repeat::build(self, scan)?;
                return self.buffers[id].ok_or_else(|| format!("bug in bpc: the scan {scan} gave no part {index}"));
            }
            _ => {}
        }
        let buffer = self.temporary(self.region.tensor(id).clone());
        self.fill(id, buffer)?;
        self.buffers[id] = Some(buffer);
        Ok(buffer)
    }

    /// A new buffer in between.
    pub fn temporary(&mut self, ty: TensorType) -> BufferId {
        self.program.buffers.push(Buffer::temporary(ty))
    }

    /// Writes a node to a buffer.
    ///
    /// # Errors
    /// The same.
    pub fn fill(&mut self, id: NodeId, buffer: BufferId) -> Result<(), String> {
        if self.region.tensor(id).elements() == 0 {
            return Ok(());
        }
        let node = &self.region.nodes[id];
        match &node.op {
            Op::Matmul {} => loop {
                match product::build(self, id, buffer) {
                    Ok(()) => return Ok(()),
                    Err(Failure::Materialise(operand)) => self.materialise_operand(id, operand)?,
                    Err(failure) => return Err(format!("bug in bpc: a product failed: {failure:?}")),
                }
            },
            op if matches!(op.class(), OpClass::Library) => {
                let operands: Result<Vec<_>, String> = node
                    .operands
                    .iter()
                    .map(|operand| Ok((self.materialise(*operand)?, self.region.tensor(*operand).clone())))
                    .collect();
                let mut call = Call { op: op.clone(), operands: operands?, result: buffer, memory: None };
                let bytes = call.routine(self.program).room.call;
                call.memory = (bytes > 0).then(|| self.temporary(TensorType::new(Dtype::U32, [bytes.div_ceil(4)])));
                self.steps.push(Step::Call(call));
                Ok(())
            }
            Op::Concat { axis } => {
                let mut first = 0;
                for part in self.parts(id, *axis) {
                    self.part(part, id, *axis as usize, first, buffer)?;
                    first += self.region.tensor(part).shape[*axis as usize];
                }
                Ok(())
            }
            Op::Unwindows { axis, length, stride } => self.unwindows(id, *axis as usize, *length, *stride, buffer),
            Op::ReduceSum { axes } => self.reduce(id, axes, ReductionKind::Sum, buffer),
            Op::ReduceMax { axes } => self.reduce(id, axes, ReductionKind::Max, buffer),
            Op::ReduceMin { axes } => self.reduce(id, axes, ReductionKind::Min, buffer),
            Op::Argmax { axis } => self.reduce(id, &[*axis], ReductionKind::Argmax, buffer),
            _ => self.map(id, buffer),
        }
    }

    /// Puts a node into memory that another one asks for.
    fn materialise_operand(&mut self, user: NodeId, operand: NodeId) -> Result<(), String> {
        if user == operand {
            return Err(format!("bug in bpc: {} {user} waits for itself", self.region.nodes[user].op.name()));
        }
        self.materialise(operand).map(drop)
    }

    fn name(&self, id: NodeId) -> String {
        self.region.nodes[id].op.name().to_owned()
    }

    /// Tries to build a stage over the axes of `kept` and `reduced` until the axes fit.
    fn stage(
        &mut self,
        id: NodeId,
        kept: &[u64],
        reduced: &[u64],
        build: impl Fn(&mut Emitter<'_>, &[AffineMap], &[AffineMap]) -> Attempt,
    ) -> Result<(), String> {
        let (mut kept, mut reduced) = (Axes::new(kept), Axes::new(reduced));
        loop {
            let (inner, inside) = (kept.sizes(), reduced.sizes());
            let all = inner.len() + inside.len();
            let coordinates = kept.coordinates(0, all);
            let reduced_coordinates = reduced.coordinates(inner.len(), all);
            let mut emitter = Emitter::new(self.region, &self.buffers, [inner.clone(), inside.clone()].concat());
            match build(&mut emitter, &coordinates, &reduced_coordinates) {
                Ok(()) => {
                    let mut stage = emitter.stage;
                    let after = usize::from(!stage.reductions.is_empty()) * stage.stores.len();
                    stage.n_inside = (stage.values.len() - after) as u32;
                    (stage.inner, stage.reduced) = (inner, inside);
                    let name = self.name(id);
                    self.steps.push(Step::Nest(Nest {
                        name,
                        outer: Vec::new(),
                        stages: vec![stage],
                        scratch_bytes: 0,
                    }));
                    return Ok(());
                }
                Err(Failure::Split { axis, inner: size }) if axis < inner.len() => kept.split(axis, size),
                Err(Failure::Split { axis, inner: size }) => reduced.split(axis - inner.len(), size),
                Err(Failure::Materialise(operand)) => self.materialise_operand(id, operand)?,
                Err(Failure::Impossible(sentence)) => return Err(sentence),
            }
        }
    }

    /// An elementwise value or a view, as a map over its places.
    fn map(&mut self, id: NodeId, buffer: BufferId) -> Result<(), String> {
        let shape = self.region.tensor(id).shape.clone();
        self.stage(id, &shape, &[], |emitter, coordinates, _| {
            let value = emitter.read(id, coordinates)?;
            let map = views::linear(coordinates, &shape, emitter.axes());
            emitter.stage.stores.push(Store { buffer, map, value });
            Ok(())
        })
    }

    /// A copy of a node that lies in memory already.
    ///
    /// # Errors
    /// The same.
    pub fn copy(&mut self, id: NodeId, buffer: BufferId) -> Result<(), String> {
        let ty = self.region.tensor(id).clone();
        let from = self.materialise(id)?;
        if ty.elements() > 0 {
            self.steps.push(Step::Nest(copy(from, buffer, &ty)));
        }
        Ok(())
    }

    /// The parts of a chain of concats along one axis that nobody else needs.
    fn parts(&self, id: NodeId, axis: u32) -> Vec<NodeId> {
        match &self.region.nodes[id].op {
            Op::Concat { axis: own } if *own == axis && self.buffers[id].is_none() => {
                self.region.nodes[id].operands.iter().flat_map(|operand| self.parts(*operand, axis)).collect()
            }
            _ => vec![id],
        }
    }

    /// Writes a part of a concat to its place.
    fn part(&mut self, part: NodeId, whole: NodeId, axis: usize, first: u64, buffer: BufferId) -> Result<(), String> {
        let shape = self.region.tensor(part).shape.clone();
        let whole_shape = self.region.tensor(whole).shape.clone();
        if shape.contains(&0) {
            return Ok(());
        }
        self.stage(part, &shape, &[], |emitter, coordinates, _| {
            let value = emitter.read(part, coordinates)?;
            let mut at = coordinates.to_vec();
            at[axis].offset += first as i64;
            let map = views::linear(&at, &whole_shape, emitter.axes());
            emitter.stage.stores.push(Store { buffer, map, value });
            Ok(())
        })
    }

    fn reduce(&mut self, id: NodeId, axes: &[u32], kind: ReductionKind, buffer: BufferId) -> Result<(), String> {
        let operand = self.region.nodes[id].operands[0];
        let shape = self.region.tensor(operand).shape.clone();
        let result = self.region.tensor(id).clone();
        let is_reduced = |axis: usize| axes.contains(&(axis as u32));
        let only = |wanted: bool| -> Vec<u64> {
            shape.iter().enumerate().map(|(axis, size)| if is_reduced(axis) == wanted { *size } else { 1 }).collect()
        };
        self.stage(id, &only(false), &only(true), |emitter, kept, reduced| {
            let at: Vec<AffineMap> = (0..shape.len())
                .map(|axis| if is_reduced(axis) { reduced[axis].clone() } else { kept[axis].clone() })
                .collect();
            let value = if shape.contains(&0) { emitter.zero(result.dtype) } else { emitter.read(operand, &at)? };
            emitter.finish(kind, value, buffer, views::linear(kept, &result.shape, emitter.axes()), result.dtype);
            Ok(())
        })
    }

    /// The sum over the windows that hold a place. With place = stride q + r and offset in the window = r + stride i,
    /// the window is q - i, so that everything is affine in q, r and the reduced i.
    fn unwindows(&mut self, id: NodeId, axis: usize, length: u64, stride: u64, buffer: BufferId) -> Result<(), String> {
        let operand = self.region.nodes[id].operands[0];
        let ty = self.region.tensor(operand).clone();
        let (windows, size) = (ty.shape[axis] as i64, ty.shape[axis + 1] as i64);
        let rounded = length.next_multiple_of(stride);
        let mut shape = self.region.tensor(id).shape.clone();
        shape[axis] = rounded;
        // Where the stride does not divide the length, the last places come from a longer buffer.
        let target = if rounded == length { buffer } else { self.temporary(TensorType::new(ty.dtype, shape.clone())) };
        let mut split = shape.clone();
        split.splice(axis..=axis, [rounded / stride, stride]);
        let turns = (size as u64).div_ceil(stride);
        self.stage(id, &split, &[turns], |emitter, kept, reduced| {
            let mut at = kept.to_vec();
            at[axis] = kept[axis].plus(&reduced[0].scaled(-1));
            at[axis + 1] = kept[axis + 1].plus(&reduced[0].scaled(stride as i64));
            let guards = [
                Guard { map: at[axis].clone(), low: 0, high: windows },
                Guard { map: at[axis + 1].clone(), low: 0, high: size },
            ];
            let value =
                if ty.shape.contains(&0) { emitter.zero(ty.dtype) } else { emitter.guarded(operand, &at, &guards)? };
            let map = views::linear(kept, &split, emitter.axes());
            emitter.finish(ReductionKind::Sum, value, target, map, ty.dtype);
            Ok(())
        })?;
        if rounded != length {
            let whole = self.region.tensor(id).shape.clone();
            let mut stage = Stage { inner: whole.clone(), ..Stage::default() };
            let maps: Vec<AffineMap> = (0..whole.len()).map(|axis| AffineMap::axis(axis, whole.len())).collect();
            let from = views::linear(&maps, &shape, whole.len());
            let to = views::linear(&maps, &whole, whole.len());
            push_copy(&mut stage, (target, from), (buffer, to), ty.dtype);
            let name = self.name(id);
            self.steps.push(Step::Nest(Nest { name, outer: vec![], stages: vec![stage], scratch_bytes: 0 }));
        }
        Ok(())
    }
}

/// A nest that copies a whole buffer.
pub fn copy(from: BufferId, to: BufferId, ty: &TensorType) -> Nest {
    // By places of the first axis, which are rows where bits are packed.
    let rows = ty.shape.first().copied().unwrap_or(1);
    let inner = vec![rows, ty.elements() / rows.max(1)];
    let map = AffineMap { offset: 0, strides: views::row_major(&inner) };
    let mut stage = Stage { inner, ..Stage::default() };
    push_copy(&mut stage, (from, map.clone()), (to, map), ty.dtype);
    Nest { name: "copy".to_owned(), outer: vec![], stages: vec![stage], scratch_bytes: 0 }
}

fn push_copy(stage: &mut Stage, from: (BufferId, AffineMap), to: (BufferId, AffineMap), dtype: Dtype) {
    let load = Scalar::Load {
        buffer: from.0,
        map: from.1,
        guards: vec![],
        otherwise: crate::ir::types::Literal::new(dtype, 0.0),
    };
    let value = stage.value(load, dtype);
    stage.n_inside = 1;
    stage.stores.push(Store { buffer: to.0, map: to.1, value });
}

/// The main region: inputs and results get the buffers that the caller sees. Gives the next values and where they go.
///
/// # Errors
/// The same.
pub fn main(graph: &Graph, program: &mut Program) -> Result<Vec<(BufferId, BufferId)>, String> {
    let region = graph.main();
    let mut inputs = Vec::new();
    for input in &region.inputs {
        let Op::Input { role, name, ty } = &region.nodes[*input].op else {
            return Err(format!("bug in bpc: the input {input} is a {}", region.nodes[*input].op.name()));
        };
        inputs.push(program.buffers.push(Buffer {
            name: name.clone(),
            ty: ty.clone(),
            role: role_of(*role),
            place: Place::Unplanned,
            packed: None,
        }));
    }
    let mut builder = Builder::new(graph, program, graph.main_id(), &inputs);
    builder.run()?;
    let mut named = std::collections::BTreeSet::new();
    let mut updates = Vec::new();
    for output in &region.results {
        let Type::Tensor(ty) = &region.nodes[output.node].ty else {
            return Err(format!("bug in bpc: the result {} is a tuple", output.name));
        };
        match output.role {
            OutputRole::Value | OutputRole::Warning => {
                let at = builder.materialise(output.node)?;
                let fresh = builder.program.buffers[at].role == BufferRole::Temporary && named.insert(at);
                let buffer = if fresh { at } else { builder.temporary(ty.clone()) };
                if !fresh {
                    builder.copy(output.node, buffer)?;
                }
                let entry = &mut builder.program.buffers[buffer];
                entry.ty = ty.clone();
                entry.name.clone_from(&output.name);
                entry.role = match output.role {
                    OutputRole::Warning => BufferRole::Warning,
                    _ => BufferRole::Output,
                };
            }
            OutputRole::Next => {
                let Some(target) = region.input_named(&output.name) else {
                    return Err(format!("bug in bpc: a next value of {}, which is no input", output.name));
                };
                if target == output.node {
                    continue;
                }
                let target = inputs[region.inputs.iter().position(|input| *input == target).unwrap_or_default()];
                let mut next = builder.materialise(output.node)?;
                // An old value that becomes another's next value may be overwritten before it is read.
                if matches!(builder.program.buffers[next].role, BufferRole::Parameter | BufferRole::State) {
                    next = builder.temporary(ty.clone());
                    builder.copy(output.node, next)?;
                }
                updates.push((next, target));
            }
        }
    }
    program.steps = builder.steps;
    Ok(updates)
}

fn role_of(role: crate::ir::graph::InputRole) -> BufferRole {
    use crate::ir::graph::InputRole;
    match role {
        InputRole::Parameter => BufferRole::Parameter,
        InputRole::State | InputRole::Seed | InputRole::Step => BufferRole::State,
        InputRole::Data | InputRole::Argument | InputRole::Cotangent => BufferRole::Data,
    }
}
