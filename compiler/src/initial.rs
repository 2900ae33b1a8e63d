//! The program that makes first values: of parameters by their initialisers, of optimisers' state by its `state` lines.
//!
//! Expects: the compilation of a step, whose lowered model has a graph for each first value.
//! Guarantees: the state block is laid out as that of the step, and begins as zeros; the program writes what is wanted there
//! and nothing else. A value depends on the seed and its own initialiser, not on what else is wanted or when it is made.
//! Leaves out: running it (`api`), and first values that are zero everywhere, which the block has already.

use crate::ir::copy::{inline, prune_into};
use crate::ir::graph::{Graph, InputRole, OutputRole, Provenance, Region};
use crate::ir::op::Op;
use crate::kernel::ir::{Place, Program as Kernels};
use crate::lower::Lowered;
use crate::pipeline::{self, Compilation};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::Program;
use std::collections::BTreeSet;

/// The data input with the seed of the model, u32[2].
pub const SEED: &str = "initial.seed";
/// The data input with the number of the step, i32[]; first values are those of step 0.
const STEP: &str = "initial.step";

/// The program for the parameters and states of these names; `None` where all of them are zero.
///
/// # Errors
/// Diagnostics, where an initialiser takes a gradient that does not exist.
pub fn kernels(
    program: &Program,
    step: &Compilation,
    wanted: &BTreeSet<String>,
) -> Result<Option<Kernels>, Vec<Diagnostic>> {
    let Some(graph) = graph(step, wanted) else { return Ok(None) };
    let kernels = pipeline::passes(program, &graph, &step.lowered.loop_choices, &mut |_| {})?.kernels;
    let places = |kernels: &Kernels| -> Vec<(String, Place)> {
        let of_state = kernels.buffers.values().filter(|buffer| matches!(buffer.place, Place::State(_)));
        of_state.map(|buffer| (buffer.name.clone(), buffer.place)).collect()
    };
    assert_eq!(places(&kernels), places(&step.kernels), "bug in bpc: first values have other places than the step");
    Ok(Some(kernels))
}

/// One graph of all first values that are wanted and not zero.
fn graph(step: &Compilation, wanted: &BTreeSet<String>) -> Option<Graph> {
    let mut graph = Graph::default();
    let mut main = Region::new("initial");
    // The same inputs in the same order give the same places.
    let of_step = step.optimized.main();
    for input in &of_step.inputs {
        if let Op::Input { role, name, ty } = &of_step.nodes[*input].op
            && *role != InputRole::Data
        {
            main.input(*role, name.clone(), ty.clone(), Provenance::default());
        }
    }
    let mut seed = None;
    let mut number = None;
    for (name, init) in first_values(&step.lowered) {
        if !wanted.contains(name) || is_zero(init) {
            continue;
        }
        let body = prune_into(init, &mut graph);
        let mut arguments = Vec::new();
        for input in &body.inputs {
            let Op::Input { role, ty, .. } = &body.nodes[*input].op else { continue };
            let (slot, known) = if *role == InputRole::Seed { (&mut seed, SEED) } else { (&mut number, STEP) };
            arguments.push(
                *slot.get_or_insert_with(|| main.input(InputRole::Data, known, ty.clone(), Provenance::default())),
            );
        }
        let value = inline(&mut main, &body, &arguments)[0];
        main.result(OutputRole::Next, name, value);
    }
    let any = !main.results.is_empty();
    graph.add(main);
    any.then_some(graph)
}

/// Names and graphs of all first values of a model.
pub(crate) fn first_values(lowered: &Lowered) -> impl Iterator<Item = (&String, &Graph)> {
    let parameters = lowered.parameters.iter().map(|parameter| (&parameter.name, &parameter.init));
    parameters.chain(lowered.states.iter().map(|state| (&state.name, &state.init)))
}

/// Whether a first value is zero everywhere.
pub(crate) fn is_zero(init: &Graph) -> bool {
    let main = init.main();
    let value = &main.nodes[main.results[0].node].op;
    matches!(value, Op::Constant { value, .. } if value.as_f64().to_bits() == 0)
}
