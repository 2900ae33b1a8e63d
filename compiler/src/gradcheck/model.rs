//! The gradient of each loss of a model by its parameters against finite differences.
//!
//! Expects: a lowered training step.
//! Guarantees: in double precision, along one random direction of all parameters of the loss; random places draw the same
//! numbers everywhere, and a value behind `stop` is held where it is.
//! The gradient of a loss with estimators on the way is compared in expectation where the outcomes of its draws are few.
//! Leaves out: other losses with estimators: their gradient is not the derivative on purpose; parameters of bools, whose
//! cotangent is of first order only.

use super::STEPS;
use super::double::in_double;
use super::expectation::{Enumeration, Expectation};
use super::numbers::{Numbers, dot, moved};
use crate::differentiate::differentiate;
use crate::ir::copy::{live, prune};
use crate::ir::graph::{Graph, InputRole, NodeId, OutputRole, Region, RegionId};
use crate::ir::interpret::{Tensor, run};
use crate::ir::op::Op;
use crate::lower::{Derivatives, Lowered, OutputKind};
use crate::measure;
use bpc_lang::program::Program;
use std::collections::BTreeMap;

/// The most operations of one forward pass that is run by the interpreter.
const LARGEST_MODEL: u64 = 200_000_000;

/// What was found about one loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Its name.
    pub name: String,
    /// How many parameter tensors it trains.
    pub parameters: usize,
    /// What comparison shows; or why there is none.
    pub outcome: Result<Comparison, String>,
}

/// The gradient of a loss beside the mathematics.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// The derivative along the direction by the gradient and by differences.
    Derivative(f64, f64),
    /// With an estimator on the way: the expectation over all outcomes.
    Expected(Expectation),
}

/// Checks every loss.
pub fn losses(program: &Program, lowered: &Lowered, seed: u64) -> Vec<Loss> {
    let main = lowered.graph.main();
    let mut found = Vec::new();
    for output in lowered.outputs.iter().filter(|output| output.kind == OutputKind::Loss) {
        let Some(loss) = main.result_named(OutputRole::Value, &output.name) else { continue };
        let mut parameters: Vec<(String, NodeId)> = Vec::new();
        for node in main.nodes.values().filter(|node| matches!(node.op, Op::Grad {}) && node.operands[0] == loss) {
            if let Op::Input { name, .. } = &main.nodes[node.operands[1]].op
                && lowered.parameters.iter().any(|parameter| parameter.name == *name)
                && main.tensor(node.operands[1]).dtype.is_float()
            {
                parameters.push((name.clone(), node.operands[1]));
            }
        }
        parameters.dedup();
        let outcome = check(program, lowered, loss, &parameters, seed);
        found.push(Loss { name: output.name.clone(), parameters: parameters.len(), outcome });
    }
    found
}

fn check(
    program: &Program,
    lowered: &Lowered,
    loss: NodeId,
    parameters: &[(String, NodeId)],
    seed: u64,
) -> Result<Comparison, String> {
    let mut graph = lowered.graph.clone();
    let id = graph.main_id();
    let main = &mut graph.regions[id];
    let below = live(main, [loss]);
    let stops: Vec<NodeId> =
        main.nodes.keys().filter(|id| below.contains(*id) && matches!(main.nodes[*id].op, Op::Stop {})).collect();
    main.results.clear();
    main.result(OutputRole::Value, "loss", loss);
    for (place, stop) in stops.iter().enumerate() {
        main.result(OutputRole::Value, held(place), *stop);
    }
    for (name, parameter) in parameters {
        let gradient = main.push(Op::Grad {}, &[loss, *parameter], Default::default())?;
        main.result(OutputRole::Value, format!("gradient of {name}"), gradient);
    }
    let graph = prune(&graph);
    if parameters.is_empty() {
        return Err(
            "not compared: it trains bools alone, and the cotangent of a bool is of first order only".to_string()
        );
    }
    if let Some(name) = estimator(&graph) {
        let found = in_expectation(program, lowered, loss, parameters, seed);
        return found
            .map(Comparison::Expected)
            .map_err(|why| format!("not compared: the estimator {name} is on the way, see below ({why})"));
    }
    if stops_in_loops(&graph) {
        return Err("not compared: a `stop` inside a loop holds values that differences would move".to_string());
    }
    let gradient = differentiate(&graph, &mut Derivatives::new(program, &lowered.loop_choices))
        .map_err(|diagnostics| diagnostics.first().map_or(String::new(), |first| first.title.clone()))?;
    let gradient = in_double(&gradient);
    let mut forward = gradient.clone();
    let id = forward.main_id();
    forward.regions[id].results.truncate(1);
    let forward = with_held_values(&prune(&forward), &gradient);
    if measure::operations(&forward) > LARGEST_MODEL {
        return Err("too large to compare here; give smaller sizes by --set".to_string());
    }

    let mut numbers = Numbers::new(seed);
    let mut values = start(lowered, gradient.main(), &mut numbers, seed)?;
    let results: BTreeMap<String, Tensor> =
        run(&gradient, &values)?.into_iter().map(|(output, value)| (output.name, value)).collect();
    let mut claimed = 0.0;
    let mut directions = Vec::new();
    for (name, _) in parameters {
        let direction = numbers.tensor(&values[name].ty, false);
        claimed += dot(&results[&format!("gradient of {name}")], &direction);
        directions.push((name, direction));
    }
    for (name, value) in results.into_iter().filter(|(name, _)| forward.main().input_named(name).is_some()) {
        values.insert(name, value);
    }
    values.retain(|name, _| forward.main().input_named(name).is_some());
    let at = |step: f64| -> Result<f64, String> {
        let mut there = values.clone();
        for (name, direction) in &directions {
            there.insert((*name).clone(), moved(&values[*name], direction, step));
        }
        Ok(run(&forward, &there)?[0].1.data[0])
    };
    let mut best = (claimed, f64::INFINITY);
    for step in STEPS {
        let measured = (at(step)? - at(-step)?) / (2.0 * step);
        if (measured - claimed).abs() < (best.1 - claimed).abs() {
            best.1 = measured;
        }
    }
    if best.0.is_finite() && best.1.is_finite() {
        Ok(Comparison::Derivative(best.0, best.1))
    } else {
        Err("not compared: the loss is not finite on random data".to_string())
    }
}

fn in_expectation(
    program: &Program,
    lowered: &Lowered,
    loss: NodeId,
    parameters: &[(String, NodeId)],
    seed: u64,
) -> Result<Expectation, String> {
    let main = lowered.graph.main();
    let name = main.results.iter().find(|output| output.node == loss).map(|output| output.name.clone());
    let name = name.ok_or("bug in bpc: a loss without a name")?;
    let wrt: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
    let values = start(lowered, in_double(&lowered.graph).main(), &mut Numbers::new(seed), seed)?;
    Enumeration::new(program, lowered, &name, &wrt)?.at(&values)
}

fn held(place: usize) -> String {
    format!("held by stop {place}")
}

/// The graph of the loss in which each `stop` of main is an input of the name that its value has among the results of
/// the gradient graph.
fn with_held_values(forward: &Graph, gradient: &Graph) -> Graph {
    let mut graph = forward.clone();
    let id = graph.main_id();
    let old = &forward.regions[id];
    let names: BTreeMap<usize, String> = {
        // Pruning keeps the order, so the stops of both graphs correspond one by one.
        let main = gradient.main();
        let live_stops = live(main, [main.results[0].node]);
        let stops =
            main.nodes.keys().filter(|id| live_stops.contains(*id) && matches!(main.nodes[*id].op, Op::Stop {}));
        let name = |node: NodeId| {
            let output = main.results.iter().find(|output| output.node == node && output.name.starts_with("held"));
            output.map(|output| output.name.clone())
        };
        stops.enumerate().filter_map(|(place, node)| Some((place, name(node)?))).collect()
    };
    let mut new = Region::new(old.name.clone());
    let mut place = 0;
    for node in old.nodes.values() {
        match &node.op {
            Op::Stop {} => {
                let ty = node.ty.tensor().expect("bug in bpc: a stop of a tuple").clone();
                let name = names.get(&place).expect("bug in bpc: a stop without a value").clone();
                new.input(InputRole::Data, name, ty, node.provenance);
                place += 1;
            }
            Op::Input { role, name, ty } => {
                new.input(*role, name.clone(), ty.clone(), node.provenance);
            }
            op => {
                new.push(op.clone(), &node.operands, node.provenance).expect("bug in bpc: a copy of a region");
            }
        }
    }
    new.results.clone_from(&old.results);
    graph.regions[id] = new;
    prune(&graph)
}

/// Random data, and parameters near the values that they begin with.
fn start(
    lowered: &Lowered,
    main: &Region,
    numbers: &mut Numbers,
    seed: u64,
) -> Result<BTreeMap<String, Tensor>, String> {
    let mut values = BTreeMap::new();
    for input in &main.inputs {
        let Op::Input { name, ty, .. } = &main.nodes[*input].op else { continue };
        let mut value = numbers.tensor(ty, false);
        if let Some(parameter) = lowered.parameters.iter().find(|parameter| parameter.name == *name) {
            let first = first_value(&in_double(&parameter.init), seed)?;
            value = moved(&first, &value, if ty.dtype.is_float() { 0.1 } else { 0.0 });
        }
        values.insert(name.clone(), value);
    }
    Ok(values)
}

fn first_value(init: &Graph, seed: u64) -> Result<Tensor, String> {
    let main = init.main();
    let mut inputs = BTreeMap::new();
    for input in &main.inputs {
        if let Op::Input { role, name, ty } = &main.nodes[*input].op {
            let mut value = Tensor::splat(ty.clone(), 0.0);
            if *role == InputRole::Seed {
                value.data = vec![f64::from(seed as u32), f64::from((seed >> 32) as u32)];
            }
            inputs.insert(name.clone(), value);
        }
    }
    let first = run(init, &inputs)?.into_iter().next();
    first.map(|(_, value)| value).ok_or_else(|| "an initial value is missing".to_string())
}

fn estimator(graph: &Graph) -> Option<String> {
    graph.regions.values().flat_map(|region| region.nodes.values()).find_map(|node| match &node.op {
        Op::Ruled { of, rule, estimator: true, .. } => Some(format!("{rule} of {of}")),
        Op::Via { rule, estimator: true, .. } => Some(format!("{rule} of scan")),
        _ => None,
    })
}

/// Whether the body of a loop holds a `stop`.
fn stops_in_loops(graph: &Graph) -> bool {
    let bodies = graph.regions.values().flat_map(|region| region.nodes.values());
    let mut bodies = bodies.filter_map(|node| match &node.op {
        Op::Scan { body, .. } => Some(*body),
        _ => None,
    });
    bodies.any(|body: RegionId| graph.regions[body].nodes.values().any(|node| matches!(node.op, Op::Stop {})))
}
