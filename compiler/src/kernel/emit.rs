//! One value of the graph as a scalar computation: elementwise chains become scalars, views become index maps and
//! guards, nodes in memory become loads.
//!
//! Expects: loop axes and, for the node asked for, its coordinates in them.
//! Guarantees: memory is touched only inside buffers; the same value at the same place is computed once a stage.
//! Leaves out: which nodes lie in memory (`memory`) and which loops there are (`region`).

use super::ir::{AffineMap, BufferId, Guard, Reduction, ReductionKind, Scalar, Stage, Store, ValueId};
use super::views::{self, Failure};
use crate::ir::graph::{NodeId, Region};
use crate::ir::op::{Op, OpClass};
use crate::ir::types::{Dtype, Literal};
use cranelift_entity::SecondaryMap;
use std::collections::BTreeMap;

/// The buffers of the nodes that lie in memory.
pub type Buffers = SecondaryMap<NodeId, Option<BufferId>>;

/// A stage under construction.
pub struct Emitter<'a> {
    region: &'a Region,
    buffers: &'a Buffers,
    /// Sizes of the loop axes.
    sizes: Vec<u64>,
    /// What is built.
    pub stage: Stage,
    known: BTreeMap<(NodeId, Vec<AffineMap>, Vec<Guard>), ValueId>,
}

impl<'a> Emitter<'a> {
    /// An empty stage over loop axes of these sizes, none of which is 0.
    pub fn new(region: &'a Region, buffers: &'a Buffers, sizes: Vec<u64>) -> Emitter<'a> {
        Emitter { region, buffers, sizes, stage: Stage::default(), known: BTreeMap::new() }
    }

    /// The buffer of a node that lies in memory, under whatever shape.
    fn buffer(&self, mut node: NodeId) -> Option<BufferId> {
        loop {
            if let Some(buffer) = self.buffers[node] {
                return Some(buffer);
            }
            let Op::Reshape { .. } = self.region.nodes[node].op else { return None };
            node = self.region.nodes[node].operands[0];
        }
    }

    /// How many loop axes there are.
    pub fn axes(&self) -> usize {
        self.sizes.len()
    }

    /// The value of a node at these coordinates.
    ///
    /// # Errors
    /// Where the loop axes do not fit or a node must lie in memory first.
    pub fn read(&mut self, node: NodeId, coordinates: &[AffineMap]) -> Result<ValueId, Failure<NodeId>> {
        self.emit(node, coordinates, &[])
    }

    /// The number 0.
    pub fn zero(&mut self, dtype: Dtype) -> ValueId {
        self.stage.value(Scalar::Literal(Literal::new(dtype, 0.0)), dtype)
    }

    /// Reduces a value and stores what comes out; nothing can be read into the stage after it.
    pub fn finish(&mut self, kind: ReductionKind, value: ValueId, buffer: BufferId, map: AffineMap, dtype: Dtype) {
        self.stage.reductions.push(Reduction { kind, value });
        let value = self.stage.value(Scalar::Reduced(0), dtype);
        self.stage.stores.push(Store { buffer, map, value });
    }

    /// The value of a node at these coordinates; where a guard fails, zero.
    ///
    /// # Errors
    /// The same.
    pub fn guarded(
        &mut self,
        node: NodeId,
        coordinates: &[AffineMap],
        guards: &[Guard],
    ) -> Result<ValueId, Failure<NodeId>> {
        self.padded(node, coordinates, &[], guards, Literal::new(self.region.tensor(node).dtype, 0.0))
    }

    /// The value of a node that is read through affine maps without guards only.
    ///
    /// # Errors
    /// The same.
    pub fn place(&self, node: NodeId, coordinates: &[AffineMap]) -> Result<(BufferId, AffineMap), Failure<NodeId>> {
        let (source, coordinates) = self.source(node, coordinates.to_vec())?;
        let Some(buffer) = self.buffer(source) else { return Err(Failure::Materialise(source)) };
        Ok((buffer, views::linear(&coordinates, &self.region.tensor(source).shape, self.sizes.len())))
    }

    /// Follows views without padding down to a node that is none or lies in memory.
    fn source(
        &self,
        mut node: NodeId,
        mut coordinates: Vec<AffineMap>,
    ) -> Result<(NodeId, Vec<AffineMap>), Failure<NodeId>> {
        while self.buffer(node).is_none() {
            let Some(next) = self.through(node, &coordinates)? else { break };
            coordinates = next;
            node = self.region.nodes[node].operands[0];
        }
        Ok((node, coordinates))
    }

    /// The coordinates that a view without padding asks of its operand; `None` for any other node.
    fn through(&self, node: NodeId, coordinates: &[AffineMap]) -> Result<Option<Vec<AffineMap>>, Failure<NodeId>> {
        let operand_shape = |index: usize| &self.region.tensor(self.region.nodes[node].operands[index]).shape;
        let mut result = coordinates.to_vec();
        match &self.region.nodes[node].op {
            Op::Reshape { shape } => {
                return match views::reshape(coordinates, shape, operand_shape(0), &self.sizes) {
                    Ok(maps) => Ok(Some(maps)),
                    Err(Some((axis, inner))) => Err(Failure::Split { axis, inner }),
                    Err(None) => Err(Failure::Materialise(node)),
                };
            }
            Op::Permute { axes } => {
                for (axis, from) in axes.iter().enumerate() {
                    result[*from as usize] = coordinates[axis].clone();
                }
            }
            Op::Broadcast { .. } => {
                for (coordinate, size) in result.iter_mut().zip(operand_shape(0)) {
                    if *size == 1 {
                        *coordinate = AffineMap::constant(0, self.sizes.len());
                    }
                }
            }
            Op::Slice { starts, .. } => {
                for (coordinate, start) in result.iter_mut().zip(starts) {
                    coordinate.offset += *start as i64;
                }
            }
            Op::Reverse { axis } => {
                let axis = *axis as usize;
                result[axis] = result[axis].scaled(-1).shifted(operand_shape(0)[axis] as i64 - 1);
            }
            Op::Windows { axis, stride, .. } => {
                let axis = *axis as usize;
                let place = result.remove(axis + 1);
                result[axis] = result[axis].scaled(*stride as i64).plus(&place);
            }
            _ => return Ok(None),
        }
        Ok(Some(result))
    }

    fn emit(&mut self, node: NodeId, coordinates: &[AffineMap], guards: &[Guard]) -> Result<ValueId, Failure<NodeId>> {
        let zero = Literal::new(self.region.tensor(node).dtype, 0.0);
        if let Some(buffer) = self.buffer(node) {
            return Ok(self.load(node, buffer, coordinates, guards, zero));
        }
        let key = (node, coordinates.to_vec(), guards.to_vec());
        if let Some(value) = self.known.get(&key) {
            return Ok(*value);
        }
        let value = self.emit_new(node, coordinates, guards)?;
        self.known.insert(key, value);
        Ok(value)
    }

    fn load(
        &mut self,
        node: NodeId,
        buffer: BufferId,
        coordinates: &[AffineMap],
        guards: &[Guard],
        otherwise: Literal,
    ) -> ValueId {
        let ty = self.region.tensor(node);
        let map = views::linear(coordinates, &ty.shape, self.sizes.len());
        let otherwise = if guards.is_empty() { Literal::new(ty.dtype, 0.0) } else { otherwise };
        self.stage.value(Scalar::Load { buffer, map, guards: guards.to_vec(), otherwise }, ty.dtype)
    }

    fn emit_new(
        &mut self,
        node: NodeId,
        coordinates: &[AffineMap],
        guards: &[Guard],
    ) -> Result<ValueId, Failure<NodeId>> {
        if let Some(next) = self.through(node, coordinates)? {
            let operand = self.region.nodes[node].operands[0];
            return self.emit(operand, &next, guards);
        }
        let region = self.region;
        let entry = &region.nodes[node];
        let ty = region.tensor(node);
        let operands = &entry.operands;
        let scalar = match &entry.op {
            Op::Constant { value, .. } => Scalar::Literal(*value),
            Op::Iota { axis, ty } => Scalar::Index { map: coordinates[*axis as usize].clone(), dtype: ty.dtype },
            Op::Pad { low, value, .. } => {
                let mut inner = coordinates.to_vec();
                let mut own = Vec::new();
                let shape = &region.tensor(operands[0]).shape;
                for (axis, coordinate) in inner.iter_mut().enumerate() {
                    coordinate.offset -= low[axis] as i64;
                    let (least, most) = coordinate.range(&self.sizes);
                    if least < 0 || most >= shape[axis] as i64 {
                        own.push(Guard { map: coordinate.clone(), low: 0, high: shape[axis] as i64 });
                    }
                }
                return self.padded(operands[0], &inner, guards, &own, *value);
            }
            Op::Concat { axis, .. } => {
                let axis = *axis as usize;
                let first = region.tensor(operands[0]).shape[axis] as i64;
                let second = region.tensor(operands[1]).shape[axis] as i64;
                let range = coordinates[axis].range(&self.sizes);
                let mut shifted = coordinates.to_vec();
                shifted[axis].offset -= first;
                if range.1 < first && guards.is_empty() {
                    return self.emit(operands[0], coordinates, guards);
                }
                if range.0 >= first && guards.is_empty() {
                    return self.emit(operands[1], &shifted, guards);
                }
                let mut inside = guards.to_vec();
                let guard = Guard { map: coordinates[axis].clone(), low: 0, high: first };
                inside.push(guard.clone());
                let x = self.emit(operands[0], coordinates, &inside)?;
                inside.pop();
                inside.push(Guard { map: shifted[axis].clone(), low: 0, high: second });
                let y = self.emit(operands[1], &shifted, &inside)?;
                let condition = self.condition(&[guard]);
                Scalar::Select(condition, x, y)
            }
            Op::Take { .. } => {
                if !guards.is_empty() {
                    return Err(Failure::Materialise(node));
                }
                let (at, in_row) = coordinates.split_at(region.tensor(operands[1]).rank());
                let index = self.emit(operands[1], at, guards)?;
                let rows = region.tensor(operands[0]).shape[0];
                let (buffer, map) = self.row(operands[0], rows, in_row)?;
                let (map, row_stride) = (
                    AffineMap { offset: map.offset, strides: map.strides[..self.sizes.len()].to_vec() },
                    map.strides[self.sizes.len()],
                );
                Scalar::Gather { buffer, index, rows, row_stride, map }
            }
            Op::Random { normal, site, ty } => {
                let place = |operand: NodeId| self.buffer(operand).ok_or(Failure::Materialise(operand));
                Scalar::Random {
                    normal: *normal,
                    site: bpc_runtime::abi::site_hash(site),
                    seed: place(operands[0])?,
                    step: place(operands[1])?,
                    map: views::linear(coordinates, &ty.shape, self.sizes.len()),
                    dtype: ty.dtype,
                }
            }
            Op::Select {} => {
                let mut parts = [ValueId::from_u32(0); 3];
                for (part, operand) in parts.iter_mut().zip(operands) {
                    *part = self.emit(*operand, coordinates, guards)?;
                }
                Scalar::Select(parts[0], parts[1], parts[2])
            }
            Op::Cast { dtype } => Scalar::Cast(self.emit(operands[0], coordinates, guards)?, *dtype),
            op => match op.class() {
                OpClass::Unary(_) => Scalar::Unary(op.clone(), self.emit(operands[0], coordinates, guards)?),
                OpClass::Binary(_) => {
                    let x = self.emit(operands[0], coordinates, guards)?;
                    Scalar::Binary(op.clone(), x, self.emit(operands[1], coordinates, guards)?)
                }
                OpClass::Marker => {
                    return Err(Failure::Impossible(format!("bug in bpc: {} reaches the kernels", op.name())));
                }
                _ => return Err(Failure::Materialise(node)),
            },
        };
        Ok(self.stage.value(scalar, ty.dtype))
    }

    /// A node under guards of its own besides those that hold around it; `value` where its own fail.
    fn padded(
        &mut self,
        node: NodeId,
        coordinates: &[AffineMap],
        around: &[Guard],
        own: &[Guard],
        value: Literal,
    ) -> Result<ValueId, Failure<NodeId>> {
        let mut all = around.to_vec();
        all.extend(own.iter().filter(|guard| !around.contains(guard)).cloned());
        let (source, at) = self.source(node, coordinates.to_vec())?;
        if let Some(buffer) = self.buffer(source) {
            return Ok(self.load(source, buffer, &at, &all, value));
        }
        let inside = self.emit(node, coordinates, &all)?;
        if own.is_empty() {
            return Ok(inside);
        }
        let condition = self.condition(own);
        let outside = self.stage.value(Scalar::Literal(value), value.dtype);
        Ok(self.stage.value(Scalar::Select(condition, inside, outside), value.dtype))
    }

    /// Whether all these guards hold, as a scalar.
    fn condition(&mut self, guards: &[Guard]) -> ValueId {
        let mut all: Option<ValueId> = None;
        for guard in guards {
            let (least, most) = guard.map.range(&self.sizes);
            // A coordinate beyond 32 bits is rare, and twice as slow.
            let narrow = [least, most, guard.low, guard.high].iter().all(|value| i32::try_from(*value).is_ok());
            let dtype = if narrow { Dtype::I32 } else { Dtype::I64 };
            let index = self.stage.value(Scalar::Index { map: guard.map.clone(), dtype }, dtype);
            let mut parts = Vec::new();
            if least < guard.low {
                let low = self.whole(dtype, guard.low);
                parts.push(self.stage.value(Scalar::Binary(Op::LessEqual {}, low, index), Dtype::Bool));
            }
            if most >= guard.high {
                let high = self.whole(dtype, guard.high);
                parts.push(self.stage.value(Scalar::Binary(Op::Less {}, index, high), Dtype::Bool));
            }
            for part in parts {
                all = Some(match all {
                    None => part,
                    Some(before) => self.stage.value(Scalar::Binary(Op::And {}, before, part), Dtype::Bool),
                });
            }
        }
        let yes = Literal::new(Dtype::Bool, 1.0);
        all.unwrap_or_else(|| self.stage.value(Scalar::Literal(yes), Dtype::Bool))
    }

    fn whole(&mut self, dtype: Dtype, value: i64) -> ValueId {
        self.stage.value(Scalar::Literal(Literal::integer(dtype, value)), dtype)
    }

    /// A row of a table: the map has one axis more than there are loop axes, the row.
    fn row(&self, table: NodeId, rows: u64, in_row: &[AffineMap]) -> Result<(BufferId, AffineMap), Failure<NodeId>> {
        let mut sizes = self.sizes.clone();
        sizes.push(rows.max(1));
        let axes = sizes.len();
        let mut coordinates = vec![AffineMap::axis(axes - 1, axes)];
        coordinates.extend(in_row.iter().map(|map| {
            let mut map = map.clone();
            map.strides.push(0);
            map
        }));
        let wider = Emitter::new(self.region, self.buffers, sizes);
        match wider.place(table, &coordinates) {
            Err(Failure::Split { axis, .. }) if axis == axes - 1 => Err(Failure::Materialise(table)),
            other => other,
        }
    }
}
