//! Hand-built kernel programs and whole graphs run by the Cranelift backend.
//!
//! Expects: a machine that the backend knows.
//! Guarantees: results are held against the same arithmetic written in Rust, the path by single elements, or the
//! evaluator of kernel programs.
//! Leaves out: programs of the language (`random_programs`), the order and places of kernels (`kernel`).

mod case;
#[path = "../engines/mod.rs"]
mod engines;
mod graphs;
mod random_stages;
mod reductions;
mod scalars;

use bpc::codegen::Host;
use bpc::codegen::backend::Backend;
use bpc::ir::op::Op;
use bpc::ir::types::Dtype;
use bpc::kernel::ir::{Scalar, Stage};
use case::{Case, load, store, value};

#[test]
fn listings_and_object() {
    let mut case = Case::new();
    let (x, out) = (case.buffer(Dtype::F32, &[5]), case.buffer(Dtype::F32, &[5]));
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
    let object = Host.object(&case.program).unwrap();
    let has = |name: &str| object.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(has("bpc_step_two_words") && has("bpc_exp_f32") && has("bpc_scratch"));
}
