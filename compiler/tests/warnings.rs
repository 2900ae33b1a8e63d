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
