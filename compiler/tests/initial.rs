//! First values of parameters and of optimisers' state: made by compiled code, equal to what their graphs mean.

use bpc::ir::interpret::{self, Tensor};
use bpc::ir::op::Op;
use bpc::lower::{Options, lower};
use bpc::{Model, State, Tensors, compile_text};
use bpc_lang::loader::load;
use std::collections::BTreeMap;
use std::process::Command;

/// Every initialiser of the library, a constraint, bits, a loop, a rule, and states that do and do not begin as zeros.
const PROGRAM: &str = "
use std.optim { adam }
use std.constraints { positive }
use std.nn { softmax }
optimizer counting() for w: f[..], g {
    state count: f64[] = 3
    state size = full(w.shape, 0.25, w.dtype)
    next count = count + 1
    next size = size + g * g
    next w = w - 0.1 * g / sqrt(size)
}
fn walk(shape: dims, dtype: dtype) {
    let steps = random_normal([5, prod(shape)], dtype)
    let (last) = scan at = zeros([prod(shape)], dtype) over step in steps { next at = at / 2 + step }
    reshape(last, shape)
}
fn shares(shape: dims, dtype: dtype) { softmax(random_normal(shape, dtype)) }
model several {
    in x: f32[B, 6]
    param a: f32[5, 6] ~ kaiming_uniform
    param b: f32[5, 6] ~ kaiming_normal
    param c: f32[5, 6] ~ xavier_uniform
    param d: f64[5, 6] ~ xavier_normal
    param e: f32[5, 6] ~ uniform(-1, 2)
    param f: f64[5, 6] ~ normal(1, 3)
    param g: f32[5, 6] ~ zeros
    param h: f32[5, 6] ~ ones
    param i: f32[5, 6] ~ constant(0.1)
    param j: f32[5, 6] ~ identity_of
    param k: f32[5, 6] ~ walk
    param l: f64[5, 6] ~ shares
    param m: f32[5, 6] in positive ~ constant(2)
    param n: f64[5, 6] ~ -1
    let all = a + b + c + e + g + h + i + j + k + m + f32(d + f + l + n)
    minimize mean(square(x @ transpose(all))) over a, b using counting
    minimize mean(square(x @ transpose(all))) over c, d, e, f, g, h, i, j, k, l, m, n using adam(lr = 1e-3)
}
fn identity_of(shape: dims, dtype: dtype) {
    cast(reshape(range(shape[0]), [shape[0], 1]) == reshape(range(shape[1]), [1, shape[1]]), dtype)
}
";

fn model() -> Model {
    compile_text("several.bp", PROGRAM, &mut |_| None).unwrap_or_else(|error| panic!("{error}"))
}

fn inputs(rows: u64) -> Tensors {
    Tensors::new().with_slice("x", &[rows, 6], &vec![0.0f32; rows as usize * 6]).unwrap()
}

/// What lives between steps after an evaluation, which changes nothing.
fn first_values(model: Model, seed: u64, threads: usize) -> BTreeMap<String, Vec<u64>> {
    let mut state = State::new(seed);
    let mut step = model.jit_with_threads(threads).unwrap();
    step.evaluate(&mut state, &inputs(2)).unwrap();
    bits(&state)
}

fn bits(state: &State) -> BTreeMap<String, Vec<u64>> {
    let numbers = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect();
    state.all().into_iter().map(|(name, tensor)| (name.to_string(), numbers(tensor.to_f64()))).collect()
}

#[test]
fn first_values_are_what_their_graphs_mean() {
    let (program, _) = load("several.bp", PROGRAM, &mut |_| None);
    let settings = [("B".to_string(), 2.into())].into_iter().collect();
    let lowered = lower(&program, &Options { settings, training: true, ..Options::default() }).unwrap();
    let seed = 7 + (9 << 32);
    let mut state = State::new(seed);
    let mut step = model().jit().unwrap();
    // A step, so that the states are there; all gradients are zero, since x is, and the first values of those of `counting` stay.
    step.evaluate(&mut state, &inputs(2)).unwrap();
    let found: BTreeMap<String, Vec<f64>> =
        state.parameters().iter().map(|(name, tensor)| (name.to_string(), tensor.to_f64())).collect();
    assert_eq!(found.len(), 14);
    for parameter in &lowered.parameters {
        let main = parameter.init.main();
        let mut given = BTreeMap::new();
        for input in &main.inputs {
            let Op::Input { name, ty, .. } = &main.nodes[*input].op else { panic!("an input") };
            let data = if name == "seed" { vec![7.0, 9.0] } else { vec![0.0] };
            given.insert(name.clone(), Tensor::new(ty.clone(), data).unwrap());
        }
        let wanted = interpret::run(&parameter.init, &given).unwrap().remove(0).1;
        // The interpreter has doubles; compiled f32 rounds after each operation.
        let bound = if parameter.ty.dtype.name() == "f32" { 1e-6 } else { 1e-14 };
        for (found, wanted) in found[&parameter.name].iter().zip(&wanted.data) {
            let error = (found - wanted).abs();
            assert!(error <= bound * wanted.abs().max(1.0), "{}: {found} is not {wanted}", parameter.name);
        }
        assert_eq!(found[&parameter.name].len(), wanted.data.len());
    }
    let kept = |state: &State, name: &str| {
        state.all().into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}")).1.to_f64()
    };
    step.step(&mut state, &inputs(2)).unwrap();
    let names: Vec<String> = state.all().into_iter().map(|(name, _)| name.to_string()).collect();
    let size = names.iter().find(|name| name.ends_with("size")).expect("a state of `counting`");
    assert!(kept(&state, size).iter().all(|value| *value == 0.25), "{size}");
}

#[test]
fn first_values_depend_on_the_seed_alone() {
    let wanted = first_values(model(), 5, 1);
    assert_eq!(first_values(model(), 5, 3), wanted);
    let other = first_values(model(), 6, 1);
    for name in ["a", "b", "c", "d", "e", "f", "k", "l"] {
        assert_ne!(wanted[name], other[name], "{name}");
    }
    // A model with one parameter loaded makes the others as before.
    let mut state = State::new(5);
    state.load(&Tensors::new().with_slice("a", &[5, 6], &[0.5f32; 30]).unwrap()).unwrap();
    model().jit().unwrap().evaluate(&mut state, &inputs(2)).unwrap();
    let found = bits(&state);
    assert_eq!(found["a"], vec![0.5f64.to_bits(); 30]);
    assert!(wanted.iter().all(|(name, values)| name == "a" || found[name] == *values));
}

/// A parameter that only training has is made when training first runs, as it would have been at the beginning.
#[test]
fn first_values_do_not_depend_on_when_they_are_made() {
    let program = "
use std.optim { sgd }
model late {
    in x: f32[B, 6]
    param a: f32[6] ~ normal
    let shift = if training { extra(x) } else { x }
    minimize mean(square(shift * a)) using sgd(lr = 0.1)
}
layer extra(x: f32[B, 6]) -> f32[B, 6] {
    param late: f32[6] ~ normal
    x * late
}
";
    let model = || compile_text("late.bp", program, &mut |_| None).unwrap_or_else(|error| panic!("{error}"));
    let run = |evaluations: usize| {
        let mut state = State::new(3);
        let mut step = model().jit().unwrap();
        for _ in 0..evaluations {
            step.evaluate(&mut state, &inputs(1)).unwrap();
        }
        // Without data nothing moves.
        step.step(&mut state, &inputs(1)).unwrap();
        step.step(&mut state, &inputs(4)).unwrap();
        bits(&state)
    };
    let early = run(0);
    assert_eq!(early.len(), run(2).len());
    for (name, values) in run(2) {
        assert_eq!(early[&name], values, "{name}");
    }
}

/// A billion parameters: everything is known about the model, and nothing of it is in memory.
#[test]
fn a_model_of_a_billion_parameters_is_explained_without_them() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join("billion.bp");
    let program = "
use std.nn { dense, mse }
use std.optim { sgd }
model billion {
    in x: f32[B, 32000]
    minimize mse(dense(x, 32000), x) using sgd(lr = 0.1)
}
";
    std::fs::write(&path, program).unwrap();
    // 2 GB of address space, where the parameters alone are 4.
    let command = format!("ulimit -v 2000000; exec {} explain {} --set B=4", env!("CARGO_BIN_EXE_bpc"), path.display());
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    assert!(text.contains("32000"), "{text}");
}
