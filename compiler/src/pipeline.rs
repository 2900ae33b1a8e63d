//! The passes from a program to kernels, in order: the one place that knows the order.
//!
//! Expects: a program without errors and sizes for all dims of the model.
//! Guarantees: every graph is verified before the next pass sees it, and a kernel program before code is made of it.
//! Leaves out: code generation, which belongs to a backend (`codegen`).

use crate::differentiate::differentiate;
use crate::egraph::{self, Limits, Report};
use crate::ir::graph::Graph;
use crate::ir::verify::{VerifyError, verify, verify_expanded};
use crate::kernel::{self, ir::Program as Kernels};
use crate::lower::{self, Derivatives, LoopChoices, Lowered, Options};
use bpc_lang::diagnostics::Diagnostic;
use bpc_lang::program::Program;

/// A model at fixed sizes, at every stage of its compilation.
#[derive(Clone, Debug)]
pub struct Compilation {
    /// The graph with `grad` markers, and what is known about its inputs, parameters and sites.
    pub lowered: Lowered,
    /// The graph with `vjp` nodes.
    pub gradient: Graph,
    /// The graph that is computed.
    pub optimized: Graph,
    /// What the e-graph pass did.
    pub report: Report,
    /// Loop nests and calls.
    pub kernels: Kernels,
}

/// Runs all passes.
///
/// # Errors
/// Diagnostics of the program. A pass that breaks an invariant is a bug in bpc, and panics with the graph's errors.
pub fn compile(program: &Program, options: &Options) -> Result<Compilation, Vec<Diagnostic>> {
    compile_observed(program, options, &mut |_| {})
}

/// The same; `passed` hears the name of each pass when it is over, so that a caller with a clock can time it.
///
/// # Errors
/// As [`compile`].
pub fn compile_observed(
    program: &Program,
    options: &Options,
    passed: &mut dyn FnMut(&'static str),
) -> Result<Compilation, Vec<Diagnostic>> {
    let lowered = lower::lower(program, options)?;
    passed("lower");
    let Passes { gradient, optimized, report, mut kernels } =
        passes(program, &lowered.graph, &lowered.loop_choices, passed)?;
    // A training step and an evaluation can be linked into one program, and so have two names.
    kernels.name = if options.training { lowered.model.clone() } else { format!("{}_eval", lowered.model) };
    Ok(Compilation { lowered, gradient, optimized, report, kernels })
}

/// What the passes behind lowering make of a graph; see [`Compilation`].
pub(crate) struct Passes {
    gradient: Graph,
    optimized: Graph,
    report: Report,
    pub(crate) kernels: Kernels,
}

/// All passes behind lowering.
pub(crate) fn passes(
    program: &Program,
    graph: &Graph,
    loop_choices: &LoopChoices,
    passed: &mut dyn FnMut(&'static str),
) -> Result<Passes, Vec<Diagnostic>> {
    check("lowering", verify(graph));
    let gradient = differentiate(graph, &mut Derivatives::new(program, loop_choices))?;
    check("differentiation", verify(&gradient));
    passed("differentiate");
    let (optimized, report) = egraph::optimize(&gradient, &Limits::default());
    check("the e-graph pass", verify_expanded(&optimized));
    passed("e-graph");
    let kernels = kernel::build(&optimized).unwrap_or_else(|error| panic!("bug in bpc: kernels: {error}"));
    passed("kernels");
    Ok(Passes { gradient, optimized, report, kernels })
}

fn check(pass: &str, verified: Result<(), Vec<VerifyError>>) {
    if let Err(errors) = verified {
        panic!("bug in bpc: after {pass}: {errors:?}");
    }
}
