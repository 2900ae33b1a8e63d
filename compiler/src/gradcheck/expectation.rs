//! The gradient that a program gives in expectation over its discrete draws, and the gradient of the expectation.
//!
//! Expects: a lowered model, the name of a loss among its results, and values for its inputs.
//! Guarantees: every joint outcome of the draws is forced, also where one draw depends on another; all is exact but for
//! rounding.
//! Leaves out: other random numbers, which are held at what seed and step draw. Estimators for what is no draw keep their
//! rule in the exact gradient too.

use super::MOST_OUTCOMES;
use super::double::in_double;
use super::draws::{Draw, Outcomes, force};
use crate::differentiate::differentiate;
use crate::ir::copy::prune;
use crate::ir::graph::{Graph, InputRole, NodeId, OutputRole, Region};
use crate::ir::interpret::{Tensor, run};
use crate::ir::op::Op;
use crate::ir::types::{Dtype, Literal, TensorType};
use crate::lower::{Derivatives, Lowered};
use bpc_lang::program::Program;
use std::collections::BTreeMap;

/// What enumeration finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// How many joint outcomes the draws have.
    pub outcomes: usize,
    /// The expected loss.
    pub loss: f64,
    /// By the names of what the loss is derived by.
    pub gradients: BTreeMap<String, Moments>,
}

/// The gradient by one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// The gradient of the expected loss.
    pub exact: Tensor,
    /// The expectation of what the program computes.
    pub mean: Tensor,
    /// The variance of each element of that.
    pub variance: Tensor,
}

impl Moments {
    /// The length of the difference of mean and exact gradient, in lengths of the exact one.
    pub fn relative_bias(&self) -> f64 {
        let length = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let differences = self.mean.data.iter().zip(&self.exact.data).map(|(mean, exact)| mean - exact);
        length(&mut differences.into_iter()) / length(&mut self.exact.data.iter().copied())
    }

    /// The sum of the variances.
    pub fn total_variance(&self) -> f64 {
        self.variance.data.iter().sum()
    }
}

/// A loss whose draws can be enumerated, derived by some inputs of the graph.
pub struct Enumeration {
    /// Gives the estimates, and the probabilities of each draw.
    estimate: Graph,
    /// Gives the loss, its gradients at a given outcome, and those of the logarithm of the outcome's probability.
    exact: Graph,
    draws: Vec<Draw>,
    sizes: Vec<usize>,
    wrt: Vec<String>,
}

impl Enumeration {
    /// Of the draws that the result `loss` depends on.
    ///
    /// # Errors
    /// A sentence: too many outcomes, a draw that cannot be forced, a gradient that cannot be taken.
    pub fn new(program: &Program, lowered: &Lowered, loss: &str, wrt: &[&str]) -> Result<Enumeration, String> {
        let mut plain = lowered.graph.clone();
        let main_id = plain.main_id();
        let main = &mut plain.regions[main_id];
        let value = main.result_named(OutputRole::Value, loss).ok_or_else(|| format!("there is no result {loss:?}"))?;
        let by: Vec<NodeId> = wrt
            .iter()
            .map(|name| main.input_named(name).ok_or_else(|| format!("there is no input {name:?}")))
            .collect::<Result<_, _>>()?;
        main.results.clear();
        let value = reaching_all(main, value, &by)?;
        main.result(OutputRole::Value, "loss", value);
        let mut gradients = plain.clone();
        derive(&mut gradients, "loss", "estimate", wrt)?;
        // What a rule keeps is seen by its gradients alone, so these decide whether outcomes are all that is drawn.
        let (estimate, draws) = force(&gradients)?;
        if draws.is_empty() {
            return Err("it draws nothing".to_string());
        }
        let sizes: Vec<usize> = draws.iter().flat_map(|draw| vec![draw.choices().0; draw.choices().1]).collect();
        let count = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        if count.is_none_or(|count| count > MOST_OUTCOMES) {
            return Err(format!("its draws have more than {MOST_OUTCOMES} outcomes; give smaller sizes by --set"));
        }
        let (mut exact, own_draws) = force(&plain)?;
        without_rules(&mut exact, &own_draws);
        let score = score(&mut exact, &own_draws, wrt)?;
        let main_id = exact.main_id();
        exact.regions[main_id].result(OutputRole::Value, "score", score);
        derive(&mut exact, "loss", "slope", wrt)?;
        derive(&mut exact, "score", "score of", wrt)?;
        let finish = |graph: &Graph| -> Result<Graph, String> {
            let graph = differentiate(&prune(graph), &mut Derivatives::new(program, &lowered.loop_choices))
                .map_err(|diagnostics| diagnostics.first().map_or(String::new(), |first| first.title.clone()))?;
            Ok(in_double(&prune(&graph)))
        };
        let (estimate, exact) = (finish(&estimate)?, finish(&exact)?);
        let wrt = wrt.iter().map(|name| (*name).to_string()).collect();
        Ok(Enumeration { estimate, exact, draws, sizes, wrt })
    }

    /// Runs every outcome at these inputs, which are doubles where they are floats; seed and step are 0 where they are missing.
    ///
    /// # Errors
    /// A sentence of the interpreter, such as for a missing input.
    pub fn at(&self, inputs: &BTreeMap<String, Tensor>) -> Result<Expectation, String> {
        let mut total = Total::default();
        let mut outcomes = 0;
        for chosen in Outcomes::new(self.sizes.clone()) {
            outcomes += 1;
            let mut values = inputs.clone();
            let mut rest = &chosen[..];
            for draw in &self.draws {
                let (own, others) = rest.split_at(draw.choices().1);
                let mut value = draw.value(own);
                if value.ty.dtype == Dtype::F32 {
                    value.ty.dtype = Dtype::F64;
                }
                values.insert(draw.name.clone(), value);
                rest = others;
            }
            let found = results(&self.estimate, &values)?;
            let mut probability = 1.0;
            let mut choices = chosen.iter();
            for draw in &self.draws {
                for (row, choice) in (0..draw.choices().1).zip(&mut choices) {
                    probability *= draw.probability(&found[&draw.name], row, *choice);
                }
            }
            if probability > 0.0 {
                total.add(probability, &found, &results(&self.exact, &values)?, &self.wrt);
            }
        }
        Ok(total.expectation(outcomes, &self.wrt))
    }
}

/// The loss plus nothing times the sum of each input, so that a derivative by it always exists.
fn reaching_all(main: &mut Region, loss: NodeId, by: &[NodeId]) -> Result<NodeId, String> {
    let mut loss = loss;
    let dtype = main.tensor(loss).dtype;
    for node in by {
        let ty = main.tensor(*node).clone();
        if !ty.dtype.is_float() {
            return Err("a derivative is taken by floats".to_string());
        }
        let axes = (0..ty.rank() as u32).collect();
        let sum = main.push(Op::ReduceSum { axes }, &[*node], Default::default())?;
        let sum = main.push(Op::Reshape { shape: Vec::new() }, &[sum], Default::default())?;
        let sum = main.push(Op::Cast { dtype }, &[sum], Default::default())?;
        let zero = Op::Constant { value: Literal::new(dtype, 0.0), shape: Vec::new() };
        let zero = main.push(zero, &[], Default::default())?;
        let nothing = main.push(Op::Mul {}, &[zero, sum], Default::default())?;
        loss = main.push(Op::Add {}, &[loss, nothing], Default::default())?;
    }
    Ok(loss)
}

/// Adds the derivatives of a result as results.
fn derive(graph: &mut Graph, of: &str, name: &str, wrt: &[&str]) -> Result<(), String> {
    let id = graph.main_id();
    let main = &mut graph.regions[id];
    for by in wrt {
        let (Some(value), Some(input)) = (main.result_named(OutputRole::Value, of), main.input_named(by)) else {
            return Err(format!("bug in bpc: {of} or {by} is gone"));
        };
        let gradient = main.push(Op::Grad {}, &[value, input], Default::default())?;
        main.result(OutputRole::Value, format!("{name} {by}"), gradient);
    }
    Ok(())
}

/// Calls under a rule whose value is a draw are their value: the outcome, through which nothing flows.
fn without_rules(graph: &mut Graph, draws: &[Draw]) {
    let id = graph.main_id();
    let main = &mut graph.regions[id];
    let calls: Vec<NodeId> = main.nodes.keys().collect();
    for call in calls {
        let node = &main.nodes[call];
        if matches!(node.op, Op::Ruled { .. })
            && draws.iter().any(|draw| draw.input == node.operands[0])
            && let Some(ty) = node.ty.tensor()
        {
            let (op, operands) = (Op::Reshape { shape: ty.shape.clone() }, vec![node.operands[0]]);
            let node = &mut main.nodes[call];
            (node.op, node.operands) = (op, operands);
        }
    }
}

/// The logarithm of the probability of the outcome.
fn score(graph: &mut Graph, draws: &[Draw], wrt: &[&str]) -> Result<NodeId, String> {
    let id = graph.main_id();
    let main = &mut graph.regions[id];
    let zero = Op::Constant { value: Literal::new(Dtype::F64, 0.0), shape: Vec::new() };
    let mut total = main.push(zero, &[], Default::default())?;
    for draw in draws {
        let ty = main.tensor(draw.probabilities).clone();
        let push = |main: &mut Region, op: Op, operands: &[NodeId]| main.push(op, operands, Default::default());
        let chosen = if draw.ty.dtype == Dtype::Bool {
            let one = Op::Constant { value: Literal::new(ty.dtype, 1.0), shape: ty.shape.clone() };
            let one = push(main, one, &[])?;
            let other = push(main, Op::Sub {}, &[one, draw.probabilities])?;
            push(main, Op::Select {}, &[draw.input, draw.probabilities, other])?
        } else {
            let product = push(main, Op::Mul {}, &[draw.input, draw.probabilities])?;
            push(main, Op::ReduceSum { axes: vec![ty.rank() as u32 - 1] }, &[product])?
        };
        let logarithm = push(main, Op::Log {}, &[chosen])?;
        let sum = push(main, Op::ReduceSum { axes: (0..ty.rank() as u32).collect() }, &[logarithm])?;
        let sum = push(main, Op::Reshape { shape: Vec::new() }, &[sum])?;
        let sum = push(main, Op::Cast { dtype: Dtype::F64 }, &[sum])?;
        total = push(main, Op::Add {}, &[total, sum])?;
    }
    let by: Vec<NodeId> = wrt.iter().filter_map(|name| main.input_named(name)).collect();
    reaching_all(main, total, &by)
}

fn results(graph: &Graph, values: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>, String> {
    let mut own = values.clone();
    own.retain(|name, _| graph.main().input_named(name).is_some());
    for input in &graph.main().inputs {
        if let Op::Input { role: InputRole::Seed | InputRole::Step, name, ty } = &graph.main().nodes[*input].op {
            own.entry(name.clone()).or_insert_with(|| Tensor::splat(ty.clone(), 0.0));
        }
    }
    Ok(run(graph, &own)?.into_iter().map(|(output, tensor)| (output.name, tensor)).collect())
}

/// Sums over outcomes, weighted by their probabilities.
#[derive(Default)]
struct Total {
    loss: f64,
    /// For each input the exact gradient, the estimate and its squares.
    sums: BTreeMap<String, [Vec<f64>; 3]>,
    types: BTreeMap<String, TensorType>,
}

impl Total {
    fn add(
        &mut self,
        probability: f64,
        estimate: &BTreeMap<String, Tensor>,
        exact: &BTreeMap<String, Tensor>,
        wrt: &[String],
    ) {
        let loss = exact["loss"].data[0];
        self.loss += probability * loss;
        for name in wrt {
            let own = &estimate[&format!("estimate {name}")];
            let (slope, score) = (&exact[&format!("slope {name}")], &exact[&format!("score of {name}")]);
            self.types.insert(name.clone(), own.ty.clone());
            let fresh = || [(); 3].map(|()| vec![0.0; own.data.len()]);
            let [exact, mean, squares] = self.sums.entry(name.clone()).or_insert_with(fresh);
            for (place, value) in own.data.iter().enumerate() {
                exact[place] += probability * (slope.data[place] + loss * score.data[place]);
                mean[place] += probability * value;
                squares[place] += probability * value * value;
            }
        }
    }

    fn expectation(mut self, outcomes: usize, wrt: &[String]) -> Expectation {
        let mut gradients = BTreeMap::new();
        for name in wrt {
            let (Some([exact, mean, squares]), Some(ty)) = (self.sums.remove(name), self.types.get(name)) else {
                continue;
            };
            let variance = squares.iter().zip(&mean).map(|(square, mean)| (square - mean * mean).max(0.0)).collect();
            let tensor = |data| Tensor { ty: ty.clone(), data };
            let moments = Moments { exact: tensor(exact), mean: tensor(mean), variance: tensor(variance) };
            gradients.insert(name.clone(), moments);
        }
        Expectation { outcomes, loss: self.loss, gradients }
    }
}
