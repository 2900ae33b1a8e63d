//! From an optimised graph to a program of kernels over two blocks of memory. See [`ir`] for what a program is.
//!
//! Expects: a graph without markers (see `ir::verify`).
//! Guarantees: the program computes what the graph means, in the graph's dtypes; the same graph gives the same program.
//! Leaves out: machine code (`codegen`).

mod access;
mod affine;
mod emit;
pub mod evaluate;
mod fuse;
mod in_place;
pub mod ir;
pub mod library;
mod march;
mod memory;
pub(crate) mod pack;
pub mod plan;
mod product;
mod prune;
mod region;
mod repeat;
mod rows;
pub mod schedule;
mod scratch;
pub mod text;
pub mod verify;
mod views;

use crate::ir::graph::Graph;
use ir::{Program, Step};

/// Builds the program of a graph.
///
/// # Errors
/// A sentence, where the graph holds what kernels cannot express.
pub fn build(graph: &Graph) -> Result<Program, String> {
    let mut program = Program { name: graph.main().name.clone(), ..Program::default() };
    let updates = region::main(graph, &mut program)?;
    let steps = std::mem::take(&mut program.steps);
    let steps = march::march(&mut program, steps);
    let mut steps = fuse::fuse(&program, steps);
    let kept = updates.iter().map(|(next, _)| *next).collect();
    let needed = prune::prune(&program, &mut steps, &kept);
    scratch::scratch(&mut program, &mut steps, &needed);
    in_place::overwrite_carries(&program, &mut steps);
    for (next, target) in in_place::overwrite(&program, &mut steps, updates) {
        let ty = &program.buffers[target].ty;
        if ty.elements() > 0 {
            steps.push(Step::Nest(region::copy(next, target, ty)));
        }
    }
    pack::pack(&mut program, &mut steps);
    schedule::schedule(&mut program, &mut steps);
    program.steps = steps;
    prune::drop_buffers(&mut program);
    plan::plan(&mut program);
    // Backends ask before they make code; here what is wrong is shown as well.
    if cfg!(debug_assertions) {
        verify::verify(&program).map_err(|error| format!("bug in bpc: {error}\n{}", text::print(&program)))?;
    }
    Ok(program)
}
