//! The reference interpreter of graphs: the oracle that every engine is compared with.
//!
//! Expects: a differentiated graph; the rules of `vjp` nodes may or may not be expanded.
//! Guarantees: every operation means what the op table says, computed element by element on doubles in row-major order.
//! `f32` tensors are computed and kept as doubles too: only literals and random numbers are rounded to `f32`, as they
//! are where they arise. Whole numbers and bools are held exactly, apart from `i64` beyond 2^53, which rounds to the
//! nearest double. A `ruled` call is its value, a `vjp` runs its rule, and of `forms` the first one counts.
//! Leaves out: speed. Memory is freed after the last use and no operation allocates for each element, so that graphs
//! of some million elements run.

mod bits;
mod elementwise;
mod places;
mod products;
mod reductions;
mod segments;
mod sources;
mod views;
mod walsh;

use super::copy::live;
use super::graph::{Graph, NodeId, Output, Region, RegionId};
use super::op::{Op, OpClass};
use super::types::{Dtype, TensorType};
use super::verify::verify;
use cranelift_entity::{EntitySet, SecondaryMap};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The most elements that a tensor may have here (2 GiB of doubles).
pub const MOST_ELEMENTS: u64 = 1 << 28;

/// A tensor of doubles that stand for the elements of its dtype.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its type.
    pub ty: TensorType,
    /// In row-major order.
    pub data: Vec<f64>,
}

impl Tensor {
    /// A tensor of these elements.
    ///
    /// # Errors
    /// A sentence, when the number of elements is another one, or one of them is no value of the dtype.
    pub fn new(ty: TensorType, data: Vec<f64>) -> Result<Tensor, String> {
        let tensor = Tensor { ty, data };
        tensor.check()?;
        Ok(tensor)
    }

    /// A tensor with one value in every place.
    pub fn splat(ty: TensorType, value: f64) -> Tensor {
        let data = vec![value; ty.elements() as usize];
        Tensor { ty, data }
    }

    fn check(&self) -> Result<(), String> {
        let Tensor { ty, data } = self;
        if data.len() as u64 != ty.elements() {
            return Err(format!("{ty} has {} elements, and there are {}", ty.elements(), data.len()));
        }
        let (low, high) = match ty.dtype {
            Dtype::F32 | Dtype::F64 => return Ok(()),
            Dtype::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
            Dtype::U32 => (0.0, f64::from(u32::MAX)),
            Dtype::I64 => (i64::MIN as f64, i64::MAX as f64),
            Dtype::Bool => (0.0, 1.0),
        };
        match data.iter().find(|value| value.fract() != 0.0 || !(low..=high).contains(*value)) {
            Some(value) => Err(format!("{value:?} is no {}", ty.dtype)),
            None => Ok(()),
        }
    }
}

/// Runs the main region on inputs given by name.
///
/// # Errors
/// A sentence: an input that is missing, superfluous or of another type, a `grad` that was not differentiated, a
/// graph that does not verify, or a tensor too large for memory.
pub fn run(graph: &Graph, inputs: &BTreeMap<String, Tensor>) -> Result<Vec<(Output, Tensor)>, String> {
    verify(graph).map_err(|errors| format!("the graph does not verify: {}", errors[0]))?;
    let main = graph.main();
    if let Some(name) = inputs.keys().find(|name| main.input_named(name).is_none()) {
        return Err(format!("there is no input {name:?}"));
    }
    let mut arguments = Vec::with_capacity(main.inputs.len());
    for input in &main.inputs {
        let Op::Input { name, ty, .. } = &main.nodes[*input].op else {
            return Err("bug in bpc: an input that is none".to_string());
        };
        let tensor = inputs.get(name).ok_or_else(|| format!("the input {name:?} ({ty}) is missing"))?;
        if tensor.ty != *ty {
            return Err(format!("the input {name:?} is {} and should be {ty}", tensor.ty));
        }
        tensor.check().map_err(|message| format!("the input {name:?}: {message}"))?;
        arguments.push(Rc::new(tensor.clone()));
    }
    let interpreter = Interpreter::new(graph);
    let results = interpreter.region(graph.main_id(), arguments)?;
    let owned = results.into_iter().map(Rc::unwrap_or_clone);
    Ok(main.results.iter().cloned().zip(owned).collect())
}

/// Computes one operation that names no region and has no tuple among its operands.
///
/// # Errors
/// A sentence, when the operands do not fit, or the operation is not of that kind.
pub fn evaluate(op: &Op, operands: &[&Tensor]) -> Result<Tensor, String> {
    let types: Vec<_> = operands.iter().map(|tensor| super::types::Type::Tensor(tensor.ty.clone())).collect();
    let ty = op.infer(&types.iter().collect::<Vec<_>>())?;
    let ty = ty.tensor().ok_or_else(|| format!("{}: gives no tensor", op.name()))?;
    compute(op, operands, ty)
}

/// The same for operands that are known to fit; `ty` is the type of the result.
fn compute(op: &Op, operands: &[&Tensor], ty: &TensorType) -> Result<Tensor, String> {
    if ty.elements() > MOST_ELEMENTS {
        return Err(format!("{}: {ty} is too large for the interpreter", op.name()));
    }
    let data = match op.class() {
        OpClass::Source => sources::source(op, ty)?,
        OpClass::Unary(meaning) => elementwise::unary(op, meaning, operands[0]),
        OpClass::Binary(meaning) => elementwise::binary(op, meaning, operands[0], operands[1]),
        OpClass::Elementwise => elementwise::other(op, operands)?,
        OpClass::View => views::view(op, operands, ty)?,
        OpClass::Reduction => reductions::reduction(op, operands[0], ty)?,
        OpClass::Library => match op {
            Op::ScatterAdd { .. } => products::scatter_add(operands[0], operands[1], ty),
            Op::Histogram { .. } => segments::histogram(operands[0], ty),
            Op::CountingSort { bins } => segments::counting_sort(operands[0], *bins),
            Op::SegmentMatmul { transposed } => {
                segments::segment_matmul(operands[0], operands[1], operands[2], *transposed, ty)
            }
            Op::SegmentOuter {} => segments::segment_outer(operands[0], operands[1], operands[2], ty),
            Op::BitCount { gate } => bits::count(*gate, operands[0], operands[1], ty),
            Op::BitMatmul { on, off } => bits::matmul(*on, *off, operands[0], operands[1], ty),
            Op::BlockWht { .. } => walsh::block_wht(op, operands[0], ty),
            Op::BlockWhtT { .. } => walsh::block_wht_t(op, operands[0], ty),
            _ => return Err(format!("bug in bpc: {} has no meaning in the interpreter", op.name())),
        },
        OpClass::Other => match op {
            Op::Random { normal, site, .. } => sources::random(*normal, site, operands[0], operands[1], ty),
            Op::Unwindows { axis, stride, .. } => views::unwindows(*axis, *stride, operands[0], ty),
            Op::Matmul {} => products::matmul(operands[0], operands[1], ty),
            Op::Take {} => products::take(operands[0], operands[1], ty),
            _ => return Err(format!("bug in bpc: {} is computed out of place", op.name())),
        },
        OpClass::Marker => match op {
            Op::Stop {} | Op::Opaque { .. } => operands[0].data.clone(),
            Op::Grad {} => return Err("grad: differentiate the graph first".to_string()),
            _ => return Err(format!("bug in bpc: {} is computed out of place", op.name())),
        },
    };
    Ok(Tensor { ty: ty.clone(), data })
}

/// What a node gives.
#[derive(Clone)]
enum Value {
    Tensor(Rc<Tensor>),
    Tuple(Vec<Rc<Tensor>>),
}

/// What is known of a region before it runs.
struct Plan {
    /// Nodes that a result depends on.
    live: EntitySet<NodeId>,
    /// The last live node that uses a node; `None` for results and for what is never used.
    last_use: SecondaryMap<NodeId, Option<NodeId>>,
}

impl Plan {
    fn new(region: &Region) -> Plan {
        let live = live(region, region.results.iter().map(|output| output.node));
        let mut last_use = SecondaryMap::new();
        for (id, node) in region.nodes.iter().filter(|(id, _)| live.contains(*id)) {
            node.operands.iter().for_each(|operand| last_use[*operand] = Some(id));
        }
        region.results.iter().for_each(|output| last_use[output.node] = None);
        Plan { live, last_use }
    }
}

struct Interpreter<'a> {
    graph: &'a Graph,
    plans: Vec<Plan>,
}

impl<'a> Interpreter<'a> {
    fn new(graph: &'a Graph) -> Interpreter<'a> {
        Interpreter { graph, plans: graph.regions.values().map(Plan::new).collect() }
    }

    /// Runs a region; one argument for each input, one tensor for each result.
    fn region(&self, id: RegionId, arguments: Vec<Rc<Tensor>>) -> Result<Vec<Rc<Tensor>>, String> {
        let region = &self.graph.regions[id];
        let plan = &self.plans[id.as_u32() as usize];
        let mut values: SecondaryMap<NodeId, Option<Value>> = SecondaryMap::new();
        for (input, argument) in region.inputs.iter().zip(arguments) {
            values[*input] = Some(Value::Tensor(argument));
        }
        for (id, node) in region.nodes.iter() {
            if !plan.live.contains(id) || matches!(node.op, Op::Input { .. }) {
                continue;
            }
            let value = self.node(region, id, &values).map_err(|message| format!("{} {id}: {message}", region.name))?;
            values[id] = Some(value);
            for operand in &node.operands {
                if plan.last_use[*operand] == Some(id) {
                    values[*operand] = None;
                }
            }
        }
        region.results.iter().map(|output| tensor(&values, output.node).cloned()).collect()
    }

    fn node(&self, region: &Region, id: NodeId, values: &SecondaryMap<NodeId, Option<Value>>) -> Result<Value, String> {
        let node = &region.nodes[id];
        if let Op::Project { index } = node.op {
            return match &values[node.operands[0]] {
                Some(Value::Tuple(parts)) => Ok(Value::Tensor(Rc::clone(&parts[index as usize]))),
                _ => Err("bug in bpc: a part of a tensor".to_string()),
            };
        }
        if let Op::Ruled { .. } | Op::Via { .. } | Op::Forms {} = node.op {
            return values[node.operands[0]].clone().ok_or_else(|| "bug in bpc: a call without value".to_string());
        }
        let operands = node.operands.iter().map(|operand| tensor(values, *operand)).collect::<Result<Vec<_>, _>>()?;
        match &node.op {
            Op::Scan { .. } => Ok(Value::Tuple(self.scan(&node.op, &operands)?)),
            Op::Tuple {} => Ok(Value::Tuple(operands.into_iter().map(Rc::clone).collect())),
            Op::Pullback { .. } | Op::Pushforward { .. } => {
                Err(format!("{}: differentiate the graph first", node.op.name()))
            }
            Op::Vjps { body, .. } => Ok(Value::Tuple(self.region(*body, operands.into_iter().cloned().collect())?)),
            Op::Vjp { body, index, .. } => {
                let mut results = self.region(*body, operands.into_iter().cloned().collect())?;
                Ok(Value::Tensor(results.swap_remove(*index as usize)))
            }
            op => {
                let operands: Vec<&Tensor> = operands.into_iter().map(Rc::as_ref).collect();
                Ok(Value::Tensor(Rc::new(compute(op, &operands, region.tensor(id))?)))
            }
        }
    }

    fn scan(&self, op: &Op, operands: &[&Rc<Tensor>]) -> Result<Vec<Rc<Tensor>>, String> {
        let Op::Scan { carries, sequences, length, reverse, stacks, body } = op else {
            return Err("bug in bpc: a loop that is none".to_string());
        };
        let (first, others) = operands.split_at(*carries as usize);
        let (sequences, unchanged) = others.split_at(*sequences as usize);
        if stacks.iter().any(|ty| ty.elements() > MOST_ELEMENTS) {
            return Err("scan: a stack is too large for the interpreter".to_string());
        }
        let mut carried: Vec<Rc<Tensor>> = first.iter().map(|tensor| Rc::clone(tensor)).collect();
        let mut stacked: Vec<Tensor> = stacks.iter().map(|ty| Tensor::splat(ty.clone(), 0.0)).collect();
        for turn in 0..*length {
            let place = if *reverse { length - 1 - turn } else { turn } as usize;
            let slices = sequences.iter().map(|sequence| {
                let ty = TensorType::new(sequence.ty.dtype, &sequence.ty.shape[1..]);
                let width = ty.elements() as usize;
                Rc::new(Tensor { ty, data: sequence.data[place * width..(place + 1) * width].to_vec() })
            });
            let unchanged = unchanged.iter().map(|tensor| Rc::clone(tensor));
            let arguments = carried.into_iter().chain(slices).chain(unchanged).collect();
            let mut results = self.region(*body, arguments)?;
            let yields = results.split_off(first.len());
            carried = results;
            for (stack, value) in stacked.iter_mut().zip(yields) {
                let width = value.data.len();
                stack.data[place * width..(place + 1) * width].copy_from_slice(&value.data);
            }
        }
        Ok(carried.into_iter().chain(stacked.into_iter().map(Rc::new)).collect())
    }
}

fn tensor(values: &SecondaryMap<NodeId, Option<Value>>, node: NodeId) -> Result<&Rc<Tensor>, String> {
    match &values[node] {
        Some(Value::Tensor(tensor)) => Ok(tensor),
        _ => Err(format!("bug in bpc: {node} is used before it is there")),
    }
}
