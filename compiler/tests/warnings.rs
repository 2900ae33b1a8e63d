//! `warn` lines whose condition is known when a step runs: said by the step, and no output of it.

use bpc::{State, Tensors, compile_text};

/// Two lines at one site, one in a layer, and an output of a dotted look-alike name would be no warning.
const PROGRAM: &str = "
use std.optim { sgd }
layer scaled(x: f32[B]) -> f32[B] {
    param gain: f32[] ~ ones
    warn(max(x) > 10, \"large rows\")
    gain * x
}
model watched {
    in x: f32[B]
    warn(min(x) < 0, \"negative rows\")
    warn(max(x) > 100, \"very large rows\")
    let y = scaled(x)
    out high = max(x) > 10
    minimize mean(square(y)) using sgd(lr = 0)
}";

#[test]
fn a_step_says_which_conditions_held_in_it() {
    let mut step = compile_text("watched.bp", PROGRAM, &mut |_| None).unwrap().jit().unwrap();
    let mut state = State::new(0);
    let cases: [(f32, &[(&str, &str)]); 4] = [
        (1.0, &[]),
        (-1.0, &[("", "negative rows")]),
        (20.0, &[("y", "large rows")]),
        (200.0, &[("", "very large rows"), ("y", "large rows")]),
    ];
    for (value, wanted) in cases {
        let inputs = Tensors::new().with_slice("x", &[2], &[value, 2.0]).unwrap();
        for training in [true, false] {
            let outputs =
                if training { step.step(&mut state, &inputs) } else { step.evaluate(&mut state, &inputs) }.unwrap();
            let names: Vec<&str> = outputs.iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["high", "loss"]);
            let mut said: Vec<(&str, &str)> =
                step.warnings().iter().map(|warning| (warning.site.as_str(), warning.message.as_str())).collect();
            said.sort_unstable();
            let mut wanted = wanted.to_vec();
            wanted.sort_unstable();
            assert_eq!(said, wanted, "x = {value}");
        }
    }
}

#[test]
fn the_interpreter_gives_outputs_alone() {
    let model = compile_text("watched.bp", PROGRAM, &mut |_| None).unwrap();
    let inputs = Tensors::new().with_slice("x", &[2], &[-1.0f32, 200.0]).unwrap();
    let outputs = model.interpret(&mut State::new(0), &inputs).unwrap();
    let names: Vec<&str> = outputs.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["high", "loss"]);
}

/// What a rollout says of itself, by its inputs.
const ROLLOUT: &str = "
use std.physics
fn run_away(x: f[.., 1], u: f[.., 1], theta: f[1]) -> f[.., 1] { theta * x * x + u }
model rollout {
    in x0: f64[2, 1]
    in u: f64[4, 2, 1]
    in theta: f64[1]
    in weight: f64[5, 2]
    in data: f64[5, 2, 1]
    let (last, path) = scan x = x0 over push in u {
        let y = STEP(run_away, x, push, theta, dt = 0.5)
        next x = y
        yield y
    }
    let states = watched(with_first(x0, path))
    let solved = watched_midpoint(run_away, states, u, theta, dt = 0.5)
    let measured = watched_data(weight, data)
    let end = watched_growth(last, x0, limit = 50)
    let seen = warned_where(theta[0] > 100, \"steep\")
    out cost = weighted_square_error(weight, states, measured)
}";

/// The first state of the second trajectory, theta, and the sample 3 of it; what is said then.
fn said(step: &str, x0: f64, theta: f64, sample: f64, weight: f64) -> Vec<String> {
    let mut data = [0.0; 10];
    data[7] = sample;
    let mut weights = [1.0; 10];
    weights[7] = weight;
    let inputs = Tensors::new()
        .with_slice("x0", &[2, 1], &[0.1, x0])
        .and_then(|inputs| inputs.with_slice("u", &[4, 2, 1], &[0.0; 8]))
        .and_then(|inputs| inputs.with_slice("theta", &[1], &[theta]))
        .and_then(|inputs| inputs.with_slice("data", &[5, 2, 1], &data))
        .and_then(|inputs| inputs.with_slice("weight", &[5, 2], &weights))
        .unwrap();
    let model = compile_text("rollout.bp", &ROLLOUT.replace("STEP", step), &mut |_| None);
    let mut step = model.unwrap_or_else(|error| panic!("{error}")).jit_with_threads(1).unwrap();
    step.evaluate(&mut State::new(0), &inputs).unwrap();
    step.warnings().iter().map(|warning| format!("{}: {}", warning.site, warning.message)).collect()
}

#[test]
fn a_rollout_says_where_it_goes_wrong() {
    let nothing: [&str; 0] = [];
    assert_eq!(said("implicit_midpoint", 0.2, 0.5, 0.0, 1.0), nothing);
    let begins = |found: &[String], wanted: &[&str]| {
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        assert!(wanted.iter().all(|text| found.iter().any(|line| line.contains(text))), "{found:?} and {wanted:?}");
    };
    // Data count where they have a weight.
    assert_eq!(said("implicit_midpoint", 0.2, 0.5, f64::NAN, 0.0), nothing);
    begins(
        &said("implicit_midpoint", 0.2, 0.5, f64::NAN, 1.0),
        &["a sample under a weight is not finite (step, trajectory, channel), at [3, 1, 0]"],
    );
    // x' = x^2 from 7 has no midpoint that is real: 1 - 2 * 0.5 * 7 < 0.
    let found = said("implicit_midpoint", 7.0, 1.0, 0.0, 1.0);
    assert!(found.iter().any(|line| line.contains("do not converge (step, trajectory), at [0, 1]")), "{found:?}");
    // By Euler steps: 1e100, 5e199, then beyond what numbers hold, at the third state.
    let found = said("euler", 1e30, 1.0, 0.0, 1.0);
    assert!(
        found.iter().any(|line| line.contains("a state is not finite (step, trajectory, component), at [1, 1, 0]")),
        "{found:?}"
    );
    // A derivative of 1 + theta x at each of four steps.
    let found = said("euler", 2.0, 1.0, 0.0, 1.0);
    assert!(
        found.iter().any(|line| line.contains("too sensitive to the first one") && line.ends_with("at [1]")),
        "{found:?}"
    );
    let found = said("euler", 0.0, 101.0, 0.0, 1.0);
    assert!(found.iter().any(|line| line.ends_with("steep")), "{found:?}");
}
