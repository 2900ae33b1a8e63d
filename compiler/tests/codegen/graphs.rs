//! The graphs of the file tests, compiled and evaluated.
//!
//! Expects: the folder `tests/ir`.
//! Guarantees: machine code agrees with the evaluator of kernel programs, exactly where both compute alike.
//! Leaves out: what the graphs mean (`filetests`).

use crate::case::Numbers;
use crate::engines::run_code;
use bpc::ir::graph::Graph;
use bpc::ir::op::{Op, OpClass};
use bpc::ir::text::parse;
use bpc::ir::types::Dtype;
use bpc::ir::verify::verify_expanded;
use bpc::kernel::build;
use bpc::kernel::evaluate::{Blocks, evaluate};
use bpc::kernel::ir::BufferRole;

/// Runs the program of a graph by both engines on the same numbers; the bound is 0 where both compute alike.
fn compare_engines(name: &str, graph: &Graph) {
    let program = build(graph).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut blocks = Blocks::new(&program);
    let mut numbers = Numbers(1);
    for (id, buffer) in &program.buffers {
        if matches!(buffer.role, BufferRole::Parameter | BufferRole::State | BufferRole::Data) {
            let elements = buffer.ty.elements();
            let data = if buffer.ty.dtype.is_float() {
                numbers.floats(elements)
            } else {
                (0..elements).map(|_| numbers.below(2) as f64).collect()
            };
            blocks.set(&program, id, &data);
        }
    }
    let nodes = || graph.regions.values().flat_map(|region| region.nodes.values());
    let inexact = nodes().any(|node| matches!(node.op, Op::Matmul {}) || matches!(node.op.class(), OpClass::Library));
    let mut code = run_code(&program, &blocks);
    evaluate(&program, &mut blocks);
    for (id, buffer) in &program.buffers {
        if !matches!(buffer.role, BufferRole::Parameter | BufferRole::State | BufferRole::Output) {
            continue;
        }
        let (found, expected) = (code.get(&program, id), blocks.get(&program, id));
        let largest = expected.iter().filter(|x| x.is_finite()).fold(1.0f64, |most, x| most.max(x.abs()));
        let bound = match (inexact, buffer.ty.dtype) {
            (false, _) => 0.0,
            (true, Dtype::F32) => 1e-5 * largest,
            (true, _) => 1e-12 * largest,
        };
        for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let same = found == expected || found.is_nan() && expected.is_nan() || (found - expected).abs() <= bound;
            assert!(same, "{name}: {} at {place}: {found} and not {expected}", buffer.name);
        }
    }
}

/// Every graph of the file tests that can run.
#[test]
fn graphs_of_the_file_tests() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ir");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut graphs = 0;
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        if !text.starts_with("; test run") {
            continue;
        }
        for case in text.split("; case:").filter(|case| case.contains("region ")) {
            let name = format!("{}: {}", path.display(), case.lines().next().unwrap_or(""));
            let graph = parse(&format!("; {case}")).unwrap_or_else(|error| panic!("{name}: {error}"));
            if verify_expanded(&graph).is_ok() {
                compare_engines(&name, &graph);
                graphs += 1;
            }
        }
    }
    assert!(graphs > 20, "{graphs} graphs ran");
}
