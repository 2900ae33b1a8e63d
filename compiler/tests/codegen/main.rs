//! Hand-built kernel programs and whole graphs run by the Cranelift backend.
//!
//! Expects: a machine that the backend knows.
//! Guarantees: results are held against the same arithmetic written in Rust, the path by single elements, or the
//! evaluator of kernel programs.
//! Leaves out: programs of the language (`random_programs`), the order and places of kernels (`kernel`).

mod case;
#[path = "../engines/mod.rs"]
mod engines;
mod folding;
mod graphs;
mod random_stages;
mod reductions;
mod scalars;

use bpc::codegen::Host;
use bpc::codegen::backend::{Argument, Backend, CompiledStep};
use bpc::codegen::memory::AlignedBytes;
use bpc::ir::op::Op;
use bpc::ir::types::Dtype;
use bpc::kernel::ir::{BufferRole, Place, Scalar, Stage};
use case::{Case, load, store, value};

#[test]
fn listings_name_their_functions() {
    let mut case = Case::new();
    let (x, out) = (case.buffer(Dtype::F32, &[5]), case.buffer(Dtype::F32, &[5]));
    case.program.buffers[x].role = BufferRole::Data;
    let mut stage = Stage { inner: vec![5], vector_axis: Some(0), ..Stage::default() };
    let x = load(&mut stage, &case, x, &[1]);
    let y = value(&mut stage, Dtype::F32, Scalar::Unary(Op::Exp {}, x));
    store(&mut stage, out, &[1], y);
    stage.n_inside = 2;
    case.nest(&[], vec![stage]);
    case.program.name = "two words".into();
    let clif = Host.intermediate(&case.program).unwrap();
    assert!(clif.contains("; bpc_two_words_0_nest") && clif.contains("; bpc_step_two_words"), "{clif}");
    let asm = Host.assembly(&case.program).unwrap();
    assert!(asm.contains("; bpc_step_two_words") && asm.contains("ret"), "{asm}");
}

/// Tensors of the caller may begin at any byte.
#[test]
fn arguments_are_read_and_written_where_they_are() {
    let mut case = Case::new();
    let (x, out) = (case.buffer(Dtype::F64, &[5]), case.buffer(Dtype::F64, &[5]));
    case.program.buffers[x].role = BufferRole::Data;
    case.program.buffers[x].place = Place::Argument(1);
    case.program.buffers[out].place = Place::Argument(0);
    let mut stage = Stage { inner: vec![5], vector_axis: Some(0), ..Stage::default() };
    let x = load(&mut stage, &case, x, &[1]);
    let y = value(&mut stage, Dtype::F64, Scalar::Unary(Op::Neg {}, x));
    store(&mut stage, out, &[1], y);
    stage.n_inside = 2;
    case.nest(&[], vec![stage]);
    let step = Host.compile(&case.program).unwrap();
    let numbers = [1.5, -2.0, 0.25, 1e300, 7.0];
    for (first, second) in [(0, 0), (1, 0), (0, 3), (5, 4)] {
        let mut given = vec![0; second];
        given.extend(numbers.iter().flat_map(|number: &f64| number.to_le_bytes()));
        let mut found = vec![1; first + 40 + 8];
        let arguments = &mut [Argument::Output(&mut found[first..first + 40]), Argument::Input(&given[second..])];
        step.run(&step.context(1), &mut AlignedBytes::zeros(0), &mut case.workspace, arguments);
        let wanted: Vec<u8> = numbers.iter().flat_map(|number| (-number).to_le_bytes()).collect();
        assert_eq!(found[first..first + 40], wanted);
        assert_eq!((&found[..first], &found[first + 40..]), (&vec![1; first][..], &[1; 8][..]), "nothing beside it");
    }
}
