//! Estimators against the derivative of the expectation that they estimate.
//!
//! Expects: a lowered model and its gradient graph.
//! Guarantees: a random linear and a random quadratic function of the value are looked at. Where all that is drawn are discrete
//! choices with known probabilities, every outcome is forced (of as many choices as are few enough together, the others
//! are held at an outcome): the bias is exact but for differences of a smooth function. Elsewhere the mean over samples of
//! (estimate - difference of the function with the same random numbers) is the bias; its interval holds 95% of the time.
//! Leaves out: the error of the differences of samples (fourth order in a step of 0.15), which is not in the interval.

use super::draws::{Draw, Outcomes, force};
use super::numbers::{Numbers, dot, moved};
use super::piece::{COTANGENT, Outcome, Piece};
use super::{LARGEST_WORK, MOST_OUTCOMES};
use crate::ir::copy::prune;
use crate::ir::graph::{Graph, InputRole};
use crate::ir::interpret::{Tensor, run};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, TensorType};
use crate::lower::Lowered;
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
    /// The class of functions it says it is exact for.
    pub claim: Option<String>,
    /// For a linear and a quadratic function of the value; or why there is none.
    pub outcome: Result<[Bias; 2], String>,
    /// How it was found.
    pub method: Method,
}

/// How the expectation of an estimate is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By every outcome.
    Enumerated {
        /// How many there are.
        outcomes: usize,
        /// How many choices are made together.
        choices: usize,
        /// How many choices the value draws.
        of: usize,
    },
    /// By samples of what the value draws.
    Sampled,
    /// The value draws nothing; its arguments are drawn instead.
    OverArguments,
}

impl Estimator {
    /// Whether it says that it is exact for this kind of function.
    pub fn claims(&self, kind: &str) -> bool {
        self.claim.as_deref().is_some_and(|claim| claim == "quadratic" || claim == kind)
    }

    /// The kind of function for which enumeration shows that the claim is false.
    pub fn false_claim(&self) -> Option<&'static str> {
        let (Ok(found), Method::Enumerated { .. }) = (&self.outcome, self.method) else { return None };
        let mut kinds = KINDS.into_iter().zip(found);
        kinds.find(|(kind, bias)| self.claims(kind) && bias.verdict() == Verdict::Biased).map(|(kind, _)| kind)
    }
}

/// The functions of the value that are looked at.
pub const KINDS: [&str; 2] = ["linear", "quadratic"];

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
        // Where every sample agrees the interval is empty, and rounding is no bias; nor is that of differences.
        match self.bias.abs() - 1e-7 * (1.0 + self.mean.abs()) {
            bias if bias <= self.interval => Verdict::NoneSeen,
            bias if bias <= 2.0 * self.interval => Verdict::Unclear,
            _ => Verdict::Biased,
        }
    }
}

/// Checks every call under an estimator.
pub fn estimators(lowered: &Lowered, gradient: &Graph, seed: u64, samples: u32) -> Vec<Estimator> {
    let graph = prune(gradient);
    let mut found = Vec::new();
    for (region_id, region) in graph.regions.iter() {
        for (id, node) in region.nodes.iter() {
            let Op::Ruled { of, rule, site, estimator: true, body, .. } = &node.op else { continue };
            let ty = TensorType::scalar(Dtype::F64);
            let (of, rule) = (of.clone(), rule.clone());
            let vjp = Op::Vjp { of: of.clone(), rule: rule.clone(), index: 0, estimator: true, ty, body: *body };
            let piece = Piece::new(&graph, region_id, id, &vjp);
            let random = piece.as_ref().is_some_and(|piece| piece.random);
            let sampled = if random { Method::Sampled } else { Method::OverArguments };
            let (method, outcome) = match &piece {
                None => (sampled, Err("its call cannot be taken out of the model".to_string())),
                Some(piece) => match enumerated(piece, &mut Numbers::new(seed)) {
                    Some((method, outcome)) => (method, outcome),
                    None if work(piece).saturating_mul(samples.into()) > 100 * LARGEST_WORK => {
                        let sentence = "too large for so many samples; give smaller sizes by --set, or --samples";
                        (sampled, Err(sentence.to_string()))
                    }
                    None => (sampled, check(piece, &mut Numbers::new(seed), samples)),
                },
            };
            let same = |known: &&crate::lower::Site| {
                known.path == *site && known.function == of && known.rule.as_ref() == Some(&rule)
            };
            let claim = lowered.sites.iter().find(same).and_then(|site| site.exact_for.clone());
            found.push(Estimator { site: site.clone(), function: of, rule, claim, outcome, method });
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

/// A random function of each kind; a bool value counts as 0 or 1.
fn functions(value: &TensorType, numbers: &mut Numbers) -> [Function; 2] {
    let ty = &TensorType::new(Dtype::F64, value.shape.clone());
    // Of the size of 1 for any number of elements, so that biases can be compared.
    let size = 1.0 / (ty.elements().max(1) as f64).sqrt();
    let mut scaled = |factor: f64| {
        let mut tensor = numbers.tensor(ty, false);
        tensor.data.iter_mut().for_each(|value| *value *= factor);
        tensor
    };
    let (weight, curvature) = (scaled(size), scaled(size));
    [false, true].map(|quadratic| Function { weight: weight.clone(), curvature: curvature.clone(), quadratic })
}

/// By every outcome of the choices that the value draws; `None` where samples have to do.
fn enumerated(piece: &Piece, numbers: &mut Numbers) -> Option<(Method, Result<[Bias; 2], String>)> {
    let (graph, draws) = force(&piece.graph).ok().filter(|(_, draws)| !draws.is_empty())?;
    let values = piece.values(numbers, false);
    let functions = functions(piece.value_type(), numbers);
    let sizes: Vec<usize> = draws.iter().flat_map(|draw| vec![draw.choices().0; draw.choices().1]).collect();
    let runs = LARGEST_WORK.saturating_mul(100) / work(piece).max(1);
    let most = MOST_OUTCOMES.min(usize::try_from(runs).unwrap_or(MOST_OUTCOMES));
    let (mut outcomes, mut choices) = (1usize, 0);
    while choices < sizes.len() && outcomes.saturating_mul(sizes[choices]) <= most {
        outcomes *= sizes[choices];
        choices += 1;
    }
    let mut directions = Vec::new();
    for (name, ty) in piece.differentiable(Dtype::F64) {
        let mut direction = numbers.tensor(&ty, false);
        if choices < sizes.len() {
            // Only what moves the enumerated choices alone may move.
            let [draw] = &draws[..] else { return None };
            let own = if ty.shape == draw.ty.shape { choices * (ty.elements() as usize / sizes.len()) } else { 0 };
            direction.data[own..].fill(0.0);
        }
        directions.push((name, direction));
    }
    if choices == 0 || directions.iter().all(|(_, direction)| direction.data.iter().all(|along| *along == 0.0)) {
        return None;
    }
    let method = Method::Enumerated { outcomes, choices, of: sizes.len() };
    let enumeration = Enumeration { piece, graph, draws, values, directions, functions, sizes };
    Some((method, enumeration.biases(choices, numbers)))
}

/// A call whose outcomes are forced.
struct Enumeration<'a> {
    piece: &'a Piece,
    graph: Graph,
    draws: Vec<Draw>,
    values: BTreeMap<String, Tensor>,
    directions: Vec<(String, Tensor)>,
    functions: [Function; 2],
    sizes: Vec<usize>,
}

impl Enumeration<'_> {
    fn biases(&self, choices: usize, numbers: &mut Numbers) -> Result<[Bias; 2], String> {
        const STEP: f64 = 5e-3;
        // The choices that are not enumerated stay where they are drawn.
        let mut chosen = vec![0; self.sizes.len()];
        let (_, probabilities) = self.run(&self.values, &chosen)?;
        for (place, choice) in chosen.iter_mut().enumerate().skip(choices) {
            let mut rest = numbers.uniform();
            while *choice + 1 < self.sizes[place] && rest >= probabilities[place][*choice] {
                rest -= probabilities[place][*choice];
                *choice += 1;
            }
        }
        let moved = |step: f64| {
            let mut there = self.values.clone();
            for (name, direction) in &self.directions {
                there.insert(name.clone(), moved(&self.values[name], direction, step));
            }
            there
        };
        let places = [(STEP, 8.0), (-STEP, -8.0), (2.0 * STEP, -1.0), (-2.0 * STEP, 1.0)]
            .map(|(step, weight)| (moved(step), weight / (12.0 * STEP)));
        let mut sums = [(0.0, 0.0, 0.0); 2];
        for outcome in Outcomes::new(self.sizes[..choices].to_vec()) {
            chosen[..choices].copy_from_slice(&outcome);
            for (values, weight) in &places {
                let (value, probabilities) = self.run(values, &chosen)?;
                let probability = probability(&probabilities, &outcome);
                for (function, sums) in self.functions.iter().zip(&mut sums) {
                    sums.0 += weight * probability * function.at(&value.value);
                }
            }
            let (here, probabilities) = self.run(&self.values, &chosen)?;
            let probability = probability(&probabilities, &outcome);
            for (function, sums) in self.functions.iter().zip(&mut sums) {
                let mut with = self.values.clone();
                with.insert(COTANGENT.to_string(), function.gradient(&here.value));
                let estimate = estimate(self.piece, &self.run(&with, &chosen)?.0, &self.directions);
                sums.1 += probability * estimate;
                sums.2 += probability * estimate * estimate;
            }
        }
        if sums.iter().any(|(slope, mean, squares)| !(slope + mean + squares).is_finite()) {
            return Err("not finite on random arguments".to_string());
        }
        Ok(sums.map(|(slope, mean, squares)| Bias {
            bias: mean - slope,
            interval: 0.0,
            mean,
            variance: (squares - mean * mean).max(0.0),
        }))
    }

    /// The call with its outcome, and the probabilities of the values of each choice.
    fn run(&self, values: &BTreeMap<String, Tensor>, chosen: &[usize]) -> Result<(Outcome, Vec<Vec<f64>>), String> {
        let mut values = values.clone();
        values.retain(|name, _| self.graph.main().input_named(name).is_some());
        let mut rest = chosen;
        for draw in &self.draws {
            let (own, others) = rest.split_at(draw.choices().1);
            values.insert(draw.name.clone(), draw.value(own));
            rest = others;
        }
        let mut tensors = run(&self.graph, &values)?.into_iter().map(|(_, tensor)| tensor);
        let value = tensors.next().ok_or("bug in bpc: a piece without value")?;
        let cotangents = tensors.by_ref().take(self.piece.given.len()).collect();
        let mut probabilities = Vec::new();
        for (draw, found) in self.draws.iter().zip(tensors) {
            let (values, choices) = draw.choices();
            let of = |row: usize| (0..values).map(|choice| draw.probability(&found, row, choice)).collect();
            probabilities.extend((0..choices).map(of));
        }
        Ok((Outcome { value, cotangents }, probabilities))
    }
}

/// Of the first choices together.
fn probability(probabilities: &[Vec<f64>], outcome: &[usize]) -> f64 {
    probabilities.iter().zip(outcome).map(|(values, choice)| values[*choice]).product()
}

/// By samples.
fn check(piece: &Piece, numbers: &mut Numbers, samples: u32) -> Result<[Bias; 2], String> {
    let samples = samples.max(2);
    let functions = functions(piece.value_type(), numbers);
    let directions: Vec<(String, Tensor)> =
        piece.differentiable(Dtype::F64).into_iter().map(|(name, ty)| (name, numbers.tensor(&ty, false))).collect();
    if directions.is_empty() {
        return Err("not compared: it has no float argument along which a difference could be taken".to_string());
    }
    let mut values = piece.values(numbers, false);
    let mut sums = [Sums::default(), Sums::default()];
    let step_name = piece.graph.main().input_of(InputRole::Step).map(str::to_string);
    for sample in 0..samples {
        if piece.random {
            if let Some(step) = step_name.as_ref().and_then(|name| values.get_mut(name)) {
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
