//! A rule that is wrong on purpose (back = 3), written by a user, is seen behind every pass and on every engine.

use super::*;
use bpc::kernel::evaluate::{Blocks, evaluate};
use bpc::kernel::ir::BufferRole;

const PROGRAM: &str = "
use std.moe { route, in_turn, moe }
use std.rules.sparsemixer
estimator wrong for route(scores: f[T, E], choices: int, jitter: real) -> (expert, weight, gates) {
    in_turn(scores, choices, choose_sampled, [jitter, 1 / 3, 1 / 4, 3])
}
layer routed(scores: f[T, E]) -> f[T] {
    let (expert, weight, _gates) = route(scores, jitter = 2)
    weight[0] * f(expert[0] + 1)
}
model scores {
    in x: f64[T, E]
    SCOPE
    let y = routed(1.5 * x)
    out dx = grad(sum(2.5 * y), x)
}";

fn inputs() -> Tensors {
    let x = (vec![7, 4], (0..28).map(|place| (2.3 * f64::from(place)).sin()).collect());
    float(Tensors::new(), false, "x", &x)
}

/// `dx` behind differentiation, behind the e-graph, by kernels and by machine code.
fn everywhere(model: Model) -> Vec<(&'static str, Vec<f64>)> {
    let mut step = model.jit_with_threads(2).unwrap();
    let compiled = step.step(&mut State::new(3), &inputs()).unwrap();
    let compilation = step.prepare(Mode::Train, &inputs()).unwrap();
    let dx = |tensors: &Tensors| tensors.get("dx").unwrap().to_f64();
    let program = &compilation.kernels;
    let named = |role: BufferRole, name: &str| {
        program.buffers.iter().find(|(_, buffer)| buffer.role == role && buffer.name == name).unwrap().0
    };
    let mut blocks = Blocks::new(program);
    blocks.set(program, named(BufferRole::Data, "x"), &inputs().get("x").unwrap().to_f64());
    blocks.set(program, named(BufferRole::State, "seed"), &[3.0, 0.0]);
    evaluate(program, &mut blocks);
    vec![
        ("differentiation", dx(&interpreted(&compilation.gradient, &Tensors::new(), &inputs()))),
        ("the e-graph", dx(&interpreted(&compilation.optimized, &Tensors::new(), &inputs()))),
        ("kernels", blocks.get(program, named(BufferRole::Output, "dx"))),
        ("machine code", dx(&compiled)),
    ]
}

#[test]
fn a_wrong_rule_is_seen_everywhere() {
    let scoped = |scope: &str| model(&PROGRAM.replace("SCOPE", scope), false);
    let right = everywhere(scoped("grad { route => sparsemixer_v2 }"));
    let at_call =
        PROGRAM.replace("SCOPE", "").replace("route(scores, jitter = 2)", "route(scores, jitter = 2) via wrong");
    let chosen = scoped("grad { route => sparsemixer_v2 }").choose_rule("route=wrong").unwrap();
    for (place, wrong) in [
        ("for a scope", scoped("grad { route => wrong }")),
        ("for a layer", scoped("grad { route in y => wrong }")),
        ("at the call", model(&at_call, false)),
        ("from outside", chosen),
    ] {
        for ((stage, wrong), (_, right)) in everywhere(wrong).iter().zip(&right) {
            assert!(right.iter().any(|x| x.abs() > 0.1), "{stage}: the gradient says nothing");
            for (wrong, right) in wrong.iter().zip(right) {
                assert!((wrong - 3.0 * right).abs() < 1e-11, "{place}, behind {stage}: {wrong}, not 3 times {right}");
            }
        }
    }
}

#[test]
fn a_half_step_needs_a_rule() {
    let text = "
use std.rules.sparsemixer { half_step }
use std.optim { sgd }
model half {
    in x: f32[N]
    param w: f32[N] ~ ones
    minimize sum(half_step(w, x)) using sgd
}";
    let model = compile_text("half.bp", text, &mut |_| None).unwrap().set("N", 3);
    let error = model.compile(&BTreeMap::new(), true).unwrap_err().to_string();
    for words in ["BP0411", "`half_step` has no derivative and lies on a trained path", "half_step(..) via midpoint"] {
        assert!(error.contains(words), "{error}");
    }
}
