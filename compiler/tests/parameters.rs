//! Parameters that only training has: what lives from step to step is known by its name, not by where it lies.

use bpc::{Model, State, Tensors, compile_text};

/// `helper` stands before `slope`, so that training and evaluation lay their state out differently.
const TEXT: &str = "
use std.optim { adam }
model aided {
    in x: f64[B]
    param first: f64[] ~ constant(0.5)
    if training {
        param helper: f64[] ~ constant(2)
        minimize mean(square(helper * x - 1)) over helper using adam(lr = 0.1)
    }
    param slope: f64[] ~ constant(3)
    out y = slope * x + first
    minimize mean(square(slope * x + first - 2)) over slope, first using adam(lr = 0.1)
}";

fn model() -> Model {
    compile_text("aided.bp", TEXT, &mut |_| None).unwrap_or_else(|error| panic!("{error}"))
}

fn inputs() -> Tensors {
    Tensors::new().with_slice("x", &[3], &[1.0, -2.0, 0.5]).unwrap()
}

fn numbers(tensors: &Tensors) -> Vec<(String, Vec<f64>)> {
    tensors.iter().map(|(name, tensor)| (name.to_string(), tensor.to_f64())).collect()
}

#[test]
fn evaluation_between_steps_changes_nothing() {
    let mut step = model().jit().unwrap();
    let (mut alone, mut watched) = (State::new(7), State::new(7));
    let untrained = step.evaluate(&mut watched, &inputs()).unwrap();
    assert_eq!(untrained.get("y").unwrap().to_f64(), [3.5, -5.5, 2.0]);
    for _ in 0..3 {
        let expected = step.step(&mut alone, &inputs()).unwrap();
        let found = step.step(&mut watched, &inputs()).unwrap();
        assert_eq!(numbers(&found), numbers(&expected));
        let _ = step.evaluate(&mut watched, &inputs()).unwrap();
    }
    let names: Vec<String> = numbers(&watched.parameters()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["first", "helper", "slope"]);
    assert_eq!(numbers(&watched.parameters()), numbers(&alone.parameters()));
}

#[test]
fn loaded_parameters_of_training_are_kept_by_evaluation() {
    let mut step = model().jit().unwrap();
    let mut trained = State::new(1);
    let _ = step.step(&mut trained, &inputs()).unwrap();
    let mut loaded = State::new(2);
    loaded.load(&trained.parameters()).unwrap();
    let y = step.evaluate(&mut loaded, &inputs()).unwrap();
    assert_eq!(numbers(&y), numbers(&step.evaluate(&mut trained, &inputs()).unwrap()));
    let interpreted = model().interpret(&mut loaded, &inputs()).unwrap();
    assert_eq!(y.get("y"), interpreted.get("y"));
    assert_eq!(numbers(&loaded.parameters()), numbers(&trained.parameters()));

    let mut wrong = State::new(2);
    wrong.load(&Tensors::new().with_slice("helpre", &[], &[1.0]).unwrap()).unwrap();
    let error = step.evaluate(&mut wrong, &inputs()).unwrap_err().to_string();
    assert!(error.contains("no parameter `helpre`"), "{error}");
}

/// A parameter that only training uses, though it is declared for both, does not stand in the way of an evaluation.
#[test]
fn an_evaluation_may_leave_out_what_training_uses() {
    let text = "
use std.optim { adam }
model scaled {
    in x: f64[B]
    param slope: f64[] ~ constant(3)
    param scale: f64[] ~ constant(1)
    let seen = if training { scale * x } else { x }
    out y = slope * x
    minimize mean(square(slope * seen - 2)) using adam(lr = 0.1)
}";
    let mut step = compile_text("scaled.bp", text, &mut |_| None).unwrap().jit().unwrap();
    let mut state = State::new(0);
    assert_eq!(step.evaluate(&mut state, &inputs()).unwrap().get("y").unwrap().to_f64(), [3.0, -6.0, 1.5]);
    step.step(&mut state, &inputs()).unwrap();
    assert_ne!(state.parameters().scalar("scale").unwrap(), 1.0);
}
