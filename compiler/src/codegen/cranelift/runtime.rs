//! The routines of `bpc_runtime::abi` that generated code calls, by name.
//!
//! Expects: nothing.
//! Guarantees: the signatures here are those of `bpc_runtime::abi` and of its library routines, which all have one.
//! Leaves out: their addresses (`jit`).

use crate::ir::op::Op;
use crate::ir::types::Dtype;
use cranelift_codegen::ir::{AbiParam, Signature, Type, types};
use cranelift_codegen::isa::CallConv;

/// The signature of a routine.
pub(super) fn signature(name: &str, convention: CallConv) -> Signature {
    const POINTER: Type = types::I64;
    const COUNT: Type = types::I64;
    let (parameters, returns): (&[Type], &[Type]) = match name {
        // context, kernel, state, workspace, count, grain
        "bpc_parallel" => (&[POINTER, POINTER, POINTER, POINTER, COUNT, COUNT], &[]),
        // context
        "bpc_scratch" => (&[POINTER], &[POINTER]),
        // context, shape, a, b, c
        "bpc_product_f32" | "bpc_product_f64" => (&[POINTER, POINTER, POINTER, POINTER, POINTER], &[]),
        // out, x, y, n
        "bpc_pow_f32" | "bpc_pow_f64" => (&[POINTER, POINTER, POINTER, COUNT], &[]),
        // out, seed, step, site, first, n
        "bpc_uniform_f32" | "bpc_uniform_f64" | "bpc_normal_f32" | "bpc_normal_f64" => {
            (&[POINTER, POINTER, types::I32, types::I32, COUNT, COUNT], &[])
        }
        // out, x, n; of a library routine: context, sizes, pointers
        _ => (&[POINTER, POINTER, COUNT], &[]),
    };
    let mut signature = Signature::new(convention);
    signature.params.extend(parameters.iter().map(|ty| AbiParam::new(*ty)));
    signature.returns.extend(returns.iter().map(|ty| AbiParam::new(*ty)));
    signature
}

/// The routine that computes a heavy operation; none for what the processor does itself.
pub(super) fn routine(op: &Op, dtype: Dtype) -> Option<&'static str> {
    let double = dtype == Dtype::F64;
    let pick = |single, of_double| Some(if double { of_double } else { single });
    match op {
        Op::Exp {} => pick("bpc_exp_f32", "bpc_exp_f64"),
        Op::Expm1 {} => pick("bpc_expm1_f32", "bpc_expm1_f64"),
        Op::Log {} => pick("bpc_log_f32", "bpc_log_f64"),
        Op::Log1p {} => pick("bpc_log1p_f32", "bpc_log1p_f64"),
        Op::Sin {} => pick("bpc_sin_f32", "bpc_sin_f64"),
        Op::Cos {} => pick("bpc_cos_f32", "bpc_cos_f64"),
        Op::Tanh {} => pick("bpc_tanh_f32", "bpc_tanh_f64"),
        Op::Erf {} => pick("bpc_erf_f32", "bpc_erf_f64"),
        Op::Pow {} => pick("bpc_pow_f32", "bpc_pow_f64"),
        _ => None,
    }
}

/// The routine that draws random numbers.
pub(super) fn random(normal: bool, dtype: Dtype) -> &'static str {
    match (normal, dtype) {
        (true, Dtype::F64) => "bpc_normal_f64",
        (true, _) => "bpc_normal_f32",
        (false, Dtype::F64) => "bpc_uniform_f64",
        (false, _) => "bpc_uniform_f32",
    }
}
