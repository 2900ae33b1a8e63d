//! One program through all engines.
//!
//! Expects: the text of a program with one model whose sizes are all numbers; the crate's root has `mod engines`.
//! Guarantees: the reference is the interpreter on the graph before the e-graph pass; the optimised graph, the evaluator of
//! kernels and machine code are held to it in every output, every parameter after the update and every state.
//! Leaves out: values that are not finite in the reference; they are counted as not compared.

use crate::engines::run_code;
use bpc::ir::graph::{InputRole, Output, OutputRole};
use bpc::ir::interpret::{self, Tensor};
use bpc::ir::op::Op;
use bpc::ir::types::{Dtype, TensorType};
use bpc::kernel::evaluate::{Blocks, evaluate};
use bpc::kernel::ir::BufferRole;
use bpc::lower::Options;
use bpc::pipeline;
use bpc_lang::diagnostics::{Severity, render};
use bpc_lang::loader::load;
use std::collections::BTreeMap;

/// What became of a program.
pub enum Outcome {
    /// The compiler refused it; its words.
    Rejected(String),
    /// All engines agree; how many elements were compared.
    Agreed(usize),
    /// Some value is infinite or no number, so nothing was compared.
    NotFinite,
    /// Engines differ.
    Differs(String),
}

/// Compiles a training step and compares one run of it.
pub fn compare(program: &str) -> Outcome {
    let (program, mut diagnostics) = load("program.bp", program, &mut |_| None);
    if diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error) {
        diagnostics.extend(bpc::lower::check(&program));
    }
    let refused = |diagnostics: &[bpc_lang::diagnostics::Diagnostic]| {
        Outcome::Rejected(diagnostics.iter().map(|diagnostic| render(diagnostic, &program.sources, false)).collect())
    };
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return refused(&diagnostics);
    }
    let options = Options { training: true, ..Options::default() };
    let compilation = match pipeline::compile(&program, &options) {
        Ok(compilation) => compilation,
        Err(diagnostics) => return refused(&diagnostics),
    };
    let kernels = &compilation.kernels;
    let mut blocks = Blocks::new(kernels);
    let mut inputs = BTreeMap::new();
    for (index, id) in compilation.gradient.main().inputs.iter().enumerate() {
        let Op::Input { role, name, ty } = &compilation.gradient.main().nodes[*id].op else { unreachable!() };
        inputs.insert(name.clone(), numbers(ty, index as u64, *role));
    }
    for (id, buffer) in &kernels.buffers {
        if !matches!(buffer.role, BufferRole::Output | BufferRole::Warning | BufferRole::Temporary)
            && let Some(tensor) = inputs.get(&buffer.name)
        {
            blocks.set(kernels, id, &tensor.data);
        }
    }
    let reference = interpret::run(&compilation.gradient, &inputs).expect("the gradient graph runs");
    if reference.iter().any(|(_, tensor)| tensor.data.iter().any(|value| !value.is_finite())) {
        return Outcome::NotFinite;
    }
    let kept = compilation.optimized.main();
    inputs.retain(|name, _| kept.input_named(name).is_some());
    let optimized = interpret::run(&compilation.optimized, &inputs).expect("the optimised graph runs");
    let mut code = run_code(kernels, &blocks);
    evaluate(kernels, &mut blocks);
    let mut elements = 0;
    for (output, wanted) in &reference {
        let graph =
            optimized.iter().find(|(other, _)| same_place(other, output)).map(|(_, tensor)| tensor.data.clone());
        let of_role = |role| match output.role {
            OutputRole::Value => role == BufferRole::Output,
            OutputRole::Warning => role == BufferRole::Warning,
            OutputRole::Next => matches!(role, BufferRole::Parameter | BufferRole::State),
        };
        let buffer = kernels.buffers.iter().find(|(_, buffer)| buffer.name == output.name && of_role(buffer.role));
        let Some((buffer, _)) = buffer else { return Outcome::Differs(format!("`{}` has no buffer", output.name)) };
        let engines = [
            ("the optimised graph", graph.unwrap_or_default()),
            ("the evaluator of kernels", blocks.get(kernels, buffer)),
            ("machine code", code.get(kernels, buffer)),
        ];
        for (engine, found) in engines {
            if let Some(difference) = difference(&found, wanted) {
                return Outcome::Differs(format!("{engine}: {:?} `{}` {difference}", output.role, output.name));
            }
        }
        elements += wanted.data.len();
    }
    Outcome::Agreed(elements)
}

fn same_place(one: &Output, other: &Output) -> bool {
    one.role == other.role && one.name == other.name
}

/// Doubles are held to 1e-9 of the largest entry, and f32 to 2e-4: it has 24 bits, which a chain of a dozen layers and
/// their gradients wears down by some more. Where all entries are below 1, so are the intermediates no more than
/// some 1, and their rounding is what counts.
fn difference(found: &[f64], wanted: &Tensor) -> Option<String> {
    if found.len() != wanted.data.len() {
        return Some(format!("has {} elements and not {}", found.len(), wanted.data.len()));
    }
    let largest = wanted.data.iter().fold(1.0f64, |most, value| most.max(value.abs()));
    let bound = largest
        * match wanted.ty.dtype {
            Dtype::F64 => 1e-9,
            Dtype::F32 => 2e-4,
            _ => 0.0,
        };
    let close = |(found, wanted): (&f64, &f64)| (found - wanted).abs() <= bound;
    let bad = found.iter().zip(&wanted.data).position(|pair| !close(pair))?;
    Some(format!("of {} at {bad}: {} and not {}", wanted.ty, found[bad], wanted.data[bad]))
}

/// Numbers between -1.5 and 1.5 that depend on the index alone and have 24 bits.
fn numbers(ty: &TensorType, index: u64, role: InputRole) -> Tensor {
    let mut state = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let element = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (state >> 40) as u32;
        match (ty.dtype, role) {
            (_, InputRole::Step) => 3.0,
            (Dtype::F32 | Dtype::F64, _) => f64::from((f64::from(word) / f64::from(1u32 << 24) * 3.0 - 1.5) as f32),
            (Dtype::Bool, _) => f64::from(word % 2),
            _ => f64::from(word % 4),
        }
    };
    let data = std::iter::repeat_with(element).take(ty.elements() as usize).collect();
    Tensor::new(ty.clone(), data).expect("numbers of the dtype")
}
