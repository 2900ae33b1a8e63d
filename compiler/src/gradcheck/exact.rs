//! Exact rules against finite differences.
//!
//! Expects: the gradient graph of a model.
//! Guarantees: every rule on the way is checked for all operations and types it is used with, at random points in double
//! precision, by central differences along a random direction of each float argument and by flips of each bool argument.
//! Leaves out: loops (`model` checks them as part of the whole).

use super::numbers::{Numbers, dot, moved};
use super::piece::{COTANGENT, Piece};
use super::{LARGEST_WORK, STEPS, TOLERANCE};
use crate::ir::copy::prune;
use crate::ir::graph::{Graph, NodeId, Region};
use crate::ir::interpret::Tensor;
use crate::ir::op::Op;
use crate::ir::types::Dtype;
use crate::measure;
use std::collections::{BTreeMap, BTreeSet};

/// Points at which a rule is checked for one combination of types.
const POINTS: usize = 4;

/// How many elements of a bool argument are flipped at one point.
const FLIPS: usize = 16;

/// What was found about one rule of one operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exact {
    /// How many combinations of attributes and types were checked.
    pub checked: usize,
    /// How many were too large.
    pub too_large: usize,
    /// The largest relative error of a directional derivative; infinite where none could be computed.
    pub error: f64,
    /// Why a check was impossible.
    pub problem: Option<String>,
}

impl Exact {
    /// Whether all that was checked agrees with finite differences.
    pub fn holds(&self) -> bool {
        self.problem.is_none() && self.error <= TOLERANCE
    }
}

/// Checks every exact rule that a gradient graph uses; by operation and rule.
pub fn exact_rules(gradient: &Graph, seed: u64) -> BTreeMap<(String, String), Exact> {
    let graph = prune(gradient);
    let mut seen = BTreeSet::new();
    let mut found: BTreeMap<(String, String), Exact> = BTreeMap::new();
    for (region_id, region) in graph.regions.iter() {
        for node in region.nodes.values() {
            let Op::Vjp { of, rule, estimator: false, body, .. } = &node.op else { continue };
            let forward = differentiated(region, &node.operands);
            let types: Vec<_> = node.operands.iter().map(|operand| region.nodes[*operand].ty.clone()).collect();
            // Two `ruled` calls with one rule region compute the same.
            let op = match &region.nodes[forward].op {
                Op::Ruled { .. } => None,
                op => Some(op.clone()),
            };
            if !seen.insert((*body, op, types)) {
                continue;
            }
            let entry = found.entry((of.clone(), rule.clone())).or_default();
            let Some(piece) = Piece::new(&graph, region_id, forward, &node.op) else {
                entry.problem = Some("its call cannot be taken out of the model".to_string());
                continue;
            };
            let elements: u64 = piece.inputs().map(|(_, ty)| ty.elements()).sum();
            if measure::operations(&piece.graph).max(elements) > LARGEST_WORK {
                entry.too_large += 1;
                continue;
            }
            entry.checked += 1;
            match check(&piece, &mut Numbers::new(seed)) {
                Ok(error) => entry.error = entry.error.max(error),
                Err(problem) => entry.problem = Some(problem),
            }
        }
    }
    found
}

/// The node that a `vjp` of these operands differentiates. They end with the parts of its value and their cotangents.
fn differentiated(region: &Region, operands: &[NodeId]) -> NodeId {
    for parts in 1..operands.len() {
        let node = &region.nodes[operands[operands.len() - 1 - parts]];
        if let Op::Project { index } = node.op
            && index as usize + 1 == parts
            && let Op::Ruled { .. } = region.nodes[node.operands[0]].op
            && region.nodes[node.operands[0]].ty.parts().len() == parts
        {
            return node.operands[0];
        }
    }
    operands[operands.len() - 2]
}

/// The largest error over points and arguments.
fn check(piece: &Piece, numbers: &mut Numbers) -> Result<f64, String> {
    let mut worst: f64 = 0.0;
    for _ in 0..POINTS {
        for (name, _) in piece.differentiable(Dtype::Bool) {
            worst = worst.max(flipped(piece, numbers, &name)?);
        }
        for (name, ty) in piece.differentiable(Dtype::F64) {
            let direction = numbers.tensor(&ty, false);
            // Logarithms and the like want positive arguments.
            let mut errors = Vec::new();
            for positive in [false, true] {
                let values = piece.values(numbers, positive);
                errors = along(piece, &values, &name, &direction)?;
                if errors.iter().all(|error| error.is_finite()) {
                    break;
                }
            }
            worst = worst.max(errors.into_iter().fold(f64::INFINITY, f64::min));
        }
    }
    Ok(worst)
}

/// The largest error of the cotangent of a bool argument at random places: there it is the value (weighted by the
/// cotangent) at true minus that at false.
fn flipped(piece: &Piece, numbers: &mut Numbers, name: &str) -> Result<f64, String> {
    let values = piece.values(numbers, false);
    let outcome = piece.run(&values)?;
    let weight = &values[COTANGENT];
    let noise: f64 = weight.data.iter().zip(&outcome.value.data).map(|(w, v)| (w * v).abs()).sum();
    let length = values[name].data.len();
    let mut worst: f64 = 0.0;
    for _ in 0..FLIPS.min(length) {
        let place = (numbers.uniform() * length as f64) as usize;
        let own = piece.given.iter().zip(&outcome.cotangents).filter(|(given, _)| *given == name);
        let claimed: f64 = own.map(|(_, own)| own.data[place]).sum();
        let mut there = values.clone();
        let bit = &mut there.get_mut(name).expect("bug in bpc: an argument without a value").data[place];
        let sign = if *bit == 0.0 { 1.0 } else { -1.0 };
        *bit = 1.0 - *bit;
        let value = piece.run(&there)?.value;
        let change = value.data.iter().zip(&outcome.value.data).zip(&weight.data).map(|((v, v0), w)| w * (v - v0));
        let measured = sign * change.sum::<f64>();
        let scale = claimed.abs().max(measured.abs()) + 1e-4 * noise;
        let error = if scale == 0.0 { 0.0 } else { (claimed - measured).abs() / scale };
        worst = worst.max(if error.is_finite() { error } else { f64::INFINITY });
    }
    Ok(worst)
}

/// The error along one direction of one argument, with each step; infinite where something is not finite.
fn along(piece: &Piece, values: &BTreeMap<String, Tensor>, name: &str, direction: &Tensor) -> Result<Vec<f64>, String> {
    let outcome = piece.run(values)?;
    let weight = &values[COTANGENT];
    let own: Vec<&Tensor> =
        piece.given.iter().zip(&outcome.cotangents).filter(|(given, _)| *given == name).map(|(_, own)| own).collect();
    let claimed: f64 = own.iter().map(|own| dot(own, direction)).sum();
    let squares = own.iter().flat_map(|own| own.data.iter().zip(&direction.data)).map(|(g, d)| (g * d).powi(2));
    let size = squares.sum::<f64>().sqrt();
    // Rounding of a difference grows with the values that are subtracted.
    let noise: f64 = weight.data.iter().zip(&outcome.value.data).map(|(w, v)| (w * v).abs()).sum();
    let mut errors = Vec::new();
    for step in STEPS {
        let at = |step: f64| -> Result<f64, String> {
            let mut there = values.clone();
            there.insert(name.to_string(), moved(&values[name], direction, step));
            let value = piece.run(&there)?.value;
            // Differences element by element, so that a large sum does not swallow them.
            Ok(value.data.iter().zip(&outcome.value.data).zip(&weight.data).map(|((v, v0), w)| w * (v - v0)).sum())
        };
        let measured = (at(step)? - at(-step)?) / (2.0 * step);
        let scale = claimed.abs().max(measured.abs()).max(size) + 1e-4 * noise;
        let error = if scale == 0.0 { 0.0 } else { (claimed - measured).abs() / scale };
        errors.push(if error.is_finite() { error } else { f64::INFINITY });
    }
    Ok(errors)
}
