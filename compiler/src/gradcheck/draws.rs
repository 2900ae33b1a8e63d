//! Discrete draws whose every outcome can be forced: `opaque` values that say by which probabilities they were drawn.
//!
//! Expects: a graph without dead nodes.
//! Guarantees: forcing keeps all else: the same nodes compute from the outcome, and the probabilities are results.
//! Leaves out: draws in loops, and values that use their random numbers beside the outcome: their outcomes say too little.

use crate::ir::copy::{live, prune};
use crate::ir::graph::{Graph, InputRole, NodeId, OutputRole, RegionId};
use crate::ir::interpret::Tensor;
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType};

/// One place that draws: an input and a result of the forced graph.
#[derive(Clone, Debug)]
pub struct Draw {
    /// Name of the input that takes the outcome, and of the result with its probabilities.
    pub name: String,
    /// Type of the value in the forced graph.
    pub ty: TensorType,
    /// The input.
    pub input: NodeId,
    /// The probabilities.
    pub probabilities: NodeId,
}

impl Draw {
    /// How many values one choice has, and how many choices there are.
    pub fn choices(&self) -> (usize, usize) {
        let elements = self.ty.elements() as usize;
        match (self.ty.dtype, self.ty.shape.last()) {
            (Dtype::Bool, _) | (_, None) => (2, elements),
            (_, Some(classes)) => (*classes as usize, elements.checked_div(*classes as usize).unwrap_or(0)),
        }
    }

    /// The value in which choice i is `chosen[i]`.
    pub fn value(&self, chosen: &[usize]) -> Tensor {
        let data = match self.ty.dtype {
            Dtype::Bool => chosen.iter().map(|choice| *choice as f64).collect(),
            _ => {
                let mut data = vec![0.0; self.ty.elements() as usize];
                let (classes, _) = self.choices();
                chosen.iter().enumerate().for_each(|(row, choice)| data[row * classes + choice] = 1.0);
                data
            }
        };
        Tensor { ty: self.ty.clone(), data }
    }

    /// The probability of one choice.
    pub fn probability(&self, probabilities: &Tensor, row: usize, choice: usize) -> f64 {
        match self.ty.dtype {
            Dtype::Bool if choice == 0 => 1.0 - probabilities.data[row],
            Dtype::Bool => probabilities.data[row],
            _ => probabilities.data[row * self.choices().0 + choice],
        }
    }
}

/// The graph in which the value of every draw is an input and its probabilities a result, and the draws; none if there is
/// nothing to force.
///
/// # Errors
/// A sentence, where the outcomes are not all that is drawn.
pub fn force(graph: &Graph) -> Result<(Graph, Vec<Draw>), String> {
    let mut forced = prune(graph);
    let main_id = forced.main_id();
    let is_draw = |op: &Op, operands: usize| matches!(op, Op::Opaque { .. }) && operands == 2;
    let in_loop = |id: RegionId| {
        id != main_id && forced.regions[id].nodes.values().any(|node| is_draw(&node.op, node.operands.len()))
    };
    if forced.regions.keys().any(in_loop) {
        return Err("a draw stands in a loop".to_string());
    }
    let main = &mut forced.regions[main_id];
    let places: Vec<NodeId> =
        main.nodes.iter().filter(|(_, node)| is_draw(&node.op, node.operands.len())).map(|(id, _)| id).collect();
    let below = live(main, places.iter().map(|place| main.nodes[*place].operands[0]));
    let random = |id: &NodeId| matches!(main.nodes[*id].op, Op::Random { .. });
    let noise: Vec<NodeId> = main.nodes.keys().filter(|id| below.contains(*id)).filter(random).collect();
    let mut draws = Vec::new();
    for (number, place) in places.into_iter().enumerate() {
        let (name, ty) = (format!("outcome {number}"), main.tensor(place).clone());
        let node = &mut main.nodes[place];
        node.op = Op::Input { role: InputRole::Data, name: name.clone(), ty: ty.clone() };
        let probabilities = std::mem::take(&mut node.operands)[1];
        main.result(OutputRole::Value, name.clone(), probabilities);
        draws.push(Draw { name, ty, input: place, probabilities });
    }
    main.inputs = main.nodes.keys().filter(|id| matches!(main.nodes[*id].op, Op::Input { .. })).collect();
    let used = live(main, main.results.iter().map(|result| result.node));
    if noise.into_iter().any(|id| used.contains(id)) {
        return Err("its random numbers are used beside the outcome".to_string());
    }
    Ok((forced, draws))
}

/// Walks through all combinations of choices; each entry counts up to the number of values of its choice.
pub struct Outcomes {
    sizes: Vec<usize>,
    next: Option<Vec<usize>>,
}

impl Outcomes {
    /// All combinations of choices among so many values each.
    pub fn new(sizes: Vec<usize>) -> Outcomes {
        let next = sizes.iter().all(|size| *size > 0).then(|| vec![0; sizes.len()]);
        Outcomes { sizes, next }
    }
}

impl Iterator for Outcomes {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let current = self.next.take()?;
        let mut following = current.clone();
        for (place, size) in self.sizes.iter().enumerate().rev() {
            following[place] += 1;
            if following[place] < *size {
                self.next = Some(following);
                break;
            }
            following[place] = 0;
        }
        Some(current)
    }
}
