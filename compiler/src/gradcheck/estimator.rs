//! Estimators against the derivative of the expectation that they estimate.
//!
//! Expects: the gradient graph of a model.
//! Guarantees: for a random linear and a random quadratic function of the value, the mean over samples of (estimate -
//! difference of the function with the same random numbers) is the bias; its interval holds 95% of the time.
//! Leaves out: enumeration of outcomes: which probabilities they have is known to nobody but the function itself. The
//! error of the differences themselves (fourth order in a step of 0.15) is not in the interval.

use super::LARGEST_WORK;
use super::numbers::{Numbers, dot, moved};
use super::piece::{COTANGENT, Outcome, Piece};
use crate::ir::copy::prune;
use crate::ir::graph::Graph;
use crate::ir::interpret::Tensor;
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType};
use crate::measure;
use std::collections::BTreeMap;

/// What was found about the estimator of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimator {
    /// Where the call is.
    pub site: String,
    /// The function that is called.
    pub function: String,
    /// The rule with its arguments.
    pub rule: String,
    /// For a linear and a quadratic function of the value; or why there is none.
    pub outcome: Result<[Bias; 2], String>,
    /// Whether the value draws random numbers; if not, arguments are drawn instead.
    pub random: bool,
}

/// Along one direction of the arguments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bias {
    /// Mean of estimate minus derivative.
    pub bias: f64,
    /// Half the width of its 95% interval.
    pub interval: f64,
    /// Mean of the estimate.
    pub mean: f64,
    /// Variance of one estimate.
    pub variance: f64,
}

/// What the samples say about a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Zero lies in the interval.
    NoneSeen,
    /// Zero lies in an interval of twice the width.
    Unclear,
    /// It lies in neither.
    Biased,
}

impl Bias {
    /// Whether the samples show a bias.
    pub fn verdict(&self) -> Verdict {
        // Where every sample agrees the interval is empty, and rounding is no bias.
        match self.bias.abs() - 1e-9 {
            bias if bias <= self.interval => Verdict::NoneSeen,
            bias if bias <= 2.0 * self.interval => Verdict::Unclear,
            _ => Verdict::Biased,
        }
    }
}

/// Checks every call under an estimator.
pub fn estimators(gradient: &Graph, seed: u64, samples: u32) -> Vec<Estimator> {
    let graph = prune(gradient);
    let mut found = Vec::new();
    for (region_id, region) in graph.regions.iter() {
        for (id, node) in region.nodes.iter() {
            let Op::Ruled { of, rule, site, estimator: true, body, .. } = &node.op else { continue };
            let ty = TensorType::scalar(Dtype::F64);
            let (of, rule) = (of.clone(), rule.clone());
            let vjp = Op::Vjp { of: of.clone(), rule: rule.clone(), index: 0, estimator: true, ty, body: *body };
            let piece = Piece::new(&graph, region_id, id, &vjp);
            let outcome = match &piece {
                None => Err("its call cannot be taken out of the model".to_string()),
                Some(piece) if work(piece).saturating_mul(samples.into()) > 100 * LARGEST_WORK => {
                    Err("too large for so many samples; give smaller sizes by --set, or --samples".to_string())
                }
                Some(piece) => check(piece, &mut Numbers::new(seed), samples),
            };
            let random = piece.is_some_and(|piece| piece.random);
            found.push(Estimator { site: site.clone(), function: of, rule, outcome, random });
        }
    }
    found
}

fn work(piece: &Piece) -> u64 {
    let elements: u64 = piece.inputs().map(|(_, ty)| ty.elements()).sum();
    measure::operations(&piece.graph).max(elements).saturating_mul(6)
}

/// A function of the value: `weight . v`, or that plus `(weight . v)^2 / 2 + curvature . v^2 / 2`.
struct Function {
    weight: Tensor,
    curvature: Tensor,
    quadratic: bool,
}

impl Function {
    fn at(&self, value: &Tensor) -> f64 {
        let linear = dot(&self.weight, value);
        if !self.quadratic {
            return linear;
        }
        let squares = value.data.iter().zip(&self.curvature.data).map(|(v, c)| c * v * v);
        linear + linear * linear / 2.0 + squares.sum::<f64>() / 2.0
    }

    fn gradient(&self, value: &Tensor) -> Tensor {
        if !self.quadratic {
            return self.weight.clone();
        }
        let factor = 1.0 + dot(&self.weight, value);
        let parts = self.weight.data.iter().zip(&value.data).zip(&self.curvature.data);
        Tensor { ty: self.weight.ty.clone(), data: parts.map(|((w, v), c)| factor * w + c * v).collect() }
    }
}

fn check(piece: &Piece, numbers: &mut Numbers, samples: u32) -> Result<[Bias; 2], String> {
    let samples = samples.max(2);
    // A bool counts as 0 or 1.
    let ty = &TensorType::new(Dtype::F64, piece.value_type().shape.clone());
    // Of the size of 1 for any number of elements, so that biases can be compared.
    let size = 1.0 / (ty.elements().max(1) as f64).sqrt();
    let mut scaled = |factor: f64| {
        let mut tensor = numbers.tensor(ty, false);
        tensor.data.iter_mut().for_each(|value| *value *= factor);
        tensor
    };
    let (weight, curvature) = (scaled(size), scaled(size));
    let functions =
        [false, true].map(|quadratic| Function { weight: weight.clone(), curvature: curvature.clone(), quadratic });
    let directions: Vec<(String, Tensor)> =
        piece.differentiable(Dtype::F64).into_iter().map(|(name, ty)| (name, numbers.tensor(&ty, false))).collect();
    if directions.is_empty() {
        return Err("not compared: it has no float argument along which a difference could be taken".to_string());
    }
    let mut values = piece.values(numbers, false);
    let mut sums = [Sums::default(), Sums::default()];
    for sample in 0..samples {
        if piece.random {
            if let Some(step) = values.get_mut("step") {
                step.data[0] = f64::from(sample);
            }
        } else {
            for (name, ty) in piece.differentiable(Dtype::F64) {
                let mut value = numbers.tensor(&ty, false);
                value.data.iter_mut().for_each(|value| *value *= 2.0);
                values.insert(name, value);
            }
        }
        let there = |step: f64| -> Result<Tensor, String> {
            let mut there = values.clone();
            directions.iter().for_each(|(name, direction)| {
                there.insert(name.clone(), moved(&values[name], direction, step));
            });
            Ok(piece.run(&there)?.value)
        };
        let step = if piece.random { 0.15 } else { 0.5 };
        let [one, minus_one, two, minus_two] = [there(step)?, there(-step)?, there(2.0 * step)?, there(-2.0 * step)?];
        let value = piece.run(&values)?.value;
        for (function, sums) in functions.iter().zip(&mut sums) {
            let mut with = values.clone();
            with.insert(COTANGENT.to_string(), function.gradient(&value));
            let estimate = estimate(piece, &piece.run(&with)?, &directions);
            let near = function.at(&one) - function.at(&minus_one);
            let far = function.at(&two) - function.at(&minus_two);
            sums.add(estimate, (8.0 * near - far) / (12.0 * step));
        }
    }
    if sums.iter().any(|sums| !sums.bias_squares.is_finite() || !sums.squares.is_finite()) {
        return Err("not finite on random arguments".to_string());
    }
    Ok(sums.map(|sums| sums.bias(f64::from(samples))))
}

fn estimate(piece: &Piece, outcome: &Outcome, directions: &[(String, Tensor)]) -> f64 {
    let directions: BTreeMap<&str, &Tensor> = directions.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let given = piece.given.iter().zip(&outcome.cotangents);
    given.filter_map(|(name, cotangent)| Some(dot(cotangent, directions.get(name.as_str())?))).sum()
}

#[derive(Default)]
struct Sums {
    estimates: f64,
    squares: f64,
    biases: f64,
    bias_squares: f64,
}

impl Sums {
    fn add(&mut self, estimate: f64, derivative: f64) {
        self.estimates += estimate;
        self.squares += estimate * estimate;
        self.biases += estimate - derivative;
        self.bias_squares += (estimate - derivative).powi(2);
    }

    fn bias(self, count: f64) -> Bias {
        let variance = |sum: f64, squares: f64| (squares - sum * sum / count).max(0.0) / (count - 1.0);
        Bias {
            bias: self.biases / count,
            interval: 1.96 * (variance(self.biases, self.bias_squares) / count).sqrt(),
            mean: self.estimates / count,
            variance: variance(self.estimates, self.squares),
        }
    }
}
